//! A lean HTTP load generator: keep-alive connections on one thread, requests made by hand. Anything
//! more comfortable costs as much as the service that it measures.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// An answer: its status and body.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    pub retry_after: bool,
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Sends a whole request and reads the whole answer.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = self.parse()? {
                return Ok(answer);
            }
        }
    }

    fn parse(&self) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.buffer).map_err(io::Error::other)?;
        let httparse::Status::Complete(head) = parsed else { return Ok(None) };
        let header = |name: &str| {
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
        };
        let length = header("content-length").and_then(|h| std::str::from_utf8(h.value).ok());
        let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
        let Some(body) = self.buffer.get(head..head + length) else { return Ok(None) };
        Ok(Some(Answer {
            status: response.code.unwrap_or(0),
            body: body.to_vec(),
            retry_after: header("retry-after").is_some(),
        }))
    }
}

/// A POST of JSON.
pub fn post(path: &str, key: &str, idempotency_key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\nidempotency-key: {idempotency_key}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What a measurement sends: one operation at a time over one connection, however many requests it
/// takes. Whether it was carried out.
pub trait Operation: Clone + Send + 'static {
    /// How many are in flight: several hundred.
    const CONNECTIONS: usize = 256;

    fn run(&self, connection: &mut Connection) -> impl Future<Output = io::Result<bool>>;
}

/// How hard it is sent.
#[derive(Clone, Copy)]
pub struct Pressure {
    pub connections: usize,
    pub how_long: Duration,
    /// Operations per second, begun on time whatever became of those before; none is as fast as
    /// answers come.
    pub rate: Option<f64>,
}

/// What came of it.
pub struct Load {
    pub done: u64,
    pub refused: u64,
    pub took: Duration,
    pub times: Vec<Duration>,
}

/// Runs an operation over and over on a thread of its own.
pub fn run<O: Operation>(address: SocketAddr, operation: O, pressure: Pressure) -> Load {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let local = LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), press(address, operation, pressure))
    });
    thread.join().expect("the load generator does not panic")
}

async fn press<O: Operation>(address: SocketAddr, operation: O, pressure: Pressure) -> Load {
    // Connections are kept alive: opening them is no part of an operation.
    let mut open = Vec::new();
    while open.len() < pressure.connections {
        open.push(Connection::open(address).await.expect("connects"));
    }
    let begun = Instant::now();
    let until = begun + pressure.how_long;
    let next = Rc::new(Cell::new(0_u32));
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (operation, next) = (operation.clone(), next.clone());
            tokio::task::spawn_local(async move {
                let (mut times, mut refused) = (Vec::new(), 0);
                loop {
                    let due = turn(&next, begun, pressure.rate);
                    if due.max(Instant::now()) >= until {
                        return (times, refused);
                    }
                    tokio::time::sleep_until(due.into()).await;
                    let begun = if pressure.rate.is_some() { due } else { Instant::now() };
                    if operation.run(&mut connection).await.expect("an answer") {
                        times.push(begun.elapsed());
                    } else {
                        refused += 1;
                    }
                }
            })
        })
        .collect();
    let (mut times, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (of_task, no) = task.await.expect("a task");
        times.extend(of_task);
        refused += no;
    }
    let done = u64::try_from(times.len()).expect("small");
    Load { done, refused, took: begun.elapsed(), times }
}

/// When the next operation is due.
fn turn(next: &Cell<u32>, begun: Instant, rate: Option<f64>) -> Instant {
    let Some(rate) = rate else { return begun };
    let n = next.get();
    next.set(n + 1);
    begun + Duration::from_secs_f64(f64::from(n) / rate)
}
