//! The worker that takes up what a crash or a lost answer left open.
//!
//! Each top-up is taken up alone, under a lease, with its attempt on record before anything is done.
//! Where a chain is read, the chain decides, and the facilitator is only asked again while the
//! authorization is unused. Without one the facilitator is asked with the identical payload until it
//! says, or until the top-up is parked. An outcome is never guessed.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ground::BookId;
use crate::ledger::is_restored;
use crate::x402::chain::{Chain, ChainError, Finding, Sight};

use super::case::{At, Case, Paid};
use super::settle::USED_BEFORE;
use super::step::{Note, Step};
use super::store;
use super::verdict::{Verdict, judge};
use super::{Inner, PayError, Running, TopUps, TopupEvent, TopupState};

/// How long before its top-up an authorization may have been used: it lives no longer than a day.
const LOOK_BACK: TimeDelta = TimeDelta::hours(25);

/// A top-up that is taken up.
pub(super) struct Due {
    pub(super) case: Case,
    pub(super) at: At,
    pub(super) settlement_tx: Option<String>,
}

/// How top-ups stand, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// How many top-ups are in each state.
    pub by_state: Vec<(TopupState, i64)>,
    /// How long the oldest unknown one has been open, in seconds.
    pub oldest_unknown_s: i64,
    /// How long the oldest parked one has been open, in seconds.
    pub oldest_parked_s: i64,
}

impl TopUps {
    /// How many top-ups are worked on at once.
    pub(super) const AT_ONCE: usize = 32;

    /// Takes up what is due and there is room for, each top-up in a task of its own, so that one that
    /// waits for the facilitator keeps nobody else waiting; with no room at all it waits for some.
    /// Replicas share the work: taking a row up moves its time on, in one statement. Returns the
    /// tasks; none while a restored ledger is not confirmed.
    pub async fn take_up_due(&self) -> Result<Vec<JoinHandle<Result<(), PayError>>>, PayError> {
        let inner = &self.0;
        let room = Arc::clone(&inner.room).acquire_owned().await;
        let mut rooms = vec![room.map_err(|_| PayError::Interrupted)?];
        while let Ok(room) = Arc::clone(&inner.room).try_acquire_owned() {
            rooms.push(room);
        }
        if is_restored(&inner.pool).await? {
            return Ok(Vec::new());
        }
        let at = inner.clock.now();
        let read: Vec<_> = inner.chains.iter().map(|(network, _)| (*network).to_owned()).collect();
        let limit = i64::try_from(rooms.len()).unwrap_or(1);
        let due = store::take_due(&inner.pool, at, inner.lease_end(at), &read, limit).await?;
        let tasks = due.into_iter().zip(rooms).map(|(due, room)| {
            let (topups, running) = (self.clone(), Running::begin(&inner.running));
            inner.runtime.spawn(async move {
                let _kept = (room, running);
                let id = due.case.id;
                let done = topups.0.resolve(due).await;
                done.inspect_err(|error| tracing::warn!(topup.id = %id, %error, "not resolved"))
            })
        });
        Ok(tasks.collect())
    }

    /// Takes up what is due, and waits until all of it is done. Returns how many it took up.
    pub async fn resolve_step(&self) -> Result<usize, PayError> {
        let tasks = self.take_up_due().await?;
        let count = tasks.len();
        for done in join_all(tasks).await {
            done.map_err(|_| PayError::Interrupted)??;
        }
        Ok(count)
    }

    /// How top-ups stand.
    pub async fn standing(&self) -> Result<Standing, PayError> {
        Ok(store::standing(&self.0.pool, self.0.clock.now()).await?)
    }
}

impl Inner {
    async fn resolve(&self, due: Due) -> Result<(), PayError> {
        let Due { case, at, settlement_tx } = due;
        match (at.state, settlement_tx) {
            (TopupState::Claimed, _) => {
                let step = Step::because(TopupEvent::Refuse, "interrupted", vec![]);
                self.advance(&case, at, &step).await?;
                Ok(())
            }
            // Whoever sent it is gone. From here on no refusal counts.
            (TopupState::Settling | TopupState::Unknown | TopupState::Parked, _) => {
                self.find_out(&case, at).await
            }
            (TopupState::Settled, Some(transaction)) => {
                self.credit_kept(&case, at, transaction).await
            }
            (TopupState::Refused | TopupState::Rejected, _) => self.watch(&case, at).await,
            (TopupState::Settled | TopupState::Credited, _) => {
                self.postpone(&case, at, None, &[]).await
            }
        }
    }

