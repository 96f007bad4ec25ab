//! Looking a settlement up on the chain again.

use std::collections::BTreeMap;

use crate::x402::chain::{Block, Chain, ChainError, ChainPayment, Evidence, Trace};

use super::Sighting;
use super::standing::Fact;
use super::store::Followed;

/// How far before its block a settlement that has gone is searched for.
const LOOK_BACK: u64 = 500;

/// How long after its end an authorization is still looked for, in seconds: blocks may be mined again
/// with earlier times.
const OVER_AFTER: i64 = 600;

/// What a look has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// In the block where it was.
    AsBefore,
    /// In another block, or in another transaction that used the same authorization.
    Elsewhere(Sighting),
    /// In no block.
    Gone,
    /// The node cannot tell.
    Unclear,
}

/// The blocks of a chain that settlements were last seen in, as they are at the head.
pub(super) struct Blocks {
    pub(super) head: Block,
    pub(super) hashes: BTreeMap<u64, String>,
}

impl Blocks {
    /// Reads the head, and then each block once, however many settlements are in it. The head comes
    /// first, so that nothing that is read afterwards is older.
    pub(super) async fn read(
        chain: &dyn Chain,
        numbers: impl Iterator<Item = u64>,
    ) -> Result<Self, ChainError> {
        let head = chain.head().await?;
        let mut hashes = BTreeMap::new();
        for number in numbers.filter(|number| *number <= head.number) {
            if hashes.contains_key(&number) {
                continue;
            }
            if let Some(block) = chain.block_at(number).await? {
                hashes.insert(number, block.hash_text());
            }
        }
        Ok(Self { head, hashes })
    }

    /// Looks one settlement up. A head below its block tells nothing: the node lags, or the chain has
    /// yet to grow.
    pub(super) async fn look(&self, chain: &dyn Chain, of: &Followed) -> Result<Look, ChainError> {
        let Some(hash) = self.hashes.get(&of.block_number) else { return Ok(Look::Unclear) };
        if *hash == of.block_hash && !of.is_gone() {
            return Ok(Look::AsBefore);
        }
        let payment = ChainPayment {
            asset: &of.asset,
            payer: &of.payer,
            nonce: &of.nonce,
            pay_to: &of.pay_to,
            amount: of.amount,
        };
        let evidence = chain.settlement(&payment, &of.settlement_tx).await?;
        if let Some(sighting) = Sighting::of(&of.settlement_tx, evidence) {
            return Ok(of.look_of(sighting));
        }
        if !chain.authorization_used(&of.asset, &of.payer, &of.nonce).await? {
            return Ok(Look::Gone);
        }
        let from = of.block_number.saturating_sub(LOOK_BACK);
        match chain.find_authorization(&of.asset, &of.payer, &of.nonce, from).await? {
            Trace::Used { transaction } => {
                match chain.settlement(&payment, &transaction).await? {
                    // Its signer has used it for something else.
                    Evidence::Mismatch(_) => Ok(Look::Gone),
                    evidence => {
                        let found = Sighting::of(&transaction, evidence);
                        Ok(found.map_or(Look::Unclear, |sighting| of.look_of(sighting)))
                    }
                }
            }
            Trace::Canceled { .. } => Ok(Look::Gone),
            Trace::Absent => Ok(Look::Unclear),
        }
    }

    /// What a look means, by how deep things are; none when it means nothing.
    pub(super) fn fact(&self, of: &Followed, look: &Look, confirmations: u64) -> Option<Fact> {
        let above = |block: u64| {
            let enough = block.checked_add(confirmations);
            enough.is_some_and(|enough| self.head.number >= enough)
        };
        let there = |block| if above(block) { Fact::Deep } else { Fact::There };
        match look {
            Look::AsBefore => Some(there(of.block_number)),
            Look::Elsewhere(sighting) => Some(there(sighting.block_number)),
            Look::Gone => {
                let since = of.missing_since.filter(|_| of.is_gone());
                let still = since.is_some_and(|since| above(since.max(of.block_number)));
                let end = of.valid_before.saturating_add(OVER_AFTER);
                Some(match still {
                    false => Fact::Gone,
                    true if self.head.time.timestamp() > end => Fact::Over,
                    true => Fact::StillGone,
                })
            }
            Look::Unclear => None,
        }
    }
}

