//! Who tells what happened, put together from the settings.

use std::sync::Arc;

use sqlx::PgPool;

use crate::config::{Settings, WebhookSettings};
use crate::db::managed::ManagedPostgres;
use crate::events::{Courier, CourierSettings, Events};
use crate::ground::{Clock, Entropy, SecretCipher};
use crate::outbound::Caller;

use super::service::StartError;

/// Opens the feed, on the connections of the API, and the courier, on its own. The Postgres that Bursar runs has a key for secrets beside it, when
/// none is set.
pub(super) fn open_events(
    settings: &Settings,
    (pool, own_pool): (&PgPool, &PgPool),
    managed: Option<&ManagedPostgres>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Events, Courier), StartError> {
    let WebhookSettings { secret_key, reach, http, timeout, backoff, attempts_max, .. } =
        settings.webhook.clone();
    let cipher = match (secret_key, managed) {
        (Some(key), _) => Some(SecretCipher::new(key.reveal())),
        (None, Some(managed)) => Some(SecretCipher::new(&managed.secret_key(entropy.as_ref())?)),
        (None, None) => None,
    };
    let caller = Caller::new(reach, http)?;
    let events = Events::new(pool.clone(), clock.clone(), entropy.clone(), caller, cipher);
    let courier = CourierSettings { timeout, backoff, attempts_max };
    Ok((events.clone(), Courier::new(events.on(own_pool.clone()), courier)))
}
