//! A scripted facilitator: it stands in front of a real one and does to each call what a test says.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::facilitator::install_tls;
use crate::peer::read_request;

/// What becomes of one call. Without a script it is passed on, and so is the answer.
#[derive(Clone, Debug, Default)]
pub struct Act {
    /// Waits for [`Front::release`] before anything else.
    held: bool,
    /// The real one never hears of it.
    kept: bool,
    /// What the caller hears instead of the real answer.
    says: Option<Says>,
    /// Stops listening before it answers.
    closes: bool,
}

/// What a caller hears.
#[derive(Clone, Debug)]
pub enum Says {
    This(u16, String),
    /// The connection closes without a byte.
    Nothing,
    /// The connection stays open without a byte.
    Silence,
}

impl Act {
    /// Waits to be released, and passes the call on.
    pub fn hold() -> Self {
        Self { held: true, ..Self::default() }
    }

    /// Waits to be released, and answers by itself.
    pub fn hold_and_say(says: Says) -> Self {
        Self { held: true, ..Self::say(says) }
    }

    /// Passes the call on, and gives the real answer when nobody listens any more.
    pub fn close() -> Self {
        Self { closes: true, ..Self::default() }
    }

    /// Passes the call on and gives another answer.
    pub fn twist(says: Says) -> Self {
        Self { says: Some(says), ..Self::default() }
    }

    /// Answers by itself.
    pub fn say(says: Says) -> Self {
        Self { kept: true, says: Some(says), ..Self::default() }
    }
}

impl Says {
    pub fn json(body: &Value) -> Self {
        Self::This(200, body.to_string())
    }
}

/// A running one. It ends with the test's runtime.
pub struct Front {
    pub url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    real: Mutex<String>,
    scripts: Mutex<HashMap<String, VecDeque<Act>>>,
    calls: watch::Sender<Vec<(String, Value)>>,
    gate: Semaphore,
    listening: Mutex<Option<JoinHandle<()>>>,
    open: Mutex<Vec<TcpStream>>,
    client: Client,
}

impl Front {
    pub async fn start() -> Self {
        install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            real: Mutex::default(),
            scripts: Mutex::default(),
            calls: watch::Sender::default(),
            gate: Semaphore::new(0),
            listening: Mutex::default(),
            open: Mutex::default(),
            client: Client::builder().timeout(Duration::from_secs(60)).build().unwrap(),
        });
        shared.listen(listener);
        Self { url: format!("http://{address}"), address, shared }
    }

    /// Names the real facilitator by its base URL.
    pub fn stand_before(&self, url: String) {
        *self.shared.real.lock().unwrap() = url;
    }

    /// Scripts the next call that has no script yet.
    pub fn next(&self, call: &str, act: Act) {
        let mut scripts = self.shared.scripts.lock().unwrap();
        scripts.entry(call.to_owned()).or_default().push_back(act);
    }

    /// The bodies of all calls of a kind so far.
    pub fn seen(&self, call: &str) -> Vec<Value> {
        let calls = self.shared.calls.borrow();
        calls.iter().filter(|(name, _)| name == call).map(|(_, body)| body.clone()).collect()
    }

    /// Waits until so many calls of a kind have come.
    pub async fn arrived(&self, call: &str, count: usize) {
        let mut calls = self.shared.calls.subscribe();
        let enough =
            calls.wait_for(|calls| calls.iter().filter(|(name, _)| name == call).count() >= count);
        let enough = tokio::time::timeout(Duration::from_secs(60), enough).await;
        enough.unwrap_or_else(|_| panic!("{call} was not called {count} times")).unwrap();
    }

    /// Lets one call go on that is held.
    pub fn release(&self) {
        self.shared.gate.add_permits(1);
    }

    /// Stops listening: connections are refused.
    pub async fn close(&self) {
        self.shared.close().await;
    }

    /// Listens again, at the same address.
    pub async fn reopen(&self) {
        self.shared.listen(TcpListener::bind(self.address).await.unwrap());
    }
}

impl Shared {
    fn listen(self: &Arc<Self>, listener: TcpListener) {
        let shared = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(shared.clone().serve(stream));
            }
        });
        *self.listening.lock().unwrap() = Some(task);
    }

    async fn close(&self) {
        let task = self.listening.lock().unwrap().take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let request = read_request(&mut stream).await;
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let call = path.rsplit('/').next().unwrap().to_owned();
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let act = {
            let mut scripts = self.scripts.lock().unwrap();
            scripts.get_mut(&call).and_then(VecDeque::pop_front).unwrap_or_default()
        };
        self.calls.send_modify(|calls| calls.push((call.clone(), body.clone())));
        if act.held {
            self.gate.acquire().await.unwrap().forget();
        }
        let truth = if act.kept { None } else { Some(self.pass_on(&call, &body).await) };
        if act.closes {
            self.close().await;
        }
        let (status, text) = match (act.says, truth) {
            (Some(Says::This(status, text)), _) => (status, text),
            (Some(Says::Silence), _) => return self.open.lock().unwrap().push(stream),
            (Some(Says::Nothing), _) | (None, None) => return,
            (None, Some(truth)) => truth,
        };
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
        );
        // The caller may have gone already, which is its right.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn pass_on(&self, call: &str, body: &Value) -> (u16, String) {
        let url = format!("{}/{call}", self.real.lock().unwrap());
        let request = if call == "supported" {
            self.client.get(url)
        } else {
            self.client.post(url).json(body)
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}
