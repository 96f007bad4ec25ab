use std::sync::{PoisonError, RwLock};

use super::{Address, Network};
use crate::x402::HexError;

/// What was added, once per id and for as long as the process lives: configuration is read once.
static ADDED: RwLock<Vec<&'static Network>> = RwLock::new(Vec::new());

/// More lines than anybody has are a mistake.
const ADDED_MAX: usize = 64;

/// Names that version 1 has for chains that are not in the table, and whether its last clients know
/// them.
const V1_NAMES: [(u64, &str, bool); 10] = [
    (43_113, "avalanche-fuji", true),
    (80_002, "polygon-amoy", true),
    (11_155_111, "sepolia", false),
    (2741, "abstract", true),
    (11_124, "abstract-testnet", true),
    (4689, "iotex", true),
    (3338, "peaq", true),
    (1514, "story", true),
    (41_923, "educhain", true),
    (324_705_682, "skale-base-sepolia", true),
];

/// Why a line does not describe a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkFault {
    /// The id is not `eip155:` and a chain id.
    #[error("`{0}` is not a CAIP-2 id like eip155:43113")]
    Id(String),
    /// The id is in the table.
    #[error("{0} is known without a description")]
    Known(String),
    /// A part that has no meaning, or comes twice.
    #[error("{id}: `{part}` is not understood")]
    Part {
        /// The network.
        id: String,
        /// The part.
        part: String,
    },
    /// A part that must be there.
    #[error("{id}: {part} is missing")]
    Missing {
        /// The network.
        id: String,
        /// What is missing.
        part: &'static str,
    },
    /// The contract's address is mistyped.
    #[error("{id}: asset: {source}")]
    Asset {
        /// The network.
        id: String,
        /// What is wrong with it.
        source: HexError,
    },
    /// Amounts here have six decimals, like those of USDC, and none is ever converted.
    #[error("{0}: decimals must be 6")]
    Decimals(String),
    /// The same id was described in another way before.
    #[error("{0} is described in two ways")]
    Twice(String),
    /// There are too many.
    #[error("at most {ADDED_MAX} networks can be added")]
    TooMany,
}

/// The first added network of which this holds.
pub(super) fn find(holds: impl Fn(&Network) -> bool) -> Option<&'static Network> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    added.iter().copied().find(|network| holds(network))
}

pub(super) fn add(line: &str) -> Result<&'static Network, NetworkFault> {
    let parts = Parts::read(line)?;
    if super::NETWORKS.iter().any(|network| network.caip2 == parts.id) {
        return Err(NetworkFault::Known(parts.id.to_owned()));
    }
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(earlier) = added.iter().copied().find(|network| network.caip2 == parts.id) {
        let same = parts.describes(earlier);
        return if same { Ok(earlier) } else { Err(NetworkFault::Twice(parts.id.to_owned())) };
    }
    if added.len() >= ADDED_MAX {
        return Err(NetworkFault::TooMany);
    }
    let network = parts.keep();
    added.push(network);
    Ok(network)
}

/// A line, taken apart.
struct Parts<'a> {
    id: &'a str,
    chain_id: u64,
    asset: Address,
    name: &'a str,
    version: &'a str,
    mainnet: bool,
}

