//! A local chain with the official facilitator and buyers: `tests/official/world.mjs` as a child.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, oneshot};

/// The child; it ends when its standard input closes.
pub struct World {
    pub rpc: String,
    pub facilitator: String,
    input: Mutex<ChildStdin>,
    asked: Asked,
    next: AtomicU64,
    _child: Child,
}

/// Who waits for which answer. None once the child has ended.
type Asked = Arc<std::sync::Mutex<Option<HashMap<u64, oneshot::Sender<Value>>>>>;

/// Installs the packages once, whatever the number of test processes.
static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("official.lock")).unwrap();
    lock.lock().unwrap();
    super::system::ensure_node();
    let modified = |path: PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    let installed = modified(root.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(root.join("package-lock.json")) {
        let status = std::process::Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--silent"])
            .current_dir(&root)
            .status()
            .expect("npm runs");
        assert!(status.success(), "npm ci failed");
    }
    root
});

impl World {
    pub async fn start() -> Self {
        let root = tokio::task::spawn_blocking(|| INSTALLED.clone()).await.unwrap();
        let mut child = Command::new("node")
            .arg("world.mjs")
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = Mutex::new(child.stdin.take().unwrap());
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = output.next_line().await.unwrap().expect("the world starts");
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        let asked: Asked = Arc::new(std::sync::Mutex::new(Some(HashMap::new())));
        tokio::spawn(hear(output, asked.clone()));
        let (rpc, facilitator, next) = (text("rpc"), text("facilitator"), AtomicU64::new(1));
        Self { rpc, facilitator, input, asked, next, _child: child }
    }

    /// Asks the world to do something, and returns the result or the error's text. Several may ask
    /// at once.
    pub async fn ask(&self, mut request: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        request["id"] = json!(id);
        let (sender, answer) = oneshot::channel();
        self.asked.lock().unwrap().as_mut().expect("the world lives").insert(id, sender);
        self.input.lock().await.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let answer = answer.await.expect("the world lives");
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(answer.to_string()),
        }
    }

    /// What an address holds, in atomic units.
    pub async fn balance(&self, address: &str) -> i64 {
        let answer = self.ask(json!({ "op": "balance", "address": address })).await.unwrap();
        answer["balance"].as_str().unwrap().parse().unwrap()
    }

    pub async fn mint(&self, address: &str, atomic: i64) {
        let request = json!({ "op": "mint", "address": address, "amount": atomic.to_string() });
        self.ask(request).await.unwrap();
    }
}

/// Hands each answer to whoever waits for it, until the child ends.
async fn hear(mut output: Lines<BufReader<ChildStdout>>, asked: Asked) {
    while let Ok(Some(line)) = output.next_line().await {
        let answer: Value = serde_json::from_str(&line).unwrap();
        let waiting =
            answer["id"].as_u64().and_then(|id| asked.lock().unwrap().as_mut()?.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever asked may have been given up.
            let _ = waiting.send(answer);
        }
    }
    *asked.lock().unwrap() = None;
}