    /// Finds out what became of a payment.
    async fn find_out(&self, case: &Case, at: At) -> Result<(), PayError> {
        // Showing a used authorization proves nothing: it is public. Who did not bring the money is
        // never credited with it, unless it is the wallet that paid.
        let wallet = if case.sent { None } else { Some(self.wallet_of(&case.payer).await?) };
        let stranger = wallet.filter(|wallet| *wallet != case.account);
        let Some(chain) = self.chain_of(case.network) else {
            return match (at.state, stranger) {
                (TopupState::Parked, _) => {
                    self.postpone(case, at, Some(self.later(case)), &[]).await
                }
                (_, Some(wallet)) => self.divert(case, at, wallet, vec![]).await,
                (_, None) => self.settle(case, at, false).await,
            };
        };
        let sight = match self.look(chain.as_ref(), case).await {
            Ok(sight) => sight,
            // Not knowing is waited out.
            Err(error) => {
                tracing::warn!(topup.id = %case.id, %error, "chain cannot be read");
                return self.postpone(case, at, Some(self.later(case)), &[]).await;
            }
        };
        let note = self.note("chain", shown(&sight));
        match (judge(&sight, case, self.clock.now(), &self.settings.resolving), stranger) {
            (Verdict::Paid(paid), None) => self.paid(case, at, paid, note).await,
            (Verdict::Paid(_), Some(wallet)) => self.divert(case, at, wallet, vec![note]).await,
            (Verdict::Void(reason), _) => {
                let step = Step::because(TopupEvent::Reject, reason, vec![note]);
                self.advance(case, at, &step).await?;
                Ok(())
            }
            (Verdict::Ask, None) if at.state != TopupState::Parked => {
                self.record(case, &[note]).await?;
                // Reading the chain may have taken long.
                if self.renew(case, at).await? {
                    self.settle(case, at, false).await
                } else {
                    Ok(())
                }
            }
            (Verdict::Ask, _) => self.wait(case, at, "authorization_unused", note).await,
            (Verdict::Wait(reason), _) => self.wait(case, at, reason, note).await,
            (Verdict::Park(reason), _) if at.state == TopupState::Unknown => {
                let step = Step::because(TopupEvent::Park, reason, vec![note]);
                if self.advance(case, at, &step).await?.is_some() {
                    tracing::error!(
                        topup.id = %case.id, reason,
                        "a top-up is parked: the chain does not tell what became of it"
                    );
                }
                Ok(())
            }
            (Verdict::Park(reason), _) => self.wait(case, at, reason, note).await,
        }
    }

    /// Reads what the chain shows of a payment.
    pub(super) async fn look(&self, chain: &dyn Chain, case: &Case) -> Result<Sight, ChainError> {
        let since = case.created_at.checked_sub_signed(LOOK_BACK).unwrap_or(case.created_at);
        chain.find(&case.on_chain(), since).await
    }

    /// Leaves it open. One that was being sent is known to be lost from then on.
    async fn wait(
        &self,
        case: &Case,
        at: At,
        reason: &'static str,
        note: Note,
    ) -> Result<(), PayError> {
        if at.state == TopupState::Settling {
            let step = Step::because(TopupEvent::Lose, reason, vec![note]);
            self.advance(case, at, &step).await?;
            return Ok(());
        }
        self.postpone(case, at, Some(self.later(case)), &[note]).await
    }

    /// The chain shows the payment: whatever the facilitator said, it is there.
    async fn paid(&self, case: &Case, at: At, paid: Paid, note: Note) -> Result<(), PayError> {
        let from = match at.state {
            TopupState::Settling | TopupState::Unknown => {
                self.note_at_once(case, &[note]).await;
                at
            }
            // Not to be credited from here: that it is there is a step of its own.
            TopupState::Parked | TopupState::Refused | TopupState::Rejected => {
                let step = Step {
                    event: TopupEvent::Settle,
                    reason: Some("found_on_chain"),
                    transaction: Some(&paid.transaction),
                    detail: json!({ "reason": "found_on_chain", "transaction": paid.transaction }),
                    notes: vec![note],
                };
                let Some(settled) = self.advance(case, at, &step).await? else { return Ok(()) };
                settled
            }
            TopupState::Claimed | TopupState::Settled | TopupState::Credited => return Ok(()),
        };
        self.credit(case, from, paid).await
    }

