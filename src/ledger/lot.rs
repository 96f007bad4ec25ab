use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::ground::{Amount, LotId};

use super::{Draw, Fault};

/// One grant of credits, paid or promotional, with what is left of it. No lot's date ever changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub id: LotId,
    pub paid: bool,
    /// Lower burns first; 50 unless chosen otherwise.
    pub priority: i16,
    pub amount: Amount,
    /// What is available: neither held, nor captured, nor expired.
    pub remaining: Amount,
    pub granted_at: DateTime<Utc>,
    /// From when on it was meant to be there; a grant is not booked before.
    pub effective_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// The top-up or grant that it came from.
    pub origin: Uuid,
    /// The expired lot whose money came back into this one.
    pub parent: Option<LotId>,
    /// Of a payment that turned out to be void: what was spent of the lot and has not come back.
    /// Such a lot has nothing left.
    pub lost: Option<Amount>,
}

/// The published burn order: priority, then earliest expiry, then promotional before paid, then
/// oldest, then id. It is total, so that the same lots always burn alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BurnKey(i16, DateTime<Utc>, bool, DateTime<Utc>, LotId);

/// The priority of a lot that nobody chose one for.
pub const DEFAULT_PRIORITY: i16 = 50;

/// What is given with a grant of promotional credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    pub amount: Amount,
    /// Of its lot, 0 to 100: lower burns first.
    pub priority: i16,
    /// From when on it was meant to be there: not after the time at which it is booked.
    pub effective_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// How long money lives that comes back to an expired lot.
pub(super) const RETURNED_LOT_DAYS: i64 = 30;

impl Lot {
    /// Its place in the burn order.
    pub fn burn_key(&self) -> BurnKey {
        let expiry = self.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
        BurnKey(self.priority, expiry, self.paid, self.granted_at, self.id)
    }

    /// Whether it can no longer be drawn from at that time.
    pub fn is_expired(&self, at: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= at)
    }
}

/// The lots of a book that a batch may touch, in burn order.
#[derive(Clone, Debug, Default)]
pub(super) struct Lots {
    by_burn: BTreeMap<BurnKey, Kept>,
    keys: HashMap<LotId, BurnKey>,
}

#[derive(Clone, Debug)]
struct Kept {
    lot: Lot,
    fate: Fate,
}

/// What has to be written for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// As the database has it.
    Clean,
    /// To be updated.
    Dirty,
    /// To be inserted.
    New,
}

impl Fate {
    /// What a change makes of it.
    pub(super) fn touched(self) -> Self {
        match self {
            Self::Clean | Self::Dirty => Self::Dirty,
            Self::New => Self::New,
        }
    }
}

impl Lots {
    pub(super) fn load(&mut self, lot: Lot) {
        self.put(lot, Fate::Clean);
    }

    pub(super) fn open(&mut self, lot: Lot) {
        self.put(lot, Fate::New);
    }

    fn put(&mut self, lot: Lot, fate: Fate) {
        let key = lot.burn_key();
        self.keys.insert(lot.id, key);
        self.by_burn.insert(key, Kept { lot, fate });
    }

    pub(super) fn get(&self, id: LotId) -> Option<&Lot> {
        self.keys.get(&id).and_then(|key| self.by_burn.get(key)).map(|kept| &kept.lot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Lot, Fate)> {
        self.by_burn.values().map(|kept| (&kept.lot, kept.fate))
    }

    /// Takes an amount in burn order. The caller has made sure that there is enough.
    pub(super) fn draw(&mut self, amount: Amount) -> Result<Vec<Draw>, Fault> {
        let mut left = amount;
        let mut draws = Vec::with_capacity(1);
        for kept in self.by_burn.values_mut() {
            if left.is_zero() {
                break;
            }
            let take = left.min(kept.lot.remaining);
            if take.is_zero() {
                continue;
            }
            kept.lot.remaining = kept.lot.remaining.saturating_sub(take);
            kept.fate = kept.fate.touched();
            left = left.saturating_sub(take);
            draws.push(Draw { lot: kept.lot.id, amount: take });
        }
        if left.is_zero() { Ok(draws) } else { Err(Fault::LotsDisagree) }
    }

    /// Changes what remains of a lot.
    pub(super) fn adjust(
        &mut self,
        id: LotId,
        change: impl FnOnce(&Lot) -> Option<Amount>,
    ) -> Result<(), Fault> {
        self.change(id, |lot| {
            let remaining = change(lot).filter(|remaining| *remaining <= lot.amount);
            lot.remaining = remaining.ok_or(Fault::LotsDisagree)?;
            Ok(())
        })
    }

    /// Changes a lot, in anything but its place in the burn order.
    pub(super) fn change(
        &mut self,
        id: LotId,
        change: impl FnOnce(&mut Lot) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let key = self.keys.get(&id).ok_or(Fault::LotUnknown(id))?;
        let kept = self.by_burn.get_mut(key).ok_or(Fault::LotUnknown(id))?;
        change(&mut kept.lot)?;
        kept.fate = kept.fate.touched();
        Ok(())
    }

    /// The lots that the money of a top-up or grant is in, or was.
    pub(super) fn of_origin(&self, origin: Uuid) -> Vec<Lot> {
        let lots = self.by_burn.values().map(|kept| &kept.lot);
        lots.filter(|lot| lot.origin == origin).cloned().collect()
    }

    /// The lots that have something left and whose time is over.
    pub(super) fn due(&self, at: DateTime<Utc>) -> Vec<Lot> {
        self.by_burn
            .values()
            .filter(|kept| !kept.lot.remaining.is_zero() && kept.lot.is_expired(at))
            .map(|kept| kept.lot.clone())
            .collect()
    }
}

/// The lot that takes money returning to an expired one.
pub(super) fn successor(expired: &Lot, id: LotId, amount: Amount, at: DateTime<Utc>) -> Lot {
    Lot {
        id,
        paid: expired.paid,
        priority: expired.priority,
        amount,
        remaining: amount,
        granted_at: at,
        effective_at: at,
        expires_at: at.checked_add_signed(TimeDelta::days(RETURNED_LOT_DAYS)),
        origin: expired.origin,
        parent: Some(expired.id),
        lost: None,
    }
}
