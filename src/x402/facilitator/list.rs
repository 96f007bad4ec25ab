use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use super::peer::{Peer, host_of};
use super::{Connector, FacilitatorError, HttpFacilitator};
use crate::x402::{Network, Version};

/// The facilitators that are configured, in order of preference, and what they are known to support.
#[derive(Clone)]
pub struct Facilitators(Arc<Inner>);

struct Inner {
    connector: Connector,
    listed: Vec<Listed>,
    /// Those of open top-ups that are not listed any more, by what is on record.
    departed: Mutex<BTreeMap<String, Arc<HttpFacilitator>>>,
}

/// One entry of the configuration.
#[derive(Clone, Debug)]
pub struct Listing {
    /// What is recorded with each payment that goes to it. It leads back to it, whatever the
    /// configuration says by then.
    pub recorded: String,
    /// Where it is.
    pub url: String,
    /// The only network that it is meant for, if it is meant for one.
    pub network: Option<&'static Network>,
}

struct Listed {
    peer: Arc<Peer>,
    network: Option<&'static Network>,
}

/// Where a payment may go, and in which version of the protocol.
#[derive(Clone)]
pub struct Route {
    version: Version,
    peer: Arc<Peer>,
}

/// What can be said of a facilitator, or of all that serve a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Payments can be settled.
    Ok,
    /// Nobody has asked yet.
    Unknown,
    /// It did not answer the last time.
    Unreachable,
    /// It answers, and does not serve what is offered.
    Unsupported,
}

/// How the facilitators stand, as far as is known without asking.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Each network that is offered, by its CAIP-2 id.
    pub networks: Vec<(&'static str, Reach)>,
    /// Each facilitator by its host; the rest of its address may carry a key.
    pub facilitators: Vec<(String, Reach)>,
}

impl Facilitators {
    /// The facilitators of the configuration, the preferred one first.
    pub fn open(listings: &[Listing], connector: Connector) -> Result<Self, FacilitatorError> {
        let mut listed: Vec<Listed> = Vec::new();
        for Listing { recorded, url, network } in listings {
            let same = listed.iter().find(|other| other.peer.recorded == *recorded);
            let peer = match same {
                Some(other) => other.peer.clone(),
                None => Arc::new(Peer::new(recorded, url, connector.open(url)?)),
            };
            listed.push(Listed { peer, network: *network });
        }
        Ok(Self(Arc::new(Inner { connector, listed, departed: Mutex::default() })))
    }

    /// Where a payment that was sent nowhere yet may go, the first choice first: by preference, and
    /// those that do not answer after those that do. Empty when none serves the network.
    pub async fn routes(&self, network: &Network, paid: Version) -> Vec<Route> {
        let peers = self.peers_for(network);
        join_all(peers.iter().map(|peer| peer.know(&self.0.connector))).await;
        let routes = peers.into_iter().filter_map(|peer| {
            let (version, answers) = peer.offer(network, paid)?;
            Some((!answers, Route { version, peer }))
        });
        let mut routes: Vec<_> = routes.collect();
        routes.sort_by_key(|(away, _)| *away);
        routes.into_iter().map(|(_, route)| route).collect()
    }

    /// The facilitator of a payment that was sent, by what was recorded then. One that has left the
    /// configuration is still asked for its own payments.
    pub fn of_record(&self, recorded: &str) -> Option<Arc<HttpFacilitator>> {
        let listed = self.0.listed.iter().find(|listed| listed.peer.recorded == recorded);
        if let Some(listed) = listed {
            return Some(listed.peer.facilitator.clone());
        }
        let mut departed = self.0.departed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facilitator) = departed.get(recorded) {
            return Some(facilitator.clone());
        }
        let facilitator = Arc::new(self.0.connector.open(recorded).ok()?);
        tracing::info!(host = host_of(recorded), "asking a facilitator that is not configured");
        departed.insert(recorded.to_owned(), facilitator.clone());
        Some(facilitator)
    }

    /// Notes that a facilitator gave no answer: until it is heard of again, others come first.
    pub fn note_silence(&self, recorded: &str) {
        let mut listed = self.0.listed.iter().map(|listed| &listed.peer);
        if let Some(peer) = listed.find(|peer| peer.recorded == recorded) {
            peer.note_silence();
        }
    }

    /// The host of a facilitator, for people. The rest of its address may carry a key.
    pub fn host_of_record(&self, recorded: &str) -> String {
        let mut listed = self.0.listed.iter().map(|listed| &listed.peer);
        let known = listed.find(|peer| peer.recorded == recorded);
        known.map_or_else(|| host_of(recorded), |peer| peer.host.clone())
    }

    /// Asks again whoever is due for it. To be repeated in the background.
    pub async fn refresh(&self) {
        let now = self.0.connector.clock.now();
        join_all(self.peers().iter().map(|peer| peer.ask_if_due(&self.0.connector, now))).await;
    }

    /// Asks whoever was never asked.
    pub async fn know_all(&self) {
        join_all(self.peers().iter().map(|peer| peer.know(&self.0.connector))).await;
    }

    /// How they stand, without asking anybody.
    pub fn standing(&self, networks: &[&'static Network]) -> Standing {
        let reach = |network: &&'static Network| {
            let reaches = self.peers_for(network).into_iter().map(|peer| peer.reach(&[network]));
            (network.caip2, reaches.min().unwrap_or(Reach::Unsupported))
        };
        let facilitators = self.peers().into_iter().map(|peer| {
            let its = |network: &&&'static Network| {
                self.peers_for(network).iter().any(|other| Arc::ptr_eq(other, &peer))
            };
            let its: Vec<_> = networks.iter().filter(its).copied().collect();
            (peer.host.clone(), peer.reach(&its))
        });
        Standing {
            networks: networks.iter().map(reach).collect(),
            facilitators: facilitators.collect(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.peers().len()
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        distinct(self.0.listed.iter())
    }

    fn peers_for(&self, network: &Network) -> Vec<Arc<Peer>> {
        let fits = |listed: &&Listed| listed.network.is_none_or(|only| only == network);
        distinct(self.0.listed.iter().filter(fits))
    }
}

/// Each peer once, at its first place.
fn distinct<'a>(listed: impl Iterator<Item = &'a Listed>) -> Vec<Arc<Peer>> {
    let mut peers: Vec<Arc<Peer>> = Vec::new();
    for Listed { peer, .. } in listed {
        if !peers.iter().any(|other| Arc::ptr_eq(other, peer)) {
            peers.push(peer.clone());
        }
    }
    peers
}

impl Route {
    /// What is recorded with a payment that goes there.
    pub fn recorded(&self) -> &str {
        &self.peer.recorded
    }

    /// Its host, for people.
    pub fn host(&self) -> &str {
        &self.peer.host
    }

    /// The version in which it is asked.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The facilitator.
    pub fn facilitator(&self) -> &HttpFacilitator {
        &self.peer.facilitator
    }

    /// Notes that it gave no answer: until it is heard of again, others come first.
    pub fn missed(&self) {
        self.peer.note_silence();
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:?}", self.peer.host, self.version)
    }
}
