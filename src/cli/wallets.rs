//! Accounts of wallets for the floor that takes money in, which knows of no accounts.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::accounts::Accounts;
use crate::ground::BookId;
use crate::x402::topup::{PayError, Wallets};

/// Opens accounts of wallets.
pub struct OpenWallets(pub Accounts);

impl Wallets for OpenWallets {
    fn open<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<BookId, PayError>> {
        async move {
            self.0.open_wallet(address).await.map_err(|error| PayError::Wallet(Box::new(error)))
        }
        .boxed()
    }
}
