use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, Url, redirect, retry};
use tokio::sync::Semaphore;

use super::Reach;

/// How long looking up a host and connecting to it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many hosts are looked up at once: each takes a thread.
const LOOKUPS_MAX: usize = 64;
/// The longest URL.
const URL_BYTES_MAX: usize = 2048;

/// Why a URL is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    #[error("it is not a URL with a host, of at most 2048 bytes")]
    Malformed,
    #[error("only https is called")]
    NotHttps,
    #[error("only https and http are called")]
    NotWeb,
    #[error("it carries credentials or a fragment")]
    Extras,
    #[error("the port belongs to another service than the web")]
    Port,
    #[error("the address is not one that may be called")]
    Address,
}

/// Why there was no answer, as a class: nothing of what others said is in it, and no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The URL, or an address that its host has, may not be called.
    #[error("not called: {0}")]
    NotAllowed(#[from] UrlFault),
    #[error("the host was not found")]
    Dns,
    /// There was no connection, so nothing was sent.
    #[error("no connection")]
    Refused,
    #[error("no trusted encryption")]
    Tls,
    #[error("no answer in time")]
    TimedOut,
    #[error("the connection was lost")]
    Lost,
}

impl CallError {
    /// Its word, for whoever chose the address.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotAllowed(_) => "not_allowed",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Tls => "tls",
            Self::TimedOut => "timeout",
            Self::Lost => "lost",
        }
    }
}

/// A client for such calls.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client,
    reach: Reach,
    /// Whether http may be called. Anybody on the way could read along.
    http: bool,
}

impl Caller {
    /// A client that goes so far.
    pub fn new(reach: Reach, http: bool) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            // Each call looks the host up anew.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .dns_resolver(Arc::new(Guarded {
                reach,
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            }))
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, reach, http })
    }

    /// Checks what can be seen of a URL without looking up its host.
    pub fn check(&self, url: &str) -> Result<Url, UrlFault> {
        let plain = url.len() <= URL_BYTES_MAX && url.bytes().all(|b| b.is_ascii_graphic());
        let url = Url::parse(url).ok().filter(|url| plain && url.has_host());
        let url = url.ok_or(UrlFault::Malformed)?;
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            _ => return Err(if self.http { UrlFault::NotWeb } else { UrlFault::NotHttps }),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(UrlFault::Extras);
        }
        if !matches!(url.port_or_known_default(), Some(80 | 443 | 1024..)) {
            return Err(UrlFault::Port);
        }
        // A host that is an address is not looked up, so the resolver would not see it.
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) if !self.reach.allows(address) => Err(UrlFault::Address),
            Ok(_) | Err(_) => Ok(url),
        }
    }

    /// Posts a body. The time includes reading the answer, which the caller does, as far as it wants.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: String,
        timeout: Duration,
    ) -> Result<Response, CallError> {
        let request = self.client.post(self.check(url)?).headers(headers).body(body);
        request.timeout(timeout).send().await.map_err(|error| said(&error))
    }
}

/// Looks hosts up and lets only addresses through that may be called. One that may not spoils the
/// others: who answers with both is up to no good.
struct Guarded {
    reach: Reach,
    lookups: Arc<Semaphore>,
}

/// The host has no address, or nobody said so in time.
#[derive(Debug, thiserror::Error)]
#[error("the host was not found")]
struct NotFound;

impl Resolve for Guarded {
    /// A lookup that has begun cannot be broken off, and goes on when its caller has given up. So the
    /// permit is the lookup's, and not the caller's.
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookups) = (self.reach, self.lookups.clone());
        Box::pin(async move {
            let permit = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                let found = (name.as_str(), 0).to_socket_addrs().map(Vec::from_iter);
                drop(permit);
                found
            });
            guard(reach, found.await?.map_err(|_| NotFound)?)
        })
    }
}

fn guard(reach: Reach, found: Vec<SocketAddr>) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    if found.is_empty() {
        return Err(Box::new(NotFound));
    }
    if !found.iter().all(|address| reach.allows(address.ip())) {
        return Err(Box::new(UrlFault::Address));
    }
    Ok(Box::new(found.into_iter()))
}

