//! Who is at the other end of the connection, seen through proxies that the operator named.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// The address that signup and rate limits count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The peer; or, when the peer is a trusted proxy, the right-most address of `X-Forwarded-For`
    /// that is not. Anything left of that was written by the client and proves nothing.
    pub fn find(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let mut nearest = peer.to_canonical();
        if !is_trusted(nearest) {
            return Self(nearest);
        }
        let lines: Vec<_> = headers.get_all("x-forwarded-for").collect();
        for line in lines.into_iter().rev() {
            // A hop that cannot be read hides what is behind it: the proxy before it is known.
            let Ok(line) = line.to_str() else { return Self(nearest) };
            for hop in line.rsplit(',') {
                let Some(address) = read_hop(hop) else { return Self(nearest) };
                nearest = address;
                if !is_trusted(nearest) {
                    return Self(nearest);
                }
            }
        }
        Self(nearest)
    }

    /// What is counted as one client: an IPv4 address, or an IPv6 /64, which is one subscriber's.
    pub fn bucket(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                IpAddr::V6(network.into())
            }
        }
    }
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn read_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.or_else(with_port).or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn find(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            let name = HeaderName::from_static("x-forwarded-for");
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        ClientAddress::find(peer.parse().unwrap(), &headers, &trusted).0.to_string()
    }

    #[test]
    fn a_stranger_cannot_name_its_own_address() {
        assert_eq!(find("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(find("203.0.113.9", &["198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_names_the_nearest_stranger() {
        let trusted = ["10.0.0.0/8", "fd00::/8"];
        assert_eq!(find("10.0.0.1", &["1.2.3.4, 203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(find("10.0.0.1", &["203.0.113.9, 10.0.0.2"], &trusted), "203.0.113.9");
        assert_eq!(find("10.0.0.1", &["1.2.3.4", "203.0.113.9:4711"], &trusted), "203.0.113.9");
        assert_eq!(find("fd00::1", &["[2001:db8::7]"], &trusted), "2001:db8::7");
        assert_eq!(find("::ffff:10.0.0.1", &["203.0.113.9"], &trusted), "203.0.113.9");
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(find("10.0.0.1", &["203.0.113.9, unknown"], &trusted), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &["203.0.113.9, junk, 10.0.0.2"], &trusted), "10.0.0.2");
        assert_eq!(find("10.0.0.1", &[""], &trusted), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &["10.0.0.3"], &trusted), "10.0.0.3");
    }

    #[test]
    fn one_subscriber_is_one_bucket() {
        let bucket = |text: &str| ClientAddress(text.parse().unwrap()).bucket();
        assert_eq!(bucket("2001:db8:1:2:3:4:5:6"), bucket("2001:db8:1:2::1"));
        assert_ne!(bucket("2001:db8:1:3::1"), bucket("2001:db8:1:2::1"));
        assert_eq!(bucket("::ffff:1.2.3.4"), bucket("1.2.3.4"));
        assert_ne!(bucket("1.2.3.5"), bucket("1.2.3.4"));
    }
}
