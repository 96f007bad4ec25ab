//! Who tells what happened, put together from the settings.

use std::sync::Arc;

use sqlx::PgPool;

use crate::config::{Settings, WebhookSettings};
use crate::db::managed::ManagedPostgres;
use crate::events::{Courier, CourierSettings, Events};
use crate::ground::{Clock, Entropy, SecretCipher};
use crate::outbound::Caller;

use super::service::StartError;

/// What keeps secrets. The Postgres that Bursar runs has a key for them beside it, when none is set.
pub(super) fn secret_cipher(
    settings: &Settings,
    managed: Option<&ManagedPostgres>,
    entropy: &dyn Entropy,
) -> Result<Option<Arc<SecretCipher>>, StartError> {
    let cipher = match (&settings.webhook.secret_key, managed) {
        (Some(key), _) => Some(SecretCipher::new(key.reveal())),
        (None, Some(managed)) => Some(SecretCipher::new(&managed.secret_key(entropy)?)),
        (None, None) => None,
    };
    Ok(cipher.map(Arc::new))
}

/// Opens the feed, on the connections of the API, and the courier, on its own.
pub(super) fn open_events(
    settings: &Settings,
    (pool, own_pool): (&PgPool, &PgPool),
    cipher: Option<Arc<SecretCipher>>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Events, Courier), StartError> {
    let WebhookSettings { reach, http, timeout, backoff, attempts_max, .. } =
        settings.webhook.clone();
    let caller = Caller::new(reach, http)?;
    let events = Events::new(pool.clone(), clock.clone(), entropy.clone(), caller, cipher);
    let courier = CourierSettings { timeout, backoff, attempts_max };
    Ok((events.clone(), Courier::new(events.on(own_pool.clone()), courier)))
}
