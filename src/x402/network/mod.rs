//! Chains whose USDC can be paid with: a table, and what the operator adds to it.

mod added;
mod table;

use super::Address;
use super::eip712::Domain;

pub use added::NetworkFault;
use table::NETWORKS;

/// A chain whose USDC can be paid with, as buyers' clients know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Network {
    /// The CAIP-2 id, as version 2 of the protocol writes it.
    pub caip2: &'static str,
    /// The EIP-155 chain id.
    pub chain_id: u64,
    /// The name in version 1 of the protocol, if it has one.
    pub v1_name: Option<&'static str>,
    /// Whether the last clients of version 1 know that name. One unknown name in a challenge makes
    /// all of it unpayable for them.
    pub v1_known: bool,
    /// The USDC contract.
    pub usdc: Address,
    /// The name in that contract's EIP-712 domain.
    pub domain_name: &'static str,
    /// The version in that contract's EIP-712 domain.
    pub domain_version: &'static str,
    /// Whether its money is real.
    pub mainnet: bool,
}

impl Network {
    /// A network that a line of the configuration describes, like `eip155:43113;asset=0x…;name=USD
    /// Coin;version=2;decimals=6;testnet`. It is known from then on, under its id, to the whole
    /// process.
    pub fn add(line: &str) -> Result<&'static Self, NetworkFault> {
        added::add(line)
    }

    /// Every network in the table.
    pub fn all() -> &'static [Self] {
        &NETWORKS
    }

    /// The network with a CAIP-2 id.
    pub fn by_caip2(caip2: &str) -> Option<&'static Self> {
        let known = NETWORKS.iter().find(|network| network.caip2 == caip2);
        known.or_else(|| added::find(|network| network.caip2 == caip2))
    }

    /// The network with a name of version 1.
    pub fn by_v1_name(name: &str) -> Option<&'static Self> {
        let known = NETWORKS.iter().find(|network| network.v1_name == Some(name));
        known.or_else(|| added::find(|network| network.v1_name == Some(name)))
    }

    /// The name under which version 1 may offer it: one that its last clients know.
    pub fn v1_offer_name(&self) -> Option<&'static str> {
        self.v1_name.filter(|_| self.v1_known)
    }

    /// The EIP-712 domain of its USDC.
    pub fn domain(&self) -> Domain<'static> {
        Domain {
            name: self.domain_name,
            version: self.domain_version,
            chain_id: self.chain_id,
            verifying_contract: self.usdc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_names_and_chains_agree_and_are_unique() {
        let mut seen = HashSet::new();
        for network in Network::all() {
            assert_eq!(network.caip2, format!("eip155:{}", network.chain_id));
            assert_eq!(Network::by_caip2(network.caip2), Some(network));
            assert!(seen.insert(network.caip2));
            assert!(seen.insert(network.v1_name.unwrap_or_default()) || network.v1_name.is_none());
            assert!(network.v1_name.is_some() || !network.v1_known);
            if let Some(name) = network.v1_name {
                assert_eq!(Network::by_v1_name(name), Some(network));
            }
        }
        assert_eq!(Network::by_caip2("eip155:0"), None);
        assert_eq!(Network::by_v1_name("Base"), None);
    }

    #[test]
    fn no_address_in_the_table_is_mistyped() {
        let source = include_str!("table.rs");
        let literals: Vec<_> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("usdc: Address::literal(\""))
            .filter_map(|rest| rest.strip_suffix("\"),"))
            .collect();
        assert_eq!(literals.len(), NETWORKS.len());
        for (literal, network) in literals.into_iter().zip(&NETWORKS) {
            assert_eq!(network.usdc.to_string(), literal, "{}", network.caip2);
        }
    }
}
