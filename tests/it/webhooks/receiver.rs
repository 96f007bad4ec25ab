//! Somebody who is called: keeps what arrives, and answers as it is told to.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this status and a body that nobody understands.
    Status(u16),
    /// With this status, and for how many seconds to stay away.
    Busy(u16, u32),
    /// With this status and body.
    Text(u16, String),
    /// With 200 and this body, after a while.
    Late(Duration, String),
    /// With a redirect to there.
    Redirect(String),
    /// With 200 and a body that never ends.
    Endless,
    /// Not at all, though the connection stays.
    Silence,
    /// Not at all: the connection is closed.
    HangUp,
    /// With 200, after a while.
    Slow(Duration),
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Call {
    pub headers: HeaderMap,
    pub body: String,
}

impl Call {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Whether the library of Standard Webhooks takes it as signed with this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).unwrap();
        webhook.verify(self.body.as_bytes(), &self.headers).is_ok()
    }
}

/// A receiver that listens until it is dropped.
pub struct Receiver {
    pub url: String,
    inside: Arc<Inside>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Inside {
    calls: Mutex<Vec<Call>>,
    /// Answers to the next requests; 200 when there are none.
    replies: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let inside: Arc<Inside> = Arc::default();
        let shared = inside.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let inside = shared.clone();
                // Whoever is called may hang up at any time.
                tokio::spawn(async move { drop(inside.serve(stream).await) });
            }
        });
        Self { url, inside, task }
    }

    /// How the next requests are answered, one after the other.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.inside.replies.lock().unwrap().extend(replies);
    }

    /// How all others are answered.
    pub fn always(&self, reply: Reply) {
        *self.inside.always.lock().unwrap() = Some(reply);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.inside.calls.lock().unwrap().clone()
    }

    /// How many requests were under way at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.inside.most.load(Ordering::SeqCst)
    }

    /// Waits until so many requests have arrived, and returns them.
    pub async fn wait_for(&self, count: usize) -> Vec<Call> {
        for _ in 0..1200 {
            let calls = self.calls();
            if calls.len() >= count {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} calls instead of {count}", self.calls().len());
    }
}

impl Inside {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let Some(call) = read(&mut stream).await? else { return Ok(()) };
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.calls.lock().unwrap().push(call);
        let reply = self.replies.lock().unwrap().pop_front();
        let reply = reply.or_else(|| self.always.lock().unwrap().clone());
        let answered = answer(&mut stream, reply.unwrap_or(Reply::Status(200))).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        answered
    }
}

async fn answer(stream: &mut TcpStream, reply: Reply) -> io::Result<()> {
    let head = |status: u16, more: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\nconnection: close\r\n{more}\r\n\0{{]<")
    };
    match reply {
        Reply::Status(status) => stream.write_all(head(status, "").as_bytes()).await,
        Reply::Busy(status, seconds) => {
            stream.write_all(head(status, &format!("retry-after: {seconds}\r\n")).as_bytes()).await
        }
        Reply::Text(status, body) => stream.write_all(text(status, &body).as_bytes()).await,
        Reply::Late(pause, body) => {
            tokio::time::sleep(pause).await;
            stream.write_all(text(200, &body).as_bytes()).await
        }
        Reply::Redirect(to) => {
            stream.write_all(head(307, &format!("location: {to}\r\n")).as_bytes()).await
        }
        Reply::Slow(pause) => {
            tokio::time::sleep(pause).await;
            stream.write_all(head(200, "").as_bytes()).await
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 65536]).await?;
            }
        }
        Reply::Silence => {
            // Until the caller has had enough.
            let mut rest = [0; 16];
            while stream.read(&mut rest).await? > 0 {}
            Ok(())
        }
        Reply::HangUp => Ok(()),
    }
}

fn text(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// Reads one request; none when the connection ends before.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Call>> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let mut headers = HeaderMap::new();
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
        if body.len() >= length {
            return Ok(Some(Call { headers, body: body.to_owned() }));
        }
    }
}
