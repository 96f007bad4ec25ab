//! A scripted HTTP peer on 127.0.0.1: it does exactly what a test tells it, one connection at a
//! time, which no well-behaved server library would.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the peer does with one connection, after it has read the whole request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with a status and a body.
    Answer(u16, String),
    /// Answers with these bytes and closes.
    Raw(String),
    /// Closes without a byte.
    Drop,
    /// Keeps the connection open and says nothing.
    Hang,
    /// Announces a long body, begins it, and says no more.
    Stall,
}

/// A running peer. It ends with the test's runtime.
pub struct Peer {
    /// Where it listens.
    pub url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Starts a peer that plays one act per connection and repeats the last one.
    pub async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for turn in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                let act = script.get(turn).or(script.last()).expect("a script has an act");
                held.extend(play(act, stream).await);
            }
        });
        Self { url, requests }
    }

    /// The requests so far, head and body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// An address on which nothing listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Plays an act and gives the connection back when it is to stay open.
async fn play(act: &Act, mut stream: TcpStream) -> Option<TcpStream> {
    let (bytes, stays) = match act {
        Act::Answer(status, body) => {
            let length = body.len();
            (
                format!(
                    "HTTP/1.1 {status} Said\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
                ),
                false,
            )
        }
        Act::Raw(bytes) => (bytes.clone(), false),
        Act::Drop => (String::new(), false),
        Act::Hang => (String::new(), true),
        Act::Stall => {
            ("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"success\":".to_owned(), true)
        }
    };
    // The client may have gone already, which is its right.
    let _ = stream.write_all(bytes.as_bytes()).await;
    stays.then_some(stream)
}

/// Reads one request, head and body.
pub async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
