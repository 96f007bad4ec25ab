//! Follows settlements that the chain showed, until they are so deep that they stay.
//!
//! A block can be replaced by another, and what was in it is then mined again, or not. A settlement
//! that has been gone for as many blocks as it would have to be deep is void: its credits are taken
//! back, what was spent of them is booked as lost, and the account is frozen. Its money may still
//! come: that is alarmed, and once it is deep the void is undone. Replicas share the work: taking a row
//! up moves its time on, and what was decided from an earlier look than the row's own changes nothing.

mod command;
mod look;
mod standing;
pub(super) mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;

use crate::ground::{Amount, TopupId, mint_uuid};
use crate::ledger::is_restored;
use crate::x402::Network;
use crate::x402::chain::{Chain, ChainError, Evidence};

use super::{Inner, PayError, TopUps};

use command::{Act, Turn};
use look::{Blocks, Look};
use store::{Followed, Step};

pub use standing::Standing as SettlementStanding;

/// How many settlements one step takes up.
const STEP_MAX: i64 = 200;

/// How many of them are looked up at once.
const AT_ONCE: usize = 8;

/// A settlement whose look is cut short is taken up again after this.
const LEASE: TimeDelta = TimeDelta::seconds(60);

/// Where the chain shows a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The transaction's hash.
    pub transaction: String,
    pub block_number: u64,
    /// In lower case.
    pub block_hash: String,
    /// The block's time, where the node told it.
    pub block_time: Option<DateTime<Utc>>,
    /// The index in the block of the log of the transfer.
    pub log_index: u64,
}

impl Sighting {
    /// What evidence shows; none when it is none.
    pub(super) fn of(transaction: &str, evidence: Evidence) -> Option<Self> {
        match evidence {
            Evidence::Confirmed { block_number, block_hash, log_index, block_time } => Some(Self {
                transaction: transaction.to_owned(),
                block_number,
                block_hash,
                block_time,
                log_index,
            }),
            Evidence::Missing | Evidence::Reverted | Evidence::Mismatch(_) => None,
        }
    }
}

/// What the chain has shown of a top-up's settlement, for finance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementRecord {
    pub standing: SettlementStanding,
    /// Where it was seen last.
    pub sighting: Sighting,
    /// In how many blocks it was seen, one after the other.
    pub sightings: i32,
    pub amount: Amount,
    pub payer: String,
    /// The head at which it was missed; none while it is there.
    pub missing_since: Option<u64>,
    /// The highest block up to which it was looked at.
    pub head: u64,
    pub updated_at: DateTime<Utc>,
}

impl TopUps {
    /// What the chain has shown of a top-up's settlement; none where none was read.
    pub async fn settlement(&self, id: TopupId) -> Result<Option<SettlementRecord>, PayError> {
        Ok(store::record(&self.0.pool, id).await?)
    }

    /// How many settlements are in each standing that is none of the usual ones.
    pub async fn doubtful_settlements(&self) -> Result<Vec<(SettlementStanding, i64)>, PayError> {
        Ok(store::doubtful(&self.0.pool).await?)
    }

