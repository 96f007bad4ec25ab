//! A proxy between the service and Postgres that can cut a connection where it hurts most: at a
//! COMMIT, before it goes up or before its reply comes down.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

use super::dice::Dice;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// COMMIT never reaches the server.
    BeforeCommit,
    /// The server has committed, and its reply is lost.
    AfterCommit,
    /// Any message of either side is lost.
    Anywhere,
    /// The COMMIT of a transaction that writes outcomes of commands never reaches the server. The
    /// connection stays, until one of its ends is killed.
    Hold,
    /// The server has committed such a transaction, and its reply does not come. The connection stays
    /// likewise.
    Stall,
}

/// What a message is, as far as cutting goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    Committed,
    Other,
}

/// A proxy that listens on a port of its own.
#[derive(Clone)]
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: PgConnectOptions,
    armed: Mutex<Option<Armed>>,
    cuts: watch::Sender<usize>,
    /// How many of each kind of cut there were, in the order of [`Cut`].
    counts: [AtomicUsize; 5],
}

struct Armed {
    cut: Cut,
    dice: Dice,
}

impl Proxy {
    /// Stands before a server, which may come and go.
    pub async fn start(server: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: server.clone(),
            armed: Mutex::default(),
            cuts: watch::Sender::new(0),
            counts: Default::default(),
        });
        let proxy = Self { port, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                client.set_nodelay(true).unwrap();
                tokio::spawn(serve(shared.clone(), client));
            }
        });
        proxy
    }

    /// The same connection through the proxy.
    pub fn through(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = match options.get_socket() {
            None => options,
            // A socket's options have no password and cannot be given a host.
            Some(_) => PgConnectOptions::new_without_pgpass()
                .username(options.get_username())
                .database(options.get_database().unwrap()),
        };
        options.host("127.0.0.1").port(self.port).ssl_mode(PgSslMode::Disable)
    }

    /// Cuts so many connections at this place, each message with some chance, and then no more.
    pub async fn cut(&self, cut: Cut, count: usize, dice: Dice) {
        let mut cuts = self.shared.cuts.subscribe();
        let until = *cuts.borrow() + count;
        *self.shared.armed.lock().unwrap() = Some(Armed { cut, dice });
        cuts.wait_for(|cuts| *cuts >= until).await.unwrap();
        *self.shared.armed.lock().unwrap() = None;
    }

    /// How many cuts there were: before COMMIT, after it, anywhere, and COMMITs and replies withheld.
    pub fn counts(&self) -> [usize; 5] {
        [0, 1, 2, 3, 4].map(|n| self.shared.counts[n].load(Ordering::Relaxed))
    }
}

impl Shared {
    /// Whether and how this message is the end of its connection.
    fn cuts(&self, kind: Kind, decides: bool) -> Option<Cut> {
        let mut armed = self.armed.lock().unwrap();
        let armed = armed.as_mut()?;
        let (fits, chance) = match armed.cut {
            Cut::BeforeCommit => (kind == Kind::Commit, 2),
            Cut::AfterCommit => (kind == Kind::Committed, 2),
            Cut::Anywhere => (true, 40),
            Cut::Hold => (kind == Kind::Commit && decides, 1),
            Cut::Stall => (kind == Kind::Committed && decides, 1),
        };
        let cuts = fits && armed.dice.below(chance) == 0;
        if cuts {
            let place = match armed.cut {
                Cut::BeforeCommit => 0,
                Cut::AfterCommit => 1,
                Cut::Anywhere => 2,
                Cut::Hold => 3,
                Cut::Stall => 4,
            };
            self.counts[place].fetch_add(1, Ordering::Relaxed);
            self.cuts.send_modify(|cuts| *cuts += 1);
        }
        cuts.then_some(armed.cut)
    }
}

