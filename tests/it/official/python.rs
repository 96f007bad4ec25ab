//! The official Python client, in an environment of its own under the target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use bursar::x402::{Version, Wallet, header};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::{PAY_TO, Stage, TOPUP, body_of, system};
use crate::matrix::{Call, Fault, Proxy, Route, Stop};
use crate::support::postgres;
use crate::support::service::Service;

/// The Python of an environment with the packages of `requirements.txt`, made once for all test
/// processes, and anew when that file changes.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = File::create(target.join("official-python.lock")).unwrap();
    lock.lock().unwrap();
    let (environment, wanted) = (target.join("official-python"), here("requirements.txt"));
    let python = environment.join("bin/python");
    let (made, wanted) = (environment.join("made"), fs::read_to_string(wanted).unwrap());
    if fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return python;
    }
    system::ensure_python();
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    run(pip.arg(here("requirements.txt")));
    fs::write(made, wanted).unwrap();
    python
});

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official").join(file)
}

fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?} failed: the official Python client is not there");
}

/// The client as a child; it ends when its standard input closes.
struct Client {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    secret: String,
    address: String,
    _child: Child,
}

impl Client {
    async fn start() -> Self {
        let python = tokio::task::spawn_blocking(|| PYTHON.clone()).await.unwrap();
        let mut child = tokio::process::Command::new(python)
            .arg(here("buyer.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let secret = [8; 32];
        let address = Wallet::from_secret(&secret).unwrap().address().to_string();
        let secret = format!("0x{}", hex::encode(secret));
        Self { input, output, secret, address, _child: child }
    }

    /// A purchase with the client's stock settings.
    async fn buy(&mut self, service: &Service, headers: Value) -> Value {
        let url = format!("{}{TOPUP}", service.url);
        let order = json!({ "url": url, "privateKey": self.secret, "headers": headers });
        self.input.write_all(format!("{order}\n").as_bytes()).await.unwrap();
        let answer = self.output.next_line().await.unwrap().expect("the client lives");
        serde_json::from_str(&answer).unwrap()
    }
}

#[test]
fn the_python_client_pays_over_version_2_as_it_comes() {
    postgres::run(|database| async move {
        let stage = Stage::set(&database).await;
        let (account, key) = stage.service.sign_up().await;
        let mut client = Client::start().await;
        stage.world.mint(&client.address, 2_000_000).await;
        let bearer = json!({ "authorization": format!("Bearer {key}") });
        let bought = client.buy(&stage.service, bearer).await;
        assert_eq!(bought["status"], 200, "{bought}");
        let body = body_of(&bought);
        assert_eq!((&body["status"], &body["credited"]), (&json!("credited"), &json!("1.00")));
        assert_eq!(body["account_id"], json!(account));
        assert!(bought["headers"]["payment-response"].is_string(), "{bought}");
        let paid = &bought["requests"].as_array().unwrap()[1]["headers"];
        assert!(paid["payment-signature"].is_string(), "over version 2: {paid}");

        // And without a key, into the account of its own wallet.
        let bought = client.buy(&stage.service, json!({})).await;
        assert_eq!(bought["status"], 200, "{bought}");
        assert!(body_of(&bought)["claim_url"].is_string(), "{bought}");
        assert_eq!(stage.world.balance(PAY_TO).await, 2_000_000);
    });
}

#[test]
fn the_python_client_gives_up_after_five_seconds_and_asks_again() {
    postgres::run(|database| async move {
        let mut stage = Stage::set(&database).await;
        let proxy = Proxy::start(stage.world.clone()).await;
        let variables = [
            ("BURSAR_FACILITATOR_URL", proxy.url.clone()),
            ("BURSAR_RPC_URL", stage.world.rpc.clone()),
            ("BURSAR_PAY_TO", PAY_TO.to_owned()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        stage.service = Service::start(&database, &variables);
        let mut client = Client::start().await;
        stage.world.mint(&client.address, 3_000_000).await;
        let (_, key) = stage.service.sign_up().await;
        // Its nonce is not known before it signs: the first payment is held, whichever it is.
        let stop = Stop { call: Call::Settle, turn: 0, before: false };
        let upstream = stage.world.facilitator.clone();
        let payer = client.address.to_lowercase();
        let route = Arc::new(Route::new(Fault::None, Version::V2, payer, String::new(), upstream));
        route.stop_at(stop);
        proxy.add_default(route.clone());

        let headers = json!({
            "authorization": format!("Bearer {key}"), "idempotency-key": "python-buys-once",
        });
        let lost = client.buy(&stage.service, headers.clone()).await;
        let error = lost["error"].as_str().unwrap_or_else(|| panic!("it waited: {lost}"));
        assert!(error.contains("ReadTimeout") || error.contains("Failed to handle"), "{lost}");
        route.let_go();

        // It signs anew, and the purchase has been made: nothing is sent a second time.
        let again = client.buy(&stage.service, headers).await;
        assert_eq!(again["status"], 200, "{again}");
        let (first, second) = (paid(&lost), paid(&again));
        let nonce = |sent: &str| {
            let payment: Value = header::decode(sent).unwrap();
            payment["payload"]["authorization"]["nonce"].clone()
        };
        assert_ne!(nonce(&first), nonce(&second), "the client signed a second payment");
        let body = body_of(&again);
        assert_eq!((&body["status"], &body["credited"]), (&json!("credited"), &json!("1.00")));

        // And the first payment itself, shown again, has the same answer.
        let url = format!("{}{TOPUP}", stage.service.url);
        let request = stage.service.client.post(url).bearer_auth(&key);
        let shown = request.header("payment-signature", first).send().await.unwrap();
        assert_eq!(shown.status().as_u16(), 200);
        let receipt = shown.headers()["payment-response"].to_str().unwrap();
        assert_eq!(json!(receipt), again["headers"]["payment-response"]);
        let shown: Value = shown.json().await.unwrap();
        assert_eq!(shown["topup_id"], body["topup_id"]);

        assert_eq!(route.seen().settle.len(), 1, "settled once");
        assert_eq!(stage.world.balance(PAY_TO).await, 1_000_000);
        assert_eq!(stage.settled().await, "1.00");
    });
}

/// The payment that the client sent.
fn paid(bought: &Value) -> String {
    let sent = bought["requests"].as_array().unwrap().last().unwrap();
    sent["headers"]["payment-signature"].as_str().unwrap().to_owned()
}
