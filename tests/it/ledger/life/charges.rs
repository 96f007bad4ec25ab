//! Charges after their capture: reversals, disputes, decisions and finality.

use bursar::checkout::{ChargeState, DisputeView};

use super::op::recent;
use super::{Charged, Disputed, Life};
use crate::ledger::model::{Time, amount};
use crate::ledger::scene::{self, Call};

/// How often a charge can be disputed.
const DISPUTES_MAX: usize = 5;

impl Charged {
    /// What is under dispute.
    fn disputed(&self) -> Option<i64> {
        self.disputes.iter().find(|dispute| dispute.open).map(|dispute| dispute.amount)
    }

    /// Why neither a reversal nor another dispute is possible any more, of whatever amount.
    fn over(&self, left: i64, now: Time) -> Option<&'static str> {
        if now >= self.final_at {
            Some("charge_final")
        } else {
            (left == 0).then_some("already_reversed")
        }
    }
}

impl Life {
    fn left(&self, n: usize) -> i64 {
        i64::try_from(self.model.captures[self.charged[n].capture].units.len()).unwrap()
    }

    /// What is under dispute goes back by the decision alone.
    pub(super) async fn reverse(&mut self, pick: usize, micros: Option<i64>) {
        let Some(n) = recent(pick, self.charged.len()) else { return };
        let request = scene::reversal(micros.map(amount));
        let outcome = self.send(Call::Reverse(self.charged[n].id, request)).await;
        let (charge, left) = (&self.charged[n], self.left(n));
        let asked = micros.unwrap_or(left);
        let refusal = if let Some(over) = charge.over(left, self.model.now) {
            Some(over)
        } else if asked > left {
            Some("reversal_exceeds_charge")
        } else {
            (asked > left - charge.disputed().unwrap_or(0)).then_some("charge_disputed")
        };
        if Self::is(&outcome, refusal) {
            self.model.reverse(charge.capture, asked);
        }
    }

    pub(super) async fn dispute(&mut self, pick: usize, micros: Option<i64>) {
        let Some(n) = recent(pick, self.charged.len()) else { return };
        let request = scene::dispute(self.keys[0], micros.map(amount));
        let outcome = self.send(Call::Dispute(self.charged[n].id, request)).await;
        let (charge, left) = (&self.charged[n], self.left(n));
        let asked = micros.unwrap_or(left);
        let refusal = if charge.disputed().is_some() {
            Some("charge_disputed")
        } else if let Some(over) = charge.over(left, self.model.now) {
            Some(over)
        } else if charge.disputes.len() == DISPUTES_MAX {
            Some("too_many_disputes")
        } else {
            (asked > left).then_some("reversal_exceeds_charge")
        };
        if Self::is(&outcome, refusal) {
            let DisputeView { dispute_id: id, amount, decide_by, .. } = scene::body(&outcome);
            assert_eq!(amount.micros(), asked);
            assert!(decide_by > self.model.now, "there is time to decide it");
            let disputed = Disputed { id, amount: asked, decide_by, open: true };
            self.charged[n].disputes.push(disputed);
        }
    }

    pub(super) async fn decide(&mut self, pick: usize, upheld: bool) {
        let all = self.charged.iter().enumerate();
        let all = all.flat_map(|(n, of)| (0..of.disputes.len()).map(move |dispute| (n, dispute)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(n, dispute)| self.charged[*n].disputes[*dispute].id);
        let Some((n, dispute)) = recent(pick, all.len()).map(|at| all[at]) else { return };
        let id = self.charged[n].disputes[dispute].id;
        let outcome = self.send(Call::Decide(id, scene::decision(upheld))).await;
        let charge = &mut self.charged[n];
        let of = &mut charge.disputes[dispute];
        let refusal = if !of.open {
            Some("dispute_decided")
        } else {
            (self.model.now >= of.decide_by).then_some("dispute_deadline_passed")
        };
        if Self::is(&outcome, refusal) {
            of.open = false;
            if upheld {
                self.model.reverse(charge.capture, of.amount);
            }
        }
    }

    /// What nobody has decided in time is upheld, in the order of the deadlines.
    pub(super) fn disputes_due(&mut self) -> usize {
        let now = self.model.now;
        let mut due = Vec::new();
        for charge in &mut self.charged {
            let capture = charge.capture;
            let open = charge.disputes.iter_mut().filter(|of| of.open && of.decide_by <= now);
            due.extend(open.map(|of| (capture, of)));
        }
        due.sort_by_key(|(_, of)| of.decide_by);
        let count = due.len();
        for (capture, of) in due {
            self.model.reverse(capture, of.amount);
            of.open = false;
        }
        count
    }

    /// The latest charges are told to stand where the model has them.
    pub(super) async fn charges_agree(&self) {
        let told = self.replica.checkouts.charges(self.account, None, 100).await.unwrap();
        assert_eq!(told.len(), self.charged.len().min(100));
        for view in told {
            let n = self.charged.iter().position(|of| of.id == view.charge_id).unwrap();
            let (charge, left) = (&self.charged[n], self.left(n));
            let state = if charge.disputed().is_some() {
                ChargeState::Disputed
            } else if left == 0 {
                ChargeState::Reversed
            } else if self.model.now >= charge.final_at {
                ChargeState::Final
            } else {
                ChargeState::Open
            };
            let given_back = view.amount.micros() - left;
            let stands = (view.status, view.reversed.micros(), view.disputes.len());
            assert_eq!(stands, (state, given_back, charge.disputes.len()), "{view:?}");
        }
    }
}
