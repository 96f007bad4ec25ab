//! Who is asked: which facilitator a payment may go to, and from then on that one alone.

use serde_json::json;

use crate::ground::mint_uuid;
use crate::x402::classify::{SettleOutcome, VerifyOutcome};
use crate::x402::facilitator::{Facilitator, Route, payload_in};
use crate::x402::{Matched, Payment, Version};

use super::settle::Case;
use super::store::{self, Move};
use super::{Checked, Inner, PayError, TopupEvent, TopupState};

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

    /// Asks one after the other until one answers, and returns which one that was. Verifying moves
    /// nothing, so that asking the next one is safe.
    pub(super) async fn verify_in_turn(
        &self,
        payment: &Payment,
        matched: &Matched,
        routes: &[Route],
    ) -> (VerifyOutcome, usize) {
        let mut last = String::from("no facilitator is left");
        for (turn, route) in routes.iter().enumerate() {
            let (asked, paid) = (route.version(), payment.version);
            let requirements = matched.requirements_in(asked, paid);
            let payload = payload_in(asked, paid, &payment.payload, &requirements);
            let verified = route.facilitator().verify(asked.number(), &payload, &requirements);
            match verified.await {
                VerifyOutcome::Unavailable { detail } => {
                    tracing::warn!(host = route.host(), detail, "facilitator cannot be asked");
                    route.missed();
                    last = detail;
                }
                answer @ (VerifyOutcome::Valid { .. } | VerifyOutcome::Invalid { .. }) => {
                    return (answer, turn);
                }
            }
        }
        (VerifyOutcome::Unavailable { detail: last }, 0)
    }

    /// Commits that the payment is about to be sent for the first time, and to whom. False when
    /// somebody else was faster.
    pub(super) async fn begin_to_send(&self, case: &Case) -> Result<bool, PayError> {
        let (from, event) = (TopupState::Claimed, TopupEvent::Send);
        let Some(to) = from.after(event) else { return Ok(false) };
        let at = self.clock.now();
        let step = Move {
            id: case.id,
            account: case.account,
            from,
            to,
            attempt: 1,
            reason: None,
            settlement_tx: None,
            event_id: mint_uuid(self.entropy.as_ref(), at, case.id.slot()),
            detail: json!({
                "attempt": 1, "facilitator": self.facilitators.host_of_record(&case.facilitator_url),
                "x402_version": case.asked_version.number(),
            }),
            at,
        };
        Ok(store::begin_to_send(&self.pool, &step, case).await?)
    }

    /// Asks the facilitator that the payment belongs to, and no other, to settle it. What is sent is
    /// the same each time.
    pub(super) async fn ask_to_settle(&self, case: &Case, first_attempt: bool) -> SettleOutcome {
        let Some(facilitator) = self.facilitators.of_record(&case.facilitator_url) else {
            let detail = "no facilitator is on record".to_owned();
            return SettleOutcome::NotSent { detail };
        };
        let (asked, requirements) = (case.asked_version, &case.requirements);
        let payload = payload_in(asked, case.version, &case.payload, requirements);
        let expected = case.expected();
        let outcome = facilitator
            .settle(asked.number(), &payload, requirements, &expected, first_attempt)
            .await;
        if matches!(outcome, SettleOutcome::NotSent { .. }) {
            self.facilitators.note_silence(&case.facilitator_url);
        }
        outcome
    }
}