/// Passes messages on until one side ends or the connection is cut. Then both sides are closed: the
/// server rolls back what has not committed.
async fn serve(shared: Arc<Shared>, client: TcpStream) {
    let Ok((from_server, to_server)) = connect(&shared.server).await else { return };
    let (from_client, to_client) = client.into_split();
    // Whether the transaction under way writes outcomes of commands.
    let decides = AtomicBool::new(false);
    tokio::select! {
        () = up(&shared, &decides, from_client, to_server) => {}
        () = down(&shared, &decides, from_server, to_client) => {}
    }
}

type FromServer = Box<dyn AsyncRead + Send + Unpin>;
type ToServer = Box<dyn AsyncWrite + Send + Unpin>;

async fn connect(server: &PgConnectOptions) -> std::io::Result<(FromServer, ToServer)> {
    let port = server.get_port();
    Ok(match server.get_socket() {
        Some(directory) => {
            let socket = directory.join(format!(".s.PGSQL.{port}"));
            let (from, to) = UnixStream::connect(socket).await?.into_split();
            (Box::new(from), Box::new(to))
        }
        None => {
            let (from, to) = TcpStream::connect((server.get_host(), port)).await?.into_split();
            (Box::new(from), Box::new(to))
        }
    })
}

async fn up(shared: &Shared, decides: &AtomicBool, mut from: OwnedReadHalf, mut to: ToServer) {
    // The first message has no type.
    let mut typed = false;
    // The names of the prepared statements that write outcomes.
    let mut writers = HashSet::new();
    while let Some((kind, message)) = read(&mut from, typed).await {
        let mut parts = message.get(5..).unwrap_or_default().split(|byte| *byte == 0);
        match (kind, parts.next(), parts.next()) {
            (b'P', Some(name), Some(sql)) if mentions(sql, b"insert into outcome") => {
                writers.insert(name.to_vec());
            }
            (b'B', Some(_), Some(name)) if writers.contains(name) => {
                decides.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        let commits = matches!(kind, b'Q' | b'P') && {
            let text = String::from_utf8_lossy(&message[5..]).to_ascii_lowercase();
            text.split('\0').any(|part| part.trim_end_matches(';').trim() == "commit")
        };
        let kind = if commits { Kind::Commit } else { Kind::Other };
        match shared.cuts(kind, decides.load(Ordering::Relaxed)) {
            None => {}
            Some(Cut::Hold) => {
                while read(&mut from, true).await.is_some() {}
                return;
            }
            Some(Cut::BeforeCommit | Cut::AfterCommit | Cut::Anywhere | Cut::Stall) => return,
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
        typed = true;
    }
}

async fn down(shared: &Shared, decides: &AtomicBool, mut from: FromServer, mut to: OwnedWriteHalf) {
    while let Some((kind, message)) = read(&mut from, true).await {
        let committed = kind == b'C' && message[5..] == *b"COMMIT\0";
        if kind == b'Z' && message[5..] == *b"I" {
            // No transaction is under way.
            decides.store(false, Ordering::Relaxed);
        }
        let kind = if committed { Kind::Committed } else { Kind::Other };
        match shared.cuts(kind, decides.load(Ordering::Relaxed)) {
            None => {}
            Some(Cut::Stall) => {
                while read(&mut from, true).await.is_some() {}
                return;
            }
            Some(Cut::BeforeCommit | Cut::AfterCommit | Cut::Anywhere | Cut::Hold) => return,
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

fn mentions(sql: &[u8], words: &[u8]) -> bool {
    sql.windows(words.len()).any(|window| window == words)
}

/// One message of the protocol with its type; none when the connection has ended.
async fn read(from: &mut (impl AsyncReadExt + Unpin), typed: bool) -> Option<(u8, Vec<u8>)> {
    let head = if typed { 5 } else { 4 };
    let mut message = vec![0; head];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[head - 4..].try_into().unwrap());
    let body = usize::try_from(length).unwrap().checked_sub(4)?;
    message.resize(head + body, 0);
    from.read_exact(&mut message[head..]).await.ok()?;
    Some((if typed { message[0] } else { 0 }, message))
}
