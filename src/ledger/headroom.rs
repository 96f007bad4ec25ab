//! Headroom: the caps of a book, checked and counted.

use chrono::{DateTime, Utc};

use crate::ground::{Amount, CapId, KeyId};

use super::book::Usage;
use super::lot::Fate;
use super::{Book, Cap, CapScope, CapUse, CapViolation, Fault, Span};

impl Book {
    /// The caps that bind a spender, its own first, the account's after them.
    pub fn caps_on(&self, spender: KeyId) -> Vec<CapUse> {
        let scope = |cap: &Cap| match cap.spender {
            None => Some(CapScope::Account),
            Some(of) => (of == spender).then_some(CapScope::Key),
        };
        let counted = |(cap, _): &(Cap, Fate)| {
            let used = self.used(cap.spender, cap.span);
            Some(CapUse { scope: scope(cap)?, span: cap.span, limit: cap.limit, used })
        };
        let mut found: Vec<_> = self.caps.iter().filter_map(counted).collect();
        // The rows of caps come in no order, and what is told of them is kept for ever.
        found.sort_by_key(|cap| (cap.scope, cap.span));
        found
    }

    /// Every cap that a checkout of `total` would pass.
    pub(super) fn violations(
        &self,
        spender: KeyId,
        total: Amount,
        max_total: Amount,
    ) -> Vec<CapViolation> {
        let (scope, span) = (CapScope::Request, Span::Checkout);
        let own = CapUse { scope, span, limit: max_total, used: Amount::ZERO };
        let passed = |cap: &CapUse| cap.used.checked_add(total).is_none_or(|all| all > cap.limit);
        let violation = |CapUse { scope, span, limit, used }| CapViolation {
            scope,
            span,
            limit,
            used,
            requested: total,
        };
        let all = std::iter::once(own).chain(self.caps_on(spender));
        all.filter(passed).map(violation).collect()
    }

    pub(super) fn take_headroom(&mut self, spender: KeyId, amount: Amount) -> Result<(), Fault> {
        for (cap, _) in &self.caps {
            if cap.span != Span::Checkout && cap.spender.is_none_or(|of| of == spender) {
                let key = (cap.spender, cap.span, cap.span.window_start(self.now));
                let none = Usage { cap: None, used: Amount::ZERO, fate: Fate::New };
                // A seed that was read for a cap to come counts for this one too.
                self.usage.entry(key).or_insert(none).cap = Some(cap.id);
            }
        }
        self.change_usage(spender, self.now, |used| used.checked_add(amount).ok_or(Fault::Overflow))
    }

    /// Gives headroom back in the window in which the hold was placed. A window that a cap does not
    /// know ended before the cap was made.
    pub(super) fn give_headroom_back(
        &mut self,
        spender: KeyId,
        placed_at: DateTime<Utc>,
        amount: Amount,
    ) -> Result<(), Fault> {
        self.change_usage(spender, placed_at, |used| {
            used.checked_sub(amount).ok_or(Fault::NegativeBalance)
        })
    }

    fn change_usage(
        &mut self,
        spender: KeyId,
        at: DateTime<Utc>,
        change: impl Fn(Amount) -> Result<Amount, Fault>,
    ) -> Result<(), Fault> {
        for scope in [None, Some(spender)] {
            for span in Span::WINDOWED {
                if let Some(usage) = self.usage.get_mut(&(scope, span, span.window_start(at))) {
                    usage.used = change(usage.used)?;
                    usage.fate = usage.fate.touched();
                }
            }
        }
        Ok(())
    }

    /// Sets a cap. One that is tightened below its use refuses holds to come and cancels nothing.
    /// What counts in its current window must have been read (`Wants::spent`),
    /// but for those that are new.
    pub fn set_cap(&mut self, id: CapId, spender: Option<KeyId>, span: Span, limit: Amount) {
        self.changes = self.changes.saturating_add(1);
        let known =
            self.caps.iter_mut().find(|(cap, _)| cap.spender == spender && cap.span == span);
        if let Some((cap, fate)) = known {
            cap.limit = limit;
            *fate = fate.touched();
            return;
        }
        self.caps.push((Cap { id, spender, span, limit }, Fate::New));
        if span != Span::Checkout {
            let key = (spender, span, span.window_start(self.now));
            let seed = Usage { cap: None, used: Amount::ZERO, fate: Fate::New };
            let usage = self.usage.entry(key).or_insert(seed);
            usage.cap = Some(id);
            usage.fate = Fate::New;
        }
    }

    /// What has been counted in a cap's window.
    pub fn used(&self, spender: Option<KeyId>, span: Span) -> Amount {
        let key = (spender, span, span.window_start(self.now));
        self.usage.get(&key).map(|usage| usage.used).unwrap_or_default()
    }

    /// Stops or allows new holds. Nothing that is open is touched.
    pub fn set_frozen(&mut self, frozen: bool) {
        self.changes = self.changes.saturating_add(1);
        self.frozen = frozen;
    }
}