impl<'a> Parts<'a> {
    fn read(line: &'a str) -> Result<Self, NetworkFault> {
        let mut parts = line.split(';').map(str::trim);
        let id = parts.next().unwrap_or_default();
        let digits = id.strip_prefix("eip155:").unwrap_or_default();
        let chain_id = digits.parse::<u64>().ok().filter(|n| *n > 0 && n.to_string() == digits);
        let chain_id = chain_id.ok_or_else(|| NetworkFault::Id(id.to_owned()))?;
        let (mut asset, mut name, mut version, mut decimals) = (None, None, None, None);
        let mut mainnet = None;
        for part in parts {
            let odd = || NetworkFault::Part { id: id.to_owned(), part: part.to_owned() };
            let first = match part.split_once('=') {
                Some(("asset", value)) => asset.replace(value).is_none(),
                Some(("name", value)) => name.replace(value).is_none(),
                Some(("version", value)) => version.replace(value).is_none(),
                Some(("decimals", value)) => decimals.replace(value).is_none(),
                None if part == "testnet" => mainnet.replace(false).is_none(),
                None if part == "mainnet" => mainnet.replace(true).is_none(),
                Some(_) | None => false,
            };
            if !first {
                return Err(odd());
            }
        }
        let missing = |part| move || NetworkFault::Missing { id: id.to_owned(), part };
        let given = |value: Option<&'a str>, part| {
            value.filter(|value| !value.is_empty()).ok_or_else(missing(part))
        };
        let asset = Address::parse_checksummed(given(asset, "asset=0x…")?)
            .map_err(|source| NetworkFault::Asset { id: id.to_owned(), source })?;
        if given(decimals, "decimals=6")? != "6" {
            return Err(NetworkFault::Decimals(id.to_owned()));
        }
        let (name, version) = (given(name, "name=…")?, given(version, "version=…")?);
        let mainnet = mainnet.ok_or_else(missing("testnet or mainnet"))?;
        Ok(Self { id, chain_id, asset, name, version, mainnet })
    }

    fn describes(&self, network: &Network) -> bool {
        network.usdc == self.asset
            && network.domain_name == self.name
            && network.domain_version == self.version
            && network.mainnet == self.mainnet
    }

    /// The network, for the rest of the process's life.
    fn keep(&self) -> &'static Network {
        let kept = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let v1 = V1_NAMES.iter().find(|(chain_id, ..)| *chain_id == self.chain_id);
        Box::leak(Box::new(Network {
            caip2: kept(self.id),
            chain_id: self.chain_id,
            v1_name: v1.map(|(_, name, _)| *name),
            v1_known: v1.is_some_and(|(.., known)| *known),
            usdc: self.asset,
            domain_name: kept(self.name),
            domain_version: kept(self.version),
            mainnet: self.mainnet,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUJI: &str = "eip155:43113;asset=0x5425890298aed601595a70AB815c96711a31Bc65;\
                        name=USD Coin;version=2;decimals=6;testnet";

    fn without(part: &str) -> String {
        FUJI.split(';').filter(|other| *other != part).collect::<Vec<_>>().join(";")
    }

    #[test]
    fn a_line_makes_a_network_that_everybody_finds() {
        let fuji = add(FUJI).unwrap();
        assert_eq!((fuji.caip2, fuji.chain_id, fuji.mainnet), ("eip155:43113", 43_113, false));
        assert_eq!((fuji.domain_name, fuji.domain_version), ("USD Coin", "2"));
        assert_eq!(fuji.v1_offer_name(), Some("avalanche-fuji"));
        assert!(std::ptr::eq(Network::by_caip2("eip155:43113").unwrap(), fuji));
        assert!(std::ptr::eq(Network::by_v1_name("avalanche-fuji").unwrap(), fuji));
        // Read again it is the same one, and nothing is kept twice.
        let spaced = FUJI.replace(';', " ; ");
        assert!(std::ptr::eq(add(&spaced).unwrap(), fuji));
        let other = FUJI.replace("USD Coin", "USDC");
        assert_eq!(add(&other), Err(NetworkFault::Twice("eip155:43113".to_owned())));

        let plain = FUJI.replace("43113", "987654321").replace("testnet", "mainnet");
        let plain = add(&plain).unwrap();
        assert_eq!((plain.v1_name, plain.mainnet), (None, true));
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for part in FUJI.split(';').skip(1) {
            let fault = add(&without(part)).unwrap_err();
            assert!(matches!(fault, NetworkFault::Missing { .. }), "{part}: {fault}");
        }
        for (from, to, said) in [
            ("eip155:43113", "eip155:0", "CAIP-2"),
            ("eip155:43113", "eip155:043113", "CAIP-2"),
            ("eip155:43113", "avalanche-fuji", "CAIP-2"),
            ("eip155:43113", "eip155:8453", "known without"),
            ("a31Bc65", "a31bc65", "checksum"),
            ("a31Bc65", "a31Bc6", "40"),
            ("decimals=6", "decimals=18", "decimals must be 6"),
            ("decimals=6", "decimals=06", "decimals must be 6"),
            ("testnet", "testnet;mainnet", "`mainnet` is not understood"),
            ("testnet", "test", "`test` is not understood"),
            ("name=", "Name=", "is not understood"),
            ("name=USD Coin", "name=", "name=… is missing"),
            ("version=2", "version=2;version=3", "`version=3` is not understood"),
        ] {
            let fault = add(&FUJI.replace(from, to)).unwrap_err().to_string();
            assert!(fault.contains(said), "{to}: {fault}");
        }
    }

    #[test]
    fn no_derived_name_is_one_of_the_table() {
        for (chain_id, name, _) in V1_NAMES {
            let known = super::super::NETWORKS.iter();
            let same = |other: &&Network| other.chain_id == chain_id || other.v1_name == Some(name);
            assert_eq!(known.filter(same).count(), 0, "{name}");
        }
    }
}
