//! Payments that a top-up did not bring: they belong to the wallet that paid.

use futures_util::future::BoxFuture;
use serde_json::json;

use crate::ground::{BookId, TopupId};

use super::case::{At, Case};
use super::settle::USED_BEFORE;
use super::step::{Note, Step};
use super::{Inner, PayError, TopupEvent, TopupRecord, TopupState, store};

/// Whoever keeps the accounts of wallets.
pub trait Wallets: Send + Sync {
    /// The account of a wallet by its address in lower case, opened if there is none.
    fn open<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<BookId, PayError>>;
}

impl Inner {
    /// Gives a payment that a top-up did not bring to the account of the wallet that paid, as a
    /// top-up of its own, and rejects this one. No account is bound anew, and both say what
    /// happened.
    ///
    /// Only what is unknown and was never sent comes here, and such a top-up is never sent: so it
    /// never is credited beside the wallet's. The wallet's is one, because its book has one row for
    /// a payment; it is written first, so that a crash between the two is mended by doing it again.
    pub(super) async fn divert(
        &self,
        case: &Case,
        at: At,
        wallet: BookId,
        notes: Vec<Note>,
    ) -> Result<(), PayError> {
        if at.state == TopupState::Settling || case.sent || wallet == case.account {
            tracing::error!(topup.id = %case.id, "not a stranger's payment");
            return Ok(());
        }
        let own = self.top_up_of_wallet(case, wallet).await?;
        let step = Step {
            event: TopupEvent::Reject,
            reason: Some(USED_BEFORE),
            transaction: None,
            detail: json!({ "reason": USED_BEFORE, "belongs_to": own.id }),
            notes,
        };
        self.advance(case, at, &step).await?;
        Ok(())
    }

    /// The wallet's own top-up of a payment that was presented for somebody else.
    pub(super) async fn top_up_of_wallet(
        &self,
        case: &Case,
        wallet: BookId,
    ) -> Result<TopupRecord, PayError> {
        let at = self.clock.now();
        let copy = TopupId::mint(self.entropy.as_ref(), at, wallet.slot());
        store::copy_for_wallet(&self.pool, case, copy, wallet, at, self.lease_end(at)).await?;
        let (network, asset) = (case.network.caip2, &case.asset);
        let found = store::of_payment(&self.pool, wallet, network, asset, &case.payer, &case.nonce);
        let own = found.await?.ok_or(PayError::Interrupted)?;
        if own.state == TopupState::Claimed
            && let Some(due) = store::case_of(&self.pool, own.id).await?
        {
            let step = Step {
                event: TopupEvent::Lose,
                reason: Some(USED_BEFORE),
                transaction: None,
                detail: json!({ "reason": USED_BEFORE, "presented_as": case.id }),
                notes: vec![],
            };
            self.advance(&due.case, due.at, &step).await?;
        }
        Ok(own)
    }
}
