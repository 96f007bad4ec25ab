//! Settings of payments: networks, facilitators, nodes and Coinbase's key.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::ground::Mode;
use crate::x402::facilitator::CdpKey;
use crate::x402::facilitator::cdp::CDP_HOST;
use crate::x402::{Address, Network};

use crate::config::reader::Reader;
use crate::config::secret::Secret;
use crate::config::settings::{Facilitator, ListedFacilitator, Node, PaymentSettings};
use crate::config::url::{BaseUrl, web as web_url};
use crate::config::values::yes_or_no;
use crate::config::variables::{
    CDP_API_KEY_ID, CDP_API_KEY_SECRET, FACILITATOR_URL, NETWORKS, PAY_TO, RPC_URL,
    SETTLE_TIMEOUT_S, TRUST_FACILITATOR, VERIFY_TIMEOUT_S,
};

/// More ways to pay than Coinbase's facilitator takes in one offer.
const NETWORKS_MAX: usize = 16;

/// How payments are asked for and settled.
pub(super) fn read(reader: &mut Reader<'_>) -> PaymentSettings {
    let mode = reader.mode();
    let networks = reader.value(&NETWORKS, |text| networks(text, mode));
    // Where it is not known what is offered, nothing is blamed for not fitting it.
    let offered = (!reader.has_problem(&NETWORKS)).then_some(networks.as_slice());
    let listed = reader.optional(&FACILITATOR_URL, |text| facilitators(text, offered));
    let nodes = reader.optional(&RPC_URL, |text| nodes(text, offered));
    let cdp_key = cdp_key(reader);
    let settings = PaymentSettings {
        pay_to: reader.value(&PAY_TO, pay_to),
        networks,
        facilitator: listed.map_or(Facilitator::Sandbox, Facilitator::Listed),
        trust_facilitator: reader.value(&TRUST_FACILITATOR, yes_or_no),
        cdp_key,
        nodes: nodes.unwrap_or_default(),
        settle_timeout: Duration::from_secs(reader.number(&SETTLE_TIMEOUT_S, 1..=600)),
        verify_timeout: Duration::from_secs(reader.number(&VERIFY_TIMEOUT_S, 1..=120)),
    };
    check_cdp(reader, &settings);
    settings
}

/// Reads the address that receives the money; what is sent to the zero address is lost.
pub(super) fn pay_to(text: &str) -> Result<Address, String> {
    let address = Address::parse_checksummed(text).map_err(|error| error.to_string())?;
    if address.as_bytes() == &[0; 20] {
        return Err("nobody holds the key of the zero address".to_owned());
    }
    Ok(address)
}

/// Reads networks that suit the mode: no test money in live mode, no real money in test mode. One
/// that is not known by its id is described in its entry.
fn networks(text: &str, mode: Option<Mode>) -> Result<Vec<&'static Network>, String> {
    let mut networks = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let network = if entry.contains(';') {
            Network::add(entry).map_err(|fault| fault.to_string())?
        } else {
            let unknown = || format!("`{entry}` is not a known network");
            Network::by_caip2(entry).ok_or_else(unknown)?
        };
        let id = network.caip2;
        match mode {
            Some(Mode::Test) if network.mainnet => {
                return Err(format!("{id} is a mainnet, and this is test mode"));
            }
            Some(Mode::Live) if !network.mainnet => {
                return Err(format!("{id} is a testnet, and this is live mode"));
            }
            Some(Mode::Test | Mode::Live) | None => {}
        }
        if networks.contains(&network) {
            return Err(format!("{id} is named twice"));
        }
        networks.push(network);
    }
    if networks.len() > NETWORKS_MAX {
        return Err(format!("there are more than {NETWORKS_MAX} networks"));
    }
    Ok(networks)
}