    /// Credits what is known to be there, once more with the chain's word where that can be had.
    pub(super) async fn credit_kept(
        &self,
        case: &Case,
        at: At,
        transaction: String,
    ) -> Result<(), PayError> {
        let Some(chain) = self.chain_of(case.network) else {
            return self.credit(case, at, Paid { transaction, evidence: None }).await;
        };
        match self.look(chain.as_ref(), case).await {
            Ok(Sight { finding: Finding::Paid { transaction, evidence }, .. }) => {
                let paid = Paid { transaction, evidence: Some(evidence) };
                self.credit(case, at, paid).await
            }
            Ok(sight) => {
                // The logs do not say where; the transaction itself may.
                if sight.finding == Finding::Lost
                    && let Ok(evidence) = self.prove(case, &transaction).await
                {
                    return self.credit(case, at, Paid { transaction, evidence }).await;
                }
                tracing::error!(topup.id = %case.id, transaction, "settled, and not on the chain");
                let note = self.note("chain", shown(&sight));
                self.postpone(case, at, Some(self.later(case)), &[note]).await
            }
            Err(error) => {
                tracing::warn!(topup.id = %case.id, %error, "chain cannot be read");
                self.postpone(case, at, Some(self.later(case)), &[]).await
            }
        }
    }

    /// Looks whether a payment that was given up is on the chain all the same: once soon, and once
    /// when its window is over.
    async fn watch(&self, case: &Case, at: At) -> Result<(), PayError> {
        let diverted = at.state == TopupState::Rejected && !case.sent;
        let chain = self.chain_of(case.network).filter(|_| !diverted);
        let Some(chain) = chain else { return self.postpone(case, at, None, &[]).await };
        let sight = match self.look(chain.as_ref(), case).await {
            Ok(sight) => sight,
            Err(error) => {
                tracing::warn!(topup.id = %case.id, %error, "chain cannot be read");
                return self.postpone(case, at, Some(self.later(case)), &[]).await;
            }
        };
        let note = self.note("chain", shown(&sight));
        if let Finding::Paid { transaction, evidence } = sight.finding {
            let wallet = self.wallet_of(&case.payer).await?;
            if !case.sent && wallet != case.account {
                return self.lose_refused(case, at, wallet, note).await;
            }
            let paid = Paid { transaction, evidence: Some(evidence) };
            return self.paid(case, at, paid, note).await;
        }
        let resolving = &self.settings.resolving;
        let over = case.is_over(sight.head.time, resolving.margin);
        let deep = |block: u64| sight.head.number.saturating_sub(block) >= resolving.confirmations;
        let later = self.later(case);
        let next = match &sight.finding {
            Finding::Unused if over => None,
            // The service's clock may be ahead of the chain's.
            Finding::Unused => {
                case.valid_before.checked_add_signed(resolving.margin).map(|end| end.max(later))
            }
            // A node's index of logs may lag behind its state.
            Finding::Lost => {
                let given_up = case.is_over(sight.head.time, resolving.park_after);
                (!given_up).then_some(later)
            }
            Finding::Elsewhere { block, .. } | Finding::Canceled { block, .. } => {
                (!deep(*block)).then_some(later)
            }
            Finding::Paid { .. } => Some(later),
        };
        self.postpone(case, at, next, &[]).await
    }

    /// A refused payment was brought by somebody else: it is lost to this top-up, as one that was
    /// used before it was claimed. One whose place is taken stays as it is.
    async fn lose_refused(
        &self,
        case: &Case,
        at: At,
        wallet: BookId,
        note: Note,
    ) -> Result<(), PayError> {
        let record = store::by_id(&self.pool, case.id).await?;
        if record.is_some_and(|record| record.superseded_by.is_some()) {
            self.top_up_of_wallet(case, wallet).await?;
            return self.postpone(case, at, None, &[note]).await;
        }
        let step = Step::because(TopupEvent::TakeUp, USED_BEFORE, vec![]);
        let Some(claimed) = self.advance(case, at, &step).await? else { return Ok(()) };
        let step = Step::because(TopupEvent::Lose, USED_BEFORE, vec![note]);
        self.advance(case, claimed, &step).await?;
        Ok(())
    }

    /// The account of a wallet.
    pub(super) async fn wallet_of(&self, payer: &str) -> Result<BookId, PayError> {
        let wallets = self.wallets.as_ref().ok_or(PayError::Interrupted)?;
        wallets.open(payer).await
    }
}

/// A sight, for the audit trail.
pub(super) fn shown(sight: &Sight) -> Value {
    let (finding, transaction) = match &sight.finding {
        Finding::Unused => ("unused", None),
        Finding::Paid { transaction, .. } => ("paid", Some(transaction)),
        Finding::Elsewhere { transaction, .. } => ("used_elsewhere", Some(transaction)),
        Finding::Canceled { transaction, .. } => ("canceled", Some(transaction)),
        Finding::Lost => ("use_not_found", None),
    };
    let time: DateTime<Utc> = sight.head.time;
    json!({
        "authorization": finding, "transaction": transaction,
        "block": sight.head.number, "block_time": time,
    })
}
