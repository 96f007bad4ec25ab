use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;

use super::{Connector, Facilitator, HttpFacilitator, Reach, Supported};
use crate::x402::{Network, Version};

/// How long what a facilitator supports is believed.
const REFRESH_S: i64 = 300;
/// When it is asked again after it gave no answer; twice as long each time, up to the above.
const RETRY_S: i64 = 5;

/// One facilitator, and what is known of it.
pub(super) struct Peer {
    pub(super) recorded: String,
    pub(super) host: String,
    pub(super) facilitator: Arc<HttpFacilitator>,
    known: Mutex<Known>,
    /// Held while it is asked, so that it is asked once at a time.
    asking: tokio::sync::Mutex<()>,
}

/// What is known of a facilitator.
#[derive(Default)]
struct Known {
    /// The last list of kinds that it gave; a list that it never gave may hold anything.
    supported: Option<Supported>,
    /// Whether it answered the last time; `None` before the first.
    answers: Option<bool>,
    failures: u32,
    /// When it is to be asked again.
    next_at: DateTime<Utc>,
}

impl Peer {
    pub(super) fn new(recorded: &str, url: &str, facilitator: HttpFacilitator) -> Self {
        Self {
            recorded: recorded.to_owned(),
            host: host_of(url),
            facilitator: Arc::new(facilitator),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what it supports, unless somebody has.
    pub(super) async fn know(&self, connector: &Connector) {
        if self.known().answers.is_none() {
            self.ask_unless(connector, |known| known.answers.is_some()).await;
        }
    }

    /// Asks again, if it is time.
    pub(super) async fn ask_if_due(&self, connector: &Connector, now: DateTime<Utc>) {
        if self.known().next_at <= now {
            self.ask_unless(connector, |known| known.next_at > now).await;
        }
    }

    /// In which version a payment may be brought to it, if at all, and whether it answers.
    pub(super) fn offer(&self, network: &Network, paid: Version) -> Option<(Version, bool)> {
        let known = self.known();
        let version = known.speaks(network, paid)?;
        Some((version, known.answers == Some(true)))
    }

    /// Notes that it gave no answer. The background asks it at its next look.
    pub(super) fn note_silence(&self) {
        let mut known = self.known();
        (known.answers, known.next_at) = (Some(false), DateTime::UNIX_EPOCH);
    }

    /// Asks, unless whoever was asking meanwhile has learnt what is wanted.
    async fn ask_unless(&self, connector: &Connector, enough: impl Fn(&Known) -> bool) {
        let _asking = self.asking.lock().await;
        if enough(&self.known()) {
            return;
        }
        let answer = self.facilitator.supported().await;
        let (now, dice) = (connector.clock.now(), connector.entropy.array());
        let mut known = self.known();
        let before = known.answers;
        match answer {
            Ok(supported) => {
                known.supported = Some(supported);
                known.heard(now, dice);
                if before != Some(true) {
                    tracing::info!(host = self.host, "facilitator answers");
                }
            }
            Err(error) => {
                known.missed(now, dice);
                if before != Some(false) {
                    tracing::warn!(host = self.host, %error, "facilitator does not answer");
                }
            }
        }
    }

    pub(super) fn reach(&self, networks: &[&'static Network]) -> Reach {
        let known = self.known();
        let serves = networks.iter().any(|network| known.speaks(network, Version::V2).is_some());
        match known.answers {
            None => Reach::Unknown,
            Some(_) if !serves => Reach::Unsupported,
            Some(true) => Reach::Ok,
            Some(false) => Reach::Unreachable,
        }
    }
}

impl Known {
    /// In which version a payment on a network can be brought to it: in its own if possible. What is
    /// not known may be so.
    fn speaks(&self, network: &Network, paid: Version) -> Option<Version> {
        let Some(supported) = &self.supported else { return Some(paid) };
        let other = match paid {
            Version::V1 => Version::V2,
            Version::V2 => Version::V1,
        };
        let served = |version: &Version| {
            let name = match version {
                Version::V1 => network.v1_name,
                Version::V2 => Some(network.caip2),
            };
            name.is_some_and(|name| supported.supports(version.number(), name))
        };
        [paid, other].into_iter().find(served)
    }

    fn heard(&mut self, now: DateTime<Utc>, dice: [u8; 2]) {
        (self.answers, self.failures) = (Some(true), 0);
        self.next_at = later(now, REFRESH_S, dice);
    }

    fn missed(&mut self, now: DateTime<Utc>, dice: [u8; 2]) {
        let pause = RETRY_S.saturating_mul(1 << self.failures.min(10)).min(REFRESH_S);
        self.answers = Some(false);
        self.failures = self.failures.saturating_add(1);
        self.next_at = later(now, pause, dice);
    }
}

/// A time that is more or less so far away: between four fifths and six fifths of it, so that
/// replicas that were started together do not ask together for ever.
fn later(now: DateTime<Utc>, seconds: i64, dice: [u8; 2]) -> DateTime<Utc> {
    let share = i64::from(u16::from_be_bytes(dice)); // of 65536
    let pause =
        seconds.saturating_mul(800).saturating_add(seconds.saturating_mul(share) * 400 / 65_536);
    now.checked_add_signed(TimeDelta::milliseconds(pause)).unwrap_or(now)
}

/// The host of a URL, with its port if it names one; nothing of the rest.
pub(super) fn host_of(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(kinds: &[(u64, &str)]) -> Known {
        let kind = |(version, network): &(u64, &str)| super::super::Kind {
            version: *version,
            scheme: "exact".to_owned(),
            network: (*network).to_owned(),
        };
        let supported = Supported { kinds: kinds.iter().map(kind).collect() };
        Known { supported: Some(supported), answers: Some(true), ..Known::default() }
    }

    #[test]
    fn a_payment_is_brought_in_its_own_version_if_that_is_served() {
        let base = Network::by_caip2("eip155:8453").unwrap();
        let arbitrum = Network::by_caip2("eip155:42161").unwrap();
        let (v1, v2) = (Some(Version::V1), Some(Version::V2));
        let both = known(&[(1, "base"), (2, "eip155:8453")]);
        assert_eq!([both.speaks(base, Version::V1), both.speaks(base, Version::V2)], [v1, v2]);
        let first = known(&[(1, "base"), (1, "eip155:42161")]);
        assert_eq!([first.speaks(base, Version::V1), first.speaks(base, Version::V2)], [v1, v1]);
        // Version 1 has no name for it.
        assert_eq!(first.speaks(arbitrum, Version::V2), None);
        let second = known(&[(2, "eip155:8453")]);
        assert_eq!([second.speaks(base, Version::V1), second.speaks(base, Version::V2)], [v2, v2]);
        assert_eq!(second.speaks(arbitrum, Version::V2), None);
        assert_eq!(Known::default().speaks(arbitrum, Version::V2), v2, "who knows");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_not_all_alike() {
        let now = DateTime::UNIX_EPOCH;
        let mut known = Known::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            known.missed(now, [128, 0]);
            pauses.push((known.next_at - now).num_seconds());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        known.heard(now, [0, 0]);
        assert_eq!((known.failures, (known.next_at - now).num_seconds()), (0, 240));
        known.heard(now, [255, 255]);
        assert_eq!((known.next_at - now).num_seconds(), 359);
    }
}