/// Reads facilitators: URLs, each perhaps behind the one network that it is meant for. Every network
/// that is offered must have one.
fn facilitators(
    text: &str,
    offered: Option<&[&'static Network]>,
) -> Result<Vec<ListedFacilitator>, String> {
    let mut listed = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let (network, url) = keyed(entry, offered)?;
        let url: BaseUrl = url.parse().map_err(|error| format!("{error}"))?;
        let facilitator = ListedFacilitator { url, network };
        if listed.contains(&facilitator) {
            return Err("a facilitator is there twice".to_owned());
        }
        listed.push(facilitator);
    }
    for network in offered.unwrap_or_default() {
        let served = |facilitator: &ListedFacilitator| {
            facilitator.network.is_none_or(|only| only == *network)
        };
        if !listed.iter().any(served) {
            return Err(format!("{} has no facilitator", network.caip2));
        }
    }
    Ok(listed)
}

/// Reads nodes: one URL where one network is offered, else each behind its network. A network that
/// is not offered may have one too, for payments that are open from before. No URL is repeated in
/// an error, since it may carry a key.
fn nodes(text: &str, offered: Option<&[&'static Network]>) -> Result<Vec<Node>, String> {
    if !text.starts_with("eip155:") {
        let url = web_url(text).map_err(|error| error.to_string())?;
        return match offered {
            None => Ok(Vec::new()),
            Some([network]) => Ok(vec![Node { network, url: Secret::new(url) }]),
            Some(_) => Err("with several networks, each node needs the id of its own".to_owned()),
        };
    }
    let mut nodes: Vec<Node> = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let (id, url) = entry.split_once('=').ok_or("an entry has no `=` behind a network's id")?;
        let network = Network::by_caip2(id).ok_or("an entry begins with no known network's id")?;
        let url = web_url(url).map_err(|error| format!("{id}: {error}"))?;
        if nodes.iter().any(|node| node.network == network) {
            return Err(format!("{id} is named twice"));
        }
        nodes.push(Node { network, url: Secret::new(url) });
    }
    Ok(nodes)
}

/// An entry of the form `id=rest`, where the id is of a network that is offered, or only `rest`.
fn keyed<'a>(
    entry: &'a str,
    offered: Option<&[&'static Network]>,
) -> Result<(Option<&'static Network>, &'a str), String> {
    let Some((id, url)) = entry.split_once('=').filter(|(id, _)| id.starts_with("eip155:")) else {
        return Ok((None, entry));
    };
    let network = Network::by_caip2(id).ok_or_else(|| format!("{id} is not known"))?;
    match offered {
        Some(offered) if !offered.contains(&network) => {
            Err(format!("{id} is not in BURSAR_NETWORKS"))
        }
        Some(_) | None => Ok((Some(network), url)),
    }
}

/// Both parts of the key, or none.
fn cdp_key(reader: &mut Reader<'_>) -> Option<CdpKey> {
    let visible = |text: &str| {
        let good = text.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(text.to_owned()) } else { Err("it is not the id of a key") }
    };
    let id = reader.optional(&CDP_API_KEY_ID, visible);
    let secret = |text: &str| CdpKey::check_secret(text).map(|()| text.to_owned());
    let secret = reader.optional(&CDP_API_KEY_SECRET, secret);
    match (id, secret) {
        (Some(id), Some(secret)) => CdpKey::new(&id, &secret).ok(),
        (None, None) => None,
        (None, Some(_)) => {
            reader.refuse(&CDP_API_KEY_ID, "BURSAR_CDP_API_KEY_SECRET needs it beside itself");
            None
        }
        (Some(_), None) => {
            reader.refuse(&CDP_API_KEY_SECRET, "BURSAR_CDP_API_KEY_ID needs it beside itself");
            None
        }
    }
}

/// Coinbase's facilitator answers nobody without a token, and a token is not for the open wire.
fn check_cdp(reader: &mut Reader<'_>, settings: &PaymentSettings) {
    let Facilitator::Listed(listed) = &settings.facilitator else { return };
    let theirs = |facilitator: &&ListedFacilitator| facilitator.url.host() == CDP_HOST;
    let Some(facilitator) = listed.iter().find(theirs) else { return };
    if !facilitator.url.is_https() {
        reader.refuse(&FACILITATOR_URL, format!("{CDP_HOST} is asked over https only"));
    }
    if settings.cdp_key.is_none() && !reader.has_problem(&CDP_API_KEY_SECRET) {
        reader.refuse(&CDP_API_KEY_ID, format!("{CDP_HOST} answers nobody without a key"));
    }
}