impl Followed {
    fn look_of(&self, sighting: Sighting) -> Look {
        let same =
            sighting.block_hash == self.block_hash && sighting.transaction == self.settlement_tx;
        if same { Look::AsBefore } else { Look::Elsewhere(sighting) }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::ground::{Amount, BookId, TopupId};
    use crate::x402::Network;
    use crate::x402::topup::confirm::SettlementStanding as Standing;

    const END: i64 = 1_700_000_000;

    fn at(head: u64, time: i64) -> Blocks {
        let time = DateTime::from_timestamp(time, 0).unwrap();
        Blocks { head: Block { number: head, time, hash: [7; 32] }, hashes: BTreeMap::new() }
    }

    fn followed(standing: Standing, missing_since: Option<u64>) -> Followed {
        Followed {
            account: BookId(Uuid::nil()),
            topup: TopupId(Uuid::nil()),
            standing,
            sightings: 1,
            missing_since,
            head: 100,
            settlement_tx: "0x1".to_owned(),
            block_number: 100,
            block_hash: "0xa".to_owned(),
            network: Network::by_caip2("eip155:84532").unwrap(),
            asset: String::new(),
            payer: String::new(),
            nonce: String::new(),
            pay_to: String::new(),
            amount: Amount::micros_of(5),
            valid_before: END,
        }
    }

    #[test]
    fn depth_is_counted_from_the_block_and_absence_from_when_it_was_missed() {
        let elsewhere = Look::Elsewhere(Sighting {
            transaction: "0x1".to_owned(),
            block_number: 104,
            block_hash: "0xb".to_owned(),
            block_time: None,
            log_index: 0,
        });
        let (seen, missing) = (Standing::Seen, Standing::Missing);
        let late = END + OVER_AFTER + 1;
        let table = [
            (seen, None, Look::AsBefore, 111, END, Some(Fact::There)),
            (seen, None, Look::AsBefore, 112, END, Some(Fact::Deep)),
            (seen, None, elsewhere.clone(), 115, END, Some(Fact::There)),
            (missing, Some(101), elsewhere, 116, END, Some(Fact::Deep)),
            (seen, None, Look::Gone, 900, END, Some(Fact::Gone)),
            // Whatever is left over from an earlier absence does not count.
            (seen, Some(1), Look::Gone, 900, late, Some(Fact::Gone)),
            (missing, Some(103), Look::Gone, 114, late, Some(Fact::Gone)),
            (missing, Some(103), Look::Gone, 115, END, Some(Fact::StillGone)),
            // Missed at a head below its block: it counts from the block.
            (missing, Some(90), Look::Gone, 111, END, Some(Fact::Gone)),
            (missing, Some(90), Look::Gone, 112, END, Some(Fact::StillGone)),
            (Standing::Void, Some(103), Look::Gone, 115, late - 1, Some(Fact::StillGone)),
            (Standing::Void, Some(103), Look::Gone, 115, late, Some(Fact::Over)),
            (missing, Some(103), Look::Unclear, 900, late, None),
        ];
        for (standing, since, look, head, time, fact) in table {
            let of = followed(standing, since);
            assert_eq!(at(head, time).fact(&of, &look, 12), fact, "{standing:?} {look:?} {head}");
        }
        let of = followed(missing, Some(103));
        let never = at(u64::MAX, late).fact(&of, &Look::Gone, u64::MAX);
        assert_eq!(never, Some(Fact::Gone), "nothing overflows");
    }
}