fn said(error: &reqwest::Error) -> CallError {
    let first: Option<&(dyn Error + 'static)> = error.source();
    let chain = || std::iter::successors(first, |cause: &&(dyn Error + 'static)| (*cause).source());
    if let Some(fault) = chain().find_map(|cause| cause.downcast_ref::<UrlFault>()) {
        CallError::NotAllowed(*fault)
    } else if chain().any(|cause| cause.is::<NotFound>()) {
        CallError::Dns
    } else if error.is_timeout() {
        CallError::TimedOut
    } else if chain().any(is_of_tls) {
        CallError::Tls
    } else if error.is_connect() {
        CallError::Refused
    } else {
        CallError::Lost
    }
}

/// An I/O error leaves out what it was made of when it is asked for its source, and may have been made
/// of another one.
fn is_of_tls(cause: &(dyn Error + 'static)) -> bool {
    let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || inside.is_some_and(|inside| is_of_tls(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(reach: Reach, http: bool) -> Caller {
        // Every test of the process may come first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Caller::new(reach, http).unwrap()
    }

    #[test]
    fn what_may_not_be_called_is_seen_in_the_url() {
        let live = caller(Reach::Public, false);
        for good in [
            "https://hooks.example.com/bursar?x=1",
            "https://hooks.example.com:8443/",
            "https://1.1.1.1/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(live.check(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("", UrlFault::Malformed),
            ("hooks.example.com", UrlFault::Malformed),
            ("https://", UrlFault::Malformed),
            ("https://hooks.example.com/\n", UrlFault::Malformed),
            ("http://hooks.example.com/", UrlFault::NotHttps),
            ("ftp://hooks.example.com/", UrlFault::NotHttps),
            ("file:///etc/passwd", UrlFault::Malformed),
            ("https://me@hooks.example.com/", UrlFault::Extras),
            ("https://:pass@hooks.example.com/", UrlFault::Extras),
            ("https://hooks.example.com/#a", UrlFault::Extras),
            ("https://hooks.example.com:22/", UrlFault::Port),
            ("https://127.0.0.1/", UrlFault::Address),
            ("https://2130706433/", UrlFault::Address),
            ("https://0x7f.1/", UrlFault::Address),
            ("https://017700000001/", UrlFault::Address),
            ("https://[::1]/", UrlFault::Address),
            ("https://[::ffff:10.0.0.1]/", UrlFault::Address),
            ("https://169.254.169.254/latest/meta-data", UrlFault::Address),
        ] {
            assert_eq!(live.check(bad).map(|_| ()), Err(fault), "{bad}");
        }
        let long = format!("https://hooks.example.com/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(live.check(&long).map(|_| ()), Err(UrlFault::Malformed));
        let test = caller(Reach::Loopback, true);
        assert!(test.check("http://127.0.0.1:8080/").is_ok());
        assert_eq!(test.check("http://10.0.0.1/").map(|_| ()), Err(UrlFault::Address));
        assert_eq!(test.check("ws://127.0.0.1/").map(|_| ()), Err(UrlFault::NotWeb));
    }

    #[test]
    fn one_bad_address_spoils_the_others() {
        let found = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
        };
        assert!(guard(Reach::Public, found("1.1.1.1 2606:4700::1111")).is_ok());
        assert!(guard(Reach::Public, found("1.1.1.1 10.0.0.1")).is_err());
        assert!(guard(Reach::Private, found("1.1.1.1 10.0.0.1")).is_ok());
        assert!(guard(Reach::Private, found("10.0.0.1 fe80::1")).is_err());
        assert!(guard(Reach::Private, Vec::new()).is_err());
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_called() {
        let caller = caller(Reach::Public, true);
        let called =
            caller.post("http://localhost/", HeaderMap::new(), String::new(), CONNECT_TIMEOUT);
        assert_eq!(called.await.map(|_| ()), Err(CallError::NotAllowed(UrlFault::Address)));
    }

    /// What anybody may say is a word of ours.
    #[tokio::test]
    async fn why_there_was_no_answer_is_a_class() {
        let caller = caller(Reach::Loopback, true);
        let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap().port();
        let (mute_port, rude_port, closed_port) = (port(&mute), port(&rude), port(&closed));
        drop(closed);
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            loop {
                let (mut stream, _) = rude.accept().await.unwrap();
                let _ = stream.read(&mut [0; 64]).await;
                let _ = stream.write_all(b"go away <script>\r\n\r\n").await;
            }
        });
        for (url, word) in [
            (format!("http://127.0.0.1:{closed_port}/"), "refused"),
            (format!("http://127.0.0.1:{mute_port}/"), "timeout"),
            (format!("http://127.0.0.1:{rude_port}/"), "lost"),
            (format!("https://127.0.0.1:{rude_port}/"), "tls"),
            ("http://nobody.invalid/".to_owned(), "dns"),
            ("http://10.0.0.1/".to_owned(), "not_allowed"),
        ] {
            let timeout = Duration::from_millis(if word == "timeout" { 300 } else { 4000 });
            let called = caller.post(&url, HeaderMap::new(), "{}".to_owned(), timeout).await;
            assert_eq!(called.map(|_| ()).unwrap_err().word(), word, "{url}");
        }
    }
}
