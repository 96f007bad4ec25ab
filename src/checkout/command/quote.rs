use chrono::{DateTime, TimeDelta, Utc};

use crate::checkout::annex::{CheckoutRows, NewQuote};
use crate::checkout::quote::{CapHeadroom, OPEN_MAX, PricedLine, QuoteLine, QuoteView};
use crate::checkout::{OrderFault, OrderLine};
use crate::ground::{Amount, BookId, KeyId, QuoteId};
use crate::ledger::{Annexes, Command, CommandIdentity, Decision, Desk, Fault, Refusal, Wants};

use super::open;

/// Quotes an order: decides it as a checkout would be decided, and holds nothing. It is no money
/// command, so that its outcome is not kept.
pub struct Quote {
    pub(in crate::checkout) account: BookId,
    pub(in crate::checkout) identity: CommandIdentity,
    pub(in crate::checkout) spender: KeyId,
    pub(in crate::checkout) lines: Vec<OrderLine>,
    /// Quotes that run out after this count as open.
    pub(in crate::checkout) asked_at: DateTime<Utc>,
    /// How long its prices hold.
    pub(in crate::checkout) life: TimeDelta,
}

/// Buys what was quoted, at the price that was quoted.
pub struct AcceptQuote {
    pub(in crate::checkout) account: BookId,
    pub(in crate::checkout) identity: CommandIdentity,
    pub(in crate::checkout) acceptance: Acceptance,
}

/// Which quote is accepted, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance {
    /// The key that buys.
    pub spender: KeyId,
    pub quote: QuoteId,
    /// None means the quote's total.
    pub max_total: Option<Amount>,
}

impl Command for Quote {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        let rows = annexes.of::<CheckoutRows>();
        for line in &self.lines {
            rows.want_sku(&line.sku);
        }
        rows.want_open_quotes(self.account, self.asked_at);
        wants.spender(self.account, self.spender);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let rows = desk.annexes.of::<CheckoutRows>();
        let open = rows.open_quotes(self.account);
        if open.count >= OPEN_MAX {
            // Those of this very batch are over no sooner than a new one would be.
            let first = open.first_over_at.map(|over| over.signed_duration_since(self.asked_at));
            let rest = first.unwrap_or(self.life).num_seconds();
            let retry_after_s = rest.saturating_add(1);
            return Ok(Decision::turn_away(&OrderFault::QuotesOpen {
                max: OPEN_MAX,
                retry_after_s,
            }));
        }
        let (lines, total) = match open::priced(rows, &self.lines) {
            Ok(priced) => priced,
            Err(fault) => return Ok(Decision::turn_away(&fault)),
        };
        let now = desk.book.now();
        let expires_at = now.checked_add_signed(self.life).ok_or(Fault::Overflow)?;
        let available = desk.book.available();
        let view = QuoteView {
            quote_id: QuoteId::mint(desk.entropy, now, self.account.slot()),
            account_id: self.account,
            lines: shown(&lines).ok_or(Fault::Overflow)?,
            total,
            available,
            shortfall: total.saturating_sub(available),
            caps: desk
                .book
                .caps_on(self.spender)
                .iter()
                .map(|cap| CapHeadroom::of(cap, total))
                .collect(),
            refusal: self.refusal(desk, &lines, total),
            created_at: now,
            expires_at,
        };
        let id = view.quote_id;
        let quote = NewQuote { account: self.account, id, created_at: now, expires_at, lines };
        desk.annexes.of::<CheckoutRows>().quote(quote);
        Ok(Decision { kept: false, ..Decision::accept(&view) })
    }
}

impl Quote {
    fn refusal(&self, desk: &Desk<'_>, lines: &[PricedLine], total: Amount) -> Option<Refusal> {
        open::refused_buyer(desk, self.spender, lines)
            .or_else(|| desk.book.may_hold(self.spender, total, total).err())
    }
}

fn shown(lines: &[PricedLine]) -> Option<Vec<QuoteLine>> {
    let shown = |(item, line): (i16, &PricedLine)| {
        Some(QuoteLine {
            item,
            sku: line.sku.clone(),
            sku_version: line.sku_version,
            quantity: line.quantity,
            unit_price: line.unit_price,
            amount: line.amount()?,
        })
    };
    (1..).zip(lines).map(shown).collect()
}

impl Command for AcceptQuote {
    fn book(&self) -> BookId {
        self.account
    }

    fn identity(&self) -> CommandIdentity {
        self.identity
    }

    fn want(&self, wants: &mut Wants, annexes: &mut Annexes) {
        annexes.of::<CheckoutRows>().want_quote(self.account, self.acceptance.quote);
        wants.spender(self.account, self.acceptance.spender);
    }

    fn decide(&self, desk: &mut Desk<'_>) -> Result<Decision, Fault> {
        let Acceptance { spender, quote, max_total } = self.acceptance;
        let now = desk.book.now();
        let Some(facts) = desk.annexes.of::<CheckoutRows>().quote_of(self.account, quote) else {
            return Ok(Decision::turn_away(&OrderFault::QuoteUnknown));
        };
        if let Err(refusal) = facts.accept(now) {
            return Ok(Decision::refuse(&refusal));
        }
        let lines = facts.lines.clone();
        let total = open::total_of(&lines).ok_or(Fault::Overflow)?;
        let max_total = max_total.unwrap_or(total);
        let sold = open::sell(desk, self.account, spender, &lines, total, max_total)?;
        match sold {
            Ok(checkout) => {
                let rows = desk.annexes.of::<CheckoutRows>();
                rows.accept_quote(self.account, quote, checkout.checkout_id)?;
                Ok(Decision::accept(&checkout))
            }
            Err(refused) => Ok(refused),
        }
    }
}
