//! A local chain with the official facilitator and buyers: `tests/official/world.mjs` as a child.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The child; it ends when its standard input closes.
pub struct World {
    pub rpc: String,
    pub facilitator: String,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

/// Installs the packages once, whatever the number of test processes.
static INSTALLED: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("official.lock")).unwrap();
    lock.lock().unwrap();
    super::node::ensure();
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
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = output.next_line().await.unwrap().expect("the world starts");
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { rpc: text("rpc"), facilitator: text("facilitator"), input, output, _child: child }
    }

    /// Asks the world to do something, and returns the result or the error's text.
    pub async fn ask(&mut self, request: Value) -> Result<Value, String> {
        self.input.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let answer = self.output.next_line().await.unwrap().expect("the world lives");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(answer.to_string()),
        }
    }

    /// What an address holds, in atomic units.
    pub async fn balance(&mut self, address: &str) -> i64 {
        let answer = self.ask(json!({ "op": "balance", "address": address })).await.unwrap();
        answer["balance"].as_str().unwrap().parse().unwrap()
    }

    pub async fn mint(&mut self, address: &str, atomic: i64) {
        let request = json!({ "op": "mint", "address": address, "amount": atomic.to_string() });
        self.ask(request).await.unwrap();
    }
}
