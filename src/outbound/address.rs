use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// The internet.
    Public,
    /// This machine.
    Loopback,
    /// A network of the operator, or of its provider.
    Private,
    /// Nothing that is ever called: link-local and metadata addresses, multicast, tunnels, what is
    /// reserved or only for documents.
    Never,
}

/// How far calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// To public addresses.
    Public,
    /// To this machine as well.
    Loopback,
    /// To this machine and to private networks as well.
    Private,
}

impl Reach {
    /// Whether an address may be called.
    pub fn allows(self, address: IpAddr) -> bool {
        match AddressKind::of(address) {
            AddressKind::Public => true,
            AddressKind::Loopback => self >= Self::Loopback,
            AddressKind::Private => self >= Self::Private,
            AddressKind::Never => false,
        }
    }
}

impl FromStr for Reach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Public),
            "loopback" => Ok(Self::Loopback),
            "private" => Ok(Self::Private),
            _ => Err("it is neither none, loopback nor private"),
        }
    }
}

impl AddressKind {
    /// The kind of an address. An IPv6 address that carries an IPv4 address is of that one's kind.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    use AddressKind::{Loopback, Never, Private, Public};
    match address.octets() {
        // Metadata services in ranges of other kinds: Azure's and Alibaba's.
        [168, 63, 129, 16] | [100, 100, 100, 200] => Never,
        [127, ..] => Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Private,
        // This network, link-local, protocol assignments, documents, 6to4 relays, benchmarks,
        // multicast, reserved and broadcast.
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Never,
        _ => Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    use AddressKind::{Loopback, Never, Private, Public};
    let [a, b, c, d, e, f, g, h] = address.segments();
    let [high, low] = [g, h].map(u16::to_be_bytes);
    let v4 = Ipv4Addr::from([high[0], high[1], low[0], low[1]]);
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0] if (g, h) == (0, 1) => Loopback,
        // Mapped, and translated by NAT64.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => of_v4(v4),
        // Metadata services in the private range: Amazon's, Google's and Oracle's.
        [0xfd00, 0x0ec2 | 0x00c1, ..] | [0xfd20, 0x00ce, ..] => Never,
        [0xfc00..=0xfdff, ..] => Private,
        // Protocol assignments with Teredo, documents, 6to4 and documents again.
        [0x2001, 0..=0x01ff, ..]
        | [0x2001, 0x0db8, ..]
        | [0x2002, ..]
        | [0x3fff, 0..=0x0fff, ..] => Never,
        [0x2000..=0x3fff, ..] => Public,
        _ => Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_address_is_known() {
        for (kind, addresses) in [
            (
                AddressKind::Public,
                "1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.1 169.253.1.1 172.15.0.1 \
                 172.32.0.1 192.0.1.1 198.17.1.1 198.20.1.1 223.255.255.255 2606:4700::1111 \
                 2a00:1450:4001::200e 2001:4860:4860::8888 ::ffff:1.1.1.1 64:ff9b::8.8.8.8",
            ),
            (
                AddressKind::Loopback,
                "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1",
            ),
            (
                AddressKind::Private,
                "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 \
                 100.127.255.255 fc00::1 fd12:3456::1 ::ffff:10.0.0.1 64:ff9b::192.168.0.1",
            ),
            (
                AddressKind::Never,
                "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 168.63.129.16 100.100.100.200 \
                 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 \
                 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::2 \
                 ::127.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:0:1.1.1.1 \
                 64:ff9b::169.254.169.254 64:ff9b:1::1 100::1 2001::1 2001:1ff::1 2001:db8::1 \
                 2002:7f00:1:: 3fff::1 4000::1 5f00::1 fd00:ec2::254 fd20:ce::254 \
                 fd00:c1::a9fe:a9fe fe80::1 febf::1 fec0::1 \
                 ff02::1 ff0e::1",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(AddressKind::of(address.parse().unwrap()), kind, "{address}");
            }
        }
    }

    #[test]
    fn reach_is_a_bound() {
        let allowed = |reach: &str| {
            let reach: Reach = reach.parse().unwrap();
            ["1.1.1.1", "127.0.0.1", "10.0.0.1", "169.254.169.254"]
                .map(|address| reach.allows(address.parse().unwrap()))
        };
        assert_eq!(allowed("none"), [true, false, false, false]);
        assert_eq!(allowed("loopback"), [true, true, false, false]);
        assert_eq!(allowed("private"), [true, true, true, false]);
        assert!("all".parse::<Reach>().is_err());
    }
}
