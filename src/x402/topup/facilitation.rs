//! Who is asked: which facilitator a payment may go to, and from then on that one alone.

use serde_json::json;

use crate::x402::classify::{SettleOutcome, VerifyOutcome};
use crate::x402::facilitator::{Facilitator, Route, payload_in};
use crate::x402::{Heard, Matched, Payment, Version};

use super::case::Case;
use super::step::Note;
use super::{Checked, Inner, PayError};

/// What came of asking whether a payment could be settled.
pub(super) struct Verified {
    /// What the last one said that was asked.
    pub(super) outcome: VerifyOutcome,
    /// Which of the routes that was.
    pub(super) asked: usize,
    /// What each of them said.
    pub(super) notes: Vec<Note>,
}

impl Matched {
    /// Our terms in the version in which a facilitator is asked.
    fn requirements_in(&self, asked: Version, paid: Version) -> serde_json::Value {
        let other = self.in_other_version.as_ref().filter(|_| asked != paid);
        other.unwrap_or(&self.requirements).clone()
    }
}

impl Case {
    /// Sends it that way, once it is sent.
    pub(super) fn go_by(&mut self, route: &Route, checked: &Checked) {
        route.recorded().clone_into(&mut self.facilitator_url);
        self.asked_version = route.version();
        self.requirements = checked.matched.requirements_in(route.version(), self.version);
    }
}

impl Inner {
    /// Where an unseen payment may go.
    pub(super) async fn routes_of(&self, payment: &Payment) -> Result<Vec<Route>, PayError> {
        let routes = self.facilitators.routes(payment.network, payment.version).await;
        if routes.is_empty() {
            let detail = format!("no facilitator serves {}", payment.network.caip2);
            return Err(PayError::FacilitatorUnavailable { detail });
        }
        Ok(routes)
    }

    /// Asks one after the other until one answers. Verifying moves nothing, so that asking the next
    /// one is safe.
    pub(super) async fn verify_in_turn(
        &self,
        payment: &Payment,
        matched: &Matched,
        routes: &[Route],
    ) -> Verified {
        let mut last = String::from("no facilitator is left");
        let mut notes = Vec::new();
        for (asked, route) in routes.iter().enumerate() {
            let (version, paid) = (route.version(), payment.version);
            let requirements = matched.requirements_in(version, paid);
            let payload = payload_in(version, paid, &payment.payload, &requirements);
            let verify = route.facilitator().verify(version.number(), &payload, &requirements);
            let Heard { outcome, kept } = verify.await;
            let detail = json!({ "facilitator": route.host(), "answer": kept });
            notes.push(self.note("verify", detail));
            match outcome {
                VerifyOutcome::Unavailable { detail } => {
                    tracing::warn!(host = route.host(), detail, "facilitator cannot be asked");
                    route.missed();
                    last = detail;
                }
                VerifyOutcome::Valid { .. } | VerifyOutcome::Invalid { .. } => {
                    return Verified { outcome, asked, notes };
                }
            }
        }
        Verified { outcome: VerifyOutcome::Unavailable { detail: last }, asked: 0, notes }
    }

    /// Asks the facilitator that the payment belongs to, and no other, to settle it. What is sent is
    /// the same each time.
    pub(super) async fn ask_to_settle(&self, case: &Case, first: bool) -> Heard<SettleOutcome> {
        let Some(facilitator) = self.facilitators.of_record(&case.facilitator_url) else {
            let detail = "no facilitator is on record".to_owned();
            return Heard::nothing(SettleOutcome::NotSent { detail: detail.clone() }, &detail);
        };
        let (asked, requirements) = (case.asked_version, &case.requirements);
        let payload = payload_in(asked, case.version, &case.payload, requirements);
        let expected = case.expected();
        let heard =
            facilitator.settle(asked.number(), &payload, requirements, &expected, first).await;
        if matches!(heard.outcome, SettleOutcome::NotSent { .. }) {
            self.facilitators.note_silence(&case.facilitator_url);
        }
        heard
    }
}
