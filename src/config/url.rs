use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use reqwest::Url;

/// An http or https URL to which paths are appended. Written without a slash at its end.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is not a URL that Bursar can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL with one of the schemes.
    #[error("it is not a URL of the right kind")]
    Malformed,
    /// Credentials, which would end up in terms and logs.
    #[error("it carries credentials")]
    Credentials,
    /// A query or a fragment, to which no path can be appended.
    #[error("it carries a query or a fragment")]
    Query,
}

/// Reads a URL of one of the schemes; the parser alone forgives too much.
fn read(text: &str, schemes: &[&str]) -> Result<Url, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Malformed)?;
    let good = schemes.contains(&scheme)
        && !rest.is_empty()
        && !rest.starts_with('/')
        && !text.contains(char::is_whitespace);
    let url = Url::parse(text).map_err(|_| UrlError::Malformed)?;
    if good && url.has_host() { Ok(url) } else { Err(UrlError::Malformed) }
}

/// Checks an http or https URL of any form.
pub(super) fn web(text: &str) -> Result<String, UrlError> {
    read(text, &["http", "https"]).map(|_| text.to_owned())
}

/// Whether nobody can listen on the way to a URL: it is https, or of this machine.
pub(super) fn is_private(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    url.scheme() == "https" || host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Checks the URL of a Postgres database.
pub(super) fn postgres(text: &str) -> Result<String, UrlError> {
    read(text, &["postgres", "postgresql"]).map(|_| text.to_owned())
}

impl BaseUrl {
    /// How this machine reaches a server bound to an address.
    pub fn local(bound: SocketAddr) -> Self {
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let text = format!("http://{}", SocketAddr::new(ip, bound.port()));
        Self(Url::parse(&text).expect("an address and a port make a URL"))
    }

    /// The URL of a path below this one; the path begins with a slash.
    pub fn join(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether both lead to the same scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Whether it leads to a sandbox facilitator, of this Bursar or of another.
    pub fn is_sandbox(&self) -> bool {
        self.0.path().split('/').any(|part| part.eq_ignore_ascii_case("sandbox"))
    }
}

impl FromStr for BaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = read(text, &["http", "https"])?;
        if !url.username().is_empty() || url.password().is_some() {
            Err(UrlError::Credentials)
        } else if url.query().is_some() || url.fragment().is_some() {
            Err(UrlError::Query)
        } else {
            Ok(Self(url))
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Without the path, which may carry a key.
impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_take_paths() {
        let url: BaseUrl = "https://pay.example.com/bursar/".parse().unwrap();
        assert_eq!(url.join("/api/v1/credits"), "https://pay.example.com/bursar/api/v1/credits");
        let local = |text: &str| BaseUrl::local(text.parse().unwrap()).to_string();
        assert_eq!(local("0.0.0.0:8402"), "http://127.0.0.1:8402");
        assert_eq!(local("[::]:8402"), "http://[::1]:8402");
        assert_eq!(local("10.0.0.7:80"), "http://10.0.0.7");
    }

    #[test]
    fn what_is_no_base_url_is_refused() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("pay.example.com", UrlError::Malformed),
            ("http:/pay.example.com", UrlError::Malformed),
            ("http://", UrlError::Malformed),
            ("http:///path", UrlError::Malformed),
            ("ftp://pay.example.com", UrlError::Malformed),
            ("https://pay.example.com/ x", UrlError::Malformed),
            ("https://me:pass@pay.example.com", UrlError::Credentials),
            ("https://pay.example.com?a=b", UrlError::Query),
            ("https://pay.example.com/#top", UrlError::Query),
        ] {
            assert_eq!(text.parse::<BaseUrl>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn databases_are_postgres() {
        for text in ["postgres://u:p@h:5432/db", "postgresql://u@%2Frun%2Fpg:5432/db"] {
            assert_eq!(postgres(text).as_deref(), Ok(text));
        }
        for text in ["mysql://h/db", "h/db", "postgres:h", "host=h dbname=db"] {
            assert!(postgres(text).is_err(), "{text:?}");
        }
    }
}
