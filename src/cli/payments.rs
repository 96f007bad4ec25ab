//! Whom payments are brought to and where they are read, put together from the settings.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::config::{BaseUrl, Facilitator, ListedFacilitator, Node, Settings};
use crate::ground::{Clock, Entropy};
use crate::x402::chain::{ChainError, RpcChain, RpcSettings};
use crate::x402::facilitator::{
    Connector, FacilitatorError, FacilitatorSettings, Facilitators, Listing,
};

/// What is recorded with payments that the sandbox built in settles.
const SANDBOX: &str = "sandbox";

/// How long a start waits for a node.
const NODE_PATIENCE: Duration = Duration::from_secs(3);

/// How many nodes are asked at once.
const NODES_AT_ONCE: usize = 16;

/// The facilitators that are configured.
pub(super) fn open_facilitators(
    settings: &Settings,
    local_url: &BaseUrl,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Facilitators, FacilitatorError> {
    let payment = &settings.payment;
    let listings = match &payment.facilitator {
        // Its books are in this database, so it is the same one wherever it listens.
        Facilitator::Sandbox => vec![Listing {
            recorded: SANDBOX.to_owned(),
            url: local_url.join("/sandbox/facilitator"),
            network: None,
        }],
        Facilitator::Listed(listed) => listed
            .iter()
            .map(|ListedFacilitator { url, network }| Listing {
                recorded: url.to_string(),
                url: url.to_string(),
                network: *network,
            })
            .collect(),
    };
    let times = FacilitatorSettings {
        verify_timeout: payment.verify_timeout,
        settle_timeout: payment.settle_timeout,
        ..FacilitatorSettings::default()
    };
    let (clock, entropy) = (clock.clone(), entropy.clone());
    let connector = Connector { settings: times, cdp: payment.cdp_key.clone(), clock, entropy };
    Facilitators::open(&listings, connector)
}

/// A node, believed only when it is of its network.
pub(super) fn open_chain(node: &Node) -> Result<RpcChain, ChainError> {
    let chain = RpcChain::new(node.url.reveal(), RpcSettings::default())?;
    Ok(chain.of_chain(node.network.chain_id))
}

/// Refuses a node of another chain. One that does not answer is asked again before it is believed.
/// All are asked at once, so that a start waits for one patience and no longer.
pub(super) async fn check_nodes(settings: &Settings) -> Result<(), ChainError> {
    let asked = settings.payment.nodes.iter().map(check_node);
    stream::iter(asked).buffer_unordered(NODES_AT_ONCE).try_collect().await
}

async fn check_node(node: &Node) -> Result<(), ChainError> {
    let network = node.network.caip2;
    let chain = open_chain(node)?;
    match tokio::time::timeout(NODE_PATIENCE, chain.confirm()).await {
        Ok(Ok(())) => {}
        Ok(Err(error @ ChainError::WrongChain { .. })) => return Err(error),
        Ok(Err(error)) => tracing::warn!(network, %error, "node does not answer"),
        Err(_) => tracing::warn!(network, "node does not answer in time"),
    }
    Ok(())
}
