use chrono::TimeDelta;
use serde_json::{Map, Value, json};

use super::wire::{
    EXACT, PaymentRequired, PaymentRequiredV1, Requirements, RequirementsV1, ResourceInfo,
};
use super::{Address, Network, extension};
use crate::ground::Amount;

const JSON: &str = "application/json";

/// What is asked for one purchase. A pure function of the request and the configuration, so that
/// the paid request meets the same terms without anything being stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The chains to choose from, the preferred one first: stock clients take the first they can.
    pub networks: Vec<&'static Network>,
    /// Who is paid.
    pub pay_to: Address,
    /// How much, the same on every chain.
    pub amount: Amount,
    /// The public URL of what is sold.
    pub resource_url: String,
    /// What it is, for people: at most 500 characters.
    pub description: String,
    /// How long a payment may take. Facilitators refuse what is much below 300.
    pub max_timeout_seconds: u64,
    /// Which authorizations are accepted, by their times.
    pub window: Window,
}

/// How far in the future an authorization must and may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// It must be good for longer than this, so that the settlement fits in.
    pub margin: TimeDelta,
    /// It may be good for at most this, because a settlement whose outcome is unknown cannot be
    /// given up earlier.
    pub horizon: TimeDelta,
}

impl Default for Window {
    fn default() -> Self {
        Self { margin: TimeDelta::seconds(15), horizon: TimeDelta::hours(24) }
    }
}

impl Terms {
    /// The document of a 402 in version 2, which travels in `PAYMENT-REQUIRED`.
    pub fn payment_required_v2(&self) -> PaymentRequired {
        PaymentRequired {
            x402_version: 2,
            error: Some("PAYMENT-SIGNATURE header is required".to_owned()),
            resource: ResourceInfo {
                url: self.resource_url.clone(),
                description: Some(self.description.clone()),
                mime_type: Some(JSON.to_owned()),
                ..ResourceInfo::default()
            },
            accepts: self.networks.iter().map(|network| self.requirements(network)).collect(),
            extensions: Some(extension::of_topup(self.amount)),
        }
    }

    /// The document of a 402 in version 1, which is the body. Only with chains that its last
    /// clients know, because an unknown one spoils the rest; `None` if that leaves nothing.
    pub fn v1_body(&self) -> Option<PaymentRequiredV1> {
        let known = self.networks.iter().filter(|network| network.v1_offer_name().is_some());
        let accepts: Vec<_> = known.filter_map(|network| self.requirements_v1(network)).collect();
        (!accepts.is_empty()).then(|| PaymentRequiredV1 {
            x402_version: 1,
            error: Some("X-PAYMENT header is required".to_owned()),
            accepts,
        })
    }

    /// The way to pay on a chain, in version 2.
    pub fn requirements(&self, network: &Network) -> Requirements {
        Requirements {
            scheme: EXACT.to_owned(),
            network: network.caip2.to_owned(),
            amount: self.amount.micros().to_string(),
            asset: network.usdc.to_string(),
            pay_to: self.pay_to.to_string(),
            max_timeout_seconds: self.max_timeout_seconds,
            extra: Some(domain_of(network)),
        }
    }

    /// The way to pay on a chain, in version 1; `None` if the chain has no name there.
    pub fn requirements_v1(&self, network: &Network) -> Option<RequirementsV1> {
        Some(RequirementsV1 {
            scheme: EXACT.to_owned(),
            network: network.v1_name?.to_owned(),
            max_amount_required: self.amount.micros().to_string(),
            resource: self.resource_url.clone(),
            description: self.description.clone(),
            mime_type: JSON.to_owned(),
            output_schema: Some(extension::output_schema_v1(self.amount)),
            pay_to: self.pay_to.to_string(),
            max_timeout_seconds: self.max_timeout_seconds,
            asset: network.usdc.to_string(),
            extra: Some(domain_of(network)),
        })
    }
}

fn domain_of(network: &Network) -> Map<String, Value> {
    Map::from_iter([
        ("name".to_owned(), json!(network.domain_name)),
        ("version".to_owned(), json!(network.domain_version)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x402::header;
    use crate::x402::vectors::{VECTORS, terms};
    use std::collections::HashSet;

    #[test]
    fn version_2_is_what_the_official_server_sends_and_the_bazaar() {
        let ours = serde_json::to_value(terms().payment_required_v2()).unwrap();
        let mut known = VECTORS["payment_required_v2"]["decoded"].clone();
        known["extensions"]["bazaar"] = ours["extensions"]["bazaar"].clone();
        assert_eq!(ours, known);
        let example = &ours["extensions"]["bazaar"]["info"]["input"]["body"];
        assert_eq!(*example, json!({"amount": "1.00"}));
    }

    #[test]
    fn version_1_is_what_its_last_clients_take() {
        let ours = serde_json::to_value(terms().v1_body().unwrap()).unwrap();
        let mut known = VECTORS["payment_required_v1"].clone();
        known["accepts"][0]["outputSchema"] = ours["accepts"][0]["outputSchema"].clone();
        assert_eq!(ours, known);
        assert!(ours["accepts"][0]["outputSchema"]["input"]["bodyFields"]["amount"].is_object());
    }

    #[test]
    fn version_1_offers_only_the_chains_that_its_last_clients_know() {
        let all = Terms { networks: Network::all().iter().collect(), ..terms() };
        let body = all.v1_body().unwrap();
        let names: Vec<_> = body.accepts.iter().map(|terms| terms.network.as_str()).collect();
        let known = ["base", "base-sepolia", "polygon", "avalanche", "sei", "sei-testnet"];
        assert_eq!(names, known);
        let celo = Network::by_v1_name("celo").unwrap();
        assert_eq!(Terms { networks: vec![celo], ..terms() }.v1_body(), None);
    }

    #[test]
    fn every_chain_has_exactly_one_amount() {
        let all = Terms { networks: Network::all().iter().collect(), ..terms() };
        let document = all.payment_required_v2();
        let chains: HashSet<_> = document.accepts.iter().map(|terms| &terms.network).collect();
        assert_eq!(chains.len(), document.accepts.len());
        assert!(document.accepts.iter().all(|terms| terms.amount == "1000000"));
        assert_eq!(all.payment_required_v2(), document);
    }

    #[test]
    fn the_header_fits_through_small_proxies() {
        let names = ["eip155:8453", "eip155:137", "eip155:42161"];
        let networks = names.map(|name| Network::by_caip2(name).unwrap()).to_vec();
        let amount = "999999999999.999999".parse().unwrap();
        let resource_url = "https://credits.shop.example.com/api/v1/credits/topup".to_owned();
        let description = "Buy prepaid credits that checkouts in this shop spend.".to_owned();
        let large = Terms { networks, amount, resource_url, description, ..terms() };
        let header = header::encode(&large.payment_required_v2());
        assert!(header.len() < 4096, "{} characters", header.len());
        let read: PaymentRequired = header::decode(&header).unwrap();
        assert_eq!(read, large.payment_required_v2());
    }

    #[test]
    fn no_document_contains_null() {
        for document in [
            serde_json::to_string(&terms().payment_required_v2()).unwrap(),
            serde_json::to_string(&terms().v1_body().unwrap()).unwrap(),
        ] {
            assert!(!document.contains("null"), "{document}");
        }
    }
}
