//! What stands between the service and the official facilitator. It knows payments by their nonce,
//! does to each call what the payment's fault says, and counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bursar::x402::Version;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::fault::{Act, Call, Fault, Twist, invented};
use crate::official::world::World;
use crate::peer::read_request;
use crate::support::service::client;

/// How late a late answer is: well within the settle timeout.
const LATE: Duration = Duration::from_millis(500);

/// One payment, as the proxy knows it.
pub struct Route {
    pub fault: Fault,
    pub version: Version,
    pub payer: String,
    pub nonce: String,
    /// The facilitator that it goes to.
    pub upstream: String,
    seen: watch::Sender<Seen>,
    stops: watch::Sender<Vec<Stop>>,
}

/// What has come so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub verify: usize,
    /// The bodies, as they came.
    pub settle: Vec<String>,
    /// How many calls of each kind were let through to the facilitator and answered by it.
    pub answered: [usize; 2],
}

/// A place at which a call waits until it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub call: Call,
    /// The `turn`th call of the kind, from 0.
    pub turn: usize,
    /// Before the facilitator hears of it, or after its answer.
    pub before: bool,
}

impl Route {
    pub fn new(
        fault: Fault,
        version: Version,
        payer: String,
        nonce: String,
        upstream: String,
    ) -> Self {
        let (seen, stops) = (watch::Sender::default(), watch::Sender::default());
        Self { fault, version, payer, nonce, upstream, seen, stops }
    }

    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what has come is like this.
    pub async fn until(&self, enough: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let reached = tokio::time::timeout(Duration::from_secs(60), seen.wait_for(enough)).await;
        assert!(reached.is_ok(), "{:?} never came so far: {:?}", self.fault, self.seen());
    }

    pub fn stop_at(&self, stop: Stop) {
        self.stops.send_modify(|stops| stops.push(stop));
    }

    /// Lets everything go that is stopped.
    pub fn let_go(&self) {
        self.stops.send_modify(Vec::clear);
    }

    async fn pass(&self, stop: Stop) {
        let mut stops = self.stops.subscribe();
        // The sender is this route's own.
        let _ = stops.wait_for(|stops| !stops.contains(&stop)).await;
    }
}

/// A running proxy. It ends with the test's runtime.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    world: Arc<World>,
    routes: Mutex<HashMap<String, Arc<Route>>>,
    /// For payments whose nonce nobody has named.
    other: Mutex<Option<Arc<Route>>>,
    /// Connections that stay open without a byte.
    open: Mutex<Vec<TcpStream>>,
    client: Client,
}

impl Proxy {
    pub async fn start(world: Arc<World>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            world,
            routes: Mutex::default(),
            other: Mutex::default(),
            open: Mutex::default(),
            client: client(),
        };
        let proxy = Self { url, shared: Arc::new(shared) };
        let shared = proxy.shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        proxy
    }

    pub fn add(&self, route: Arc<Route>) {
        self.shared.routes.lock().unwrap().insert(route.nonce.clone(), route);
    }

    /// What becomes of payments whose nonce nobody has named.
    pub fn add_default(&self, route: Arc<Route>) {
        *self.shared.other.lock().unwrap() = Some(route);
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let request = read_request(&mut stream).await;
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let call = match path {
            "/verify" => Call::Verify,
            "/settle" => Call::Settle,
            // What the service asks of its own accord has no fault.
            _ => {
                let url = format!("{}{path}", self.world.facilitator);
                return answer(stream, self.truth(self.client.get(url)).await).await;
            }
        };
        let payment: Value = serde_json::from_str(body).unwrap();
        let nonce = &payment["paymentPayload"]["payload"]["authorization"]["nonce"];
        let nonce = nonce.as_str().unwrap();
        let named = self.routes.lock().unwrap().get(nonce).cloned();
        let route = named.or_else(|| self.other.lock().unwrap().clone());
        let route =
            route.unwrap_or_else(|| panic!("{path} for a payment that nobody made: {nonce}"));
        let mut turn = 0;
        route.seen.send_modify(|seen| match call {
            Call::Verify => (turn, seen.verify) = (seen.verify, seen.verify + 1),
            Call::Settle => {
                turn = seen.settle.len();
                seen.settle.push(body.to_owned());
            }
        });
        route.pass(Stop { call, turn, before: true }).await;
        let said = self.play(&route, call, route.fault.act(call, turn), body).await;
        route.pass(Stop { call, turn, before: false }).await;
        match said {
            Said::This(truth) => answer(stream, truth).await,
            Said::Nothing => {}
            Said::Silence => self.open.lock().unwrap().push(stream),
        }
    }

    async fn play(&self, route: &Route, call: Call, act: Act, body: &str) -> Said {
        let name = if call == Call::Verify { "verify" } else { "settle" };
        let post = || {
            let request = self.client.post(format!("{}/{name}", route.upstream));
            request.header("content-type", "application/json").body(body.to_owned())
        };
        let pass = async || {
            let truth = self.truth(post()).await;
            let kind = usize::from(call == Call::Settle);
            route.seen.send_modify(|seen| seen.answered[kind] += 1);
            truth
        };
        match act {
            Act::Pass => Said::This(pass().await),
            Act::Late => {
                let truth = pass().await;
                tokio::time::sleep(LATE).await;
                Said::This(truth)
            }
            Act::Instead(status, text) if route.fault == Fault::Invented => {
                assert!(text.is_empty(), "what is invented is made here");
                let told = invented(route.version, &route.payer, &route.nonce);
                Said::This(Some((status, told.to_string())))
            }
            Act::Instead(status, text) => Said::This(Some((status, text))),
            Act::Drop => Said::Nothing,
            Act::Ignore => Said::Silence,
            Act::Twist(twist) => {
                let truth = pass().await;
                match twist {
                    Twist::Hang => Said::Silence,
                    _ => Said::This(truth.and_then(|truth| twist.twisted(truth))),
                }
            }
            Act::Empty => {
                self.ask(json!({ "op": "drain", "address": route.payer })).await;
                Said::This(pass().await)
            }
            Act::Restart => {
                let kill = async {
                    self.ask(json!({ "op": "sent", "nonce": route.nonce })).await;
                    self.ask(json!({ "op": "restart", "facilitator": route.upstream })).await;
                    self.ask(json!({ "op": "release", "nonce": route.nonce })).await;
                };
                let (truth, ()) = tokio::join!(pass(), kill);
                assert_eq!(truth, None, "it ended before it answered");
                Said::Nothing
            }
        }
    }

    async fn ask(&self, request: Value) -> Value {
        self.world.ask(request).await.unwrap()
    }

    /// What the facilitator answers; nothing when it ends before it does.
    async fn truth(&self, request: reqwest::RequestBuilder) -> Option<(u16, String)> {
        let response = request.send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }
}

/// What the service hears.
enum Said {
    This(Option<(u16, String)>),
    Nothing,
    Silence,
}

async fn answer(mut stream: TcpStream, told: Option<(u16, String)>) {
    let Some((status, text)) = told else { return };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
    );
    // The caller may have gone already, which is its right.
    let _ = stream.write_all(answer.as_bytes()).await;
}