    /// Looks at settlements that are not deep enough yet. Whether there may be more to look at.
    /// Nothing while a restored ledger is not confirmed. A node that does not answer is waited for.
    pub async fn confirm_step(&self) -> Result<bool, PayError> {
        let inner = &self.0;
        if is_restored(&inner.pool).await? {
            return Ok(false);
        }
        let at = inner.clock.now();
        let until = at.checked_add_signed(LEASE).unwrap_or(at);
        let due = store::take_due(&inner.pool, at, until, STEP_MAX).await?;
        let more = i64::try_from(due.len()).is_ok_and(|count| count >= STEP_MAX);
        let mut by_network: BTreeMap<&'static str, Vec<Followed>> = BTreeMap::new();
        for followed in due {
            by_network.entry(followed.network.caip2).or_default().push(followed);
        }
        let mut failed = None;
        for (caip2, group) in by_network {
            let network = Network::by_caip2(caip2);
            if let Some(chain) = network.and_then(|network| inner.chain_of(network))
                && let Err(error) = inner.follow_all(chain.as_ref(), group).await
            {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(more), Err)
    }
}

impl Inner {
    async fn follow_all(&self, chain: &dyn Chain, group: Vec<Followed>) -> Result<(), PayError> {
        let numbers = group.iter().map(|of| of.block_number);
        let blocks = match Blocks::read(chain, numbers).await {
            Ok(blocks) => blocks,
            Err(error) => {
                tracing::warn!(%error, "the chain cannot be read; settlements are not followed");
                return self.put_off(&group).await;
            }
        };
        let looks = stream::iter(group).map(|of| {
            let blocks = &blocks;
            async move {
                let look = blocks.look(chain, &of).await;
                (of, look)
            }
        });
        let looks: Vec<_> = looks.buffer_unordered(AT_ONCE).collect().await;
        let (mut steps, mut turns) = (Vec::new(), Vec::new());
        for (of, look) in looks {
            let step = self.step(&blocks, of, look);
            match Act::of(&step) {
                Some(act) => turns.push((act, step)),
                None => steps.push(step),
            }
        }
        let taken = store::take_steps(&self.pool, &steps).await?;
        for step in steps.iter().filter(|step| taken.contains(&step.followed.topup)) {
            alarm(step);
        }
        // One that cannot be booked keeps no other waiting.
        let mut failed = None;
        for (act, step) in turns {
            if let Err(error) = self.turn(act, step).await {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is written after a look.
    fn step(&self, blocks: &Blocks, of: Followed, look: Result<Look, ChainError>) -> Step {
        let look = look.unwrap_or_else(|error| {
            tracing::warn!(topup.id = %of.topup, %error, "settlement cannot be looked up");
            Look::Unclear
        });
        let fact = blocks.fact(&of, &look, self.settings.resolving.confirmations);
        let after = fact.map_or(of.standing, |fact| of.standing.after(fact));
        let head = blocks.head.number;
        let sighting = match look {
            Look::Elsewhere(sighting) => Some(sighting),
            Look::AsBefore | Look::Gone | Look::Unclear => None,
        };
        let detail = match &sighting {
            Some(seen) => json!({
                "transaction": seen.transaction, "block_number": seen.block_number,
                "block_hash": seen.block_hash, "head": head,
            }),
            None => json!({
                "transaction": of.settlement_tx, "block_number": of.block_number,
                "block_hash": of.block_hash, "head": head,
            }),
        };
        self.written(of, after, head, sighting, detail)
    }

    fn written(
        &self,
        of: Followed,
        after: SettlementStanding,
        head: u64,
        sighting: Option<Sighting>,
        detail: serde_json::Value,
    ) -> Step {
        let at = self.clock.now();
        let pause = TimeDelta::from_std(self.settings.confirm_interval).unwrap_or(LEASE);
        let missing_since = match after {
            SettlementStanding::Missing | SettlementStanding::Void | SettlementStanding::Lost => {
                Some(of.missing_since.filter(|_| of.is_gone()).unwrap_or(head))
            }
            SettlementStanding::Seen
            | SettlementStanding::Confirmed
            | SettlementStanding::Returned
            | SettlementStanding::Reinstated => None,
        };
        Step {
            event_id: mint_uuid(self.entropy.as_ref(), at, of.topup.slot()),
            followed: of,
            after,
            missing_since,
            head,
            sighting,
            detail,
            look_at: at.checked_add_signed(pause).unwrap_or(at),
            at,
        }
    }

    /// Looks again later.
    async fn put_off(&self, group: &[Followed]) -> Result<(), PayError> {
        let steps: Vec<Step> = group
            .iter()
            .map(|of| self.written(of.clone(), of.standing, of.head, None, json!({})))
            .collect();
        store::take_steps(&self.pool, &steps).await?;
        Ok(())
    }

    /// Takes a step through the ledger. One that does not commit is decided anew at
    /// the next look.
    async fn turn(&self, act: Act, step: Step) -> Result<(), PayError> {
        let command = Turn { act, step: step.clone() };
        match self.engine.submit(Arc::new(command)).await {
            Ok(outcome) if outcome.accepted && !outcome.replayed => {
                tracing::error!(topup.id = %step.followed.topup, account.id = %step.followed.account,
                    amount = %step.followed.amount, booked = outcome.body, "{}", act.alarm());
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(topup.id = %step.followed.topup, %error, "it could not be booked");
                Err(PayError::Ledger(error))
            }
        }
    }
}

/// Says what has happened to a settlement, where that is not what usually happens.
fn alarm(step: &Step) {
    let Step { followed: of, after, head, .. } = step;
    let (topup, account, amount) = (of.topup, of.account, of.amount);
    let (tx, block) = (&of.settlement_tx, of.block_number);
    if *after == of.standing {
        if let Some(seen) = &step.sighting {
            tracing::warn!(topup.id = %topup, transaction = seen.transaction,
                block = seen.block_number, "a settlement was mined again in another block");
        }
        return;
    }
    match after {
        SettlementStanding::Seen | SettlementStanding::Confirmed => {
            tracing::debug!(topup.id = %topup, transaction = tx, head, "settlement is there");
        }
        SettlementStanding::Missing => {
            tracing::error!(topup.id = %topup, account.id = %account, %amount, transaction = tx,
                block, head, "a settlement is in no block any longer");
        }
        SettlementStanding::Returned => {
            tracing::error!(topup.id = %topup, account.id = %account, %amount, head,
                "the money of a void settlement has turned up again");
        }
        SettlementStanding::Void => {
            tracing::error!(topup.id = %topup, account.id = %account, %amount, head,
                "the money of a void settlement has gone again");
        }
        // The ledger has a part in it, and whoever books it says so.
        SettlementStanding::Reinstated | SettlementStanding::Lost => {}
    }
}
