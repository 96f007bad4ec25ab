//! Whoever calls verifiers, put together from the settings.

use std::sync::Arc;

use sqlx::PgPool;

use crate::checkout::{Asker, VerifierSettings, Verifiers};
use crate::config::{CallSettings, Settings};
use crate::ground::{Clock, Entropy, Mode, SecretCipher};
use crate::ledger::Engine;
use crate::outbound::Caller;

use super::service::StartError;

/// Opens the verifiers, on the connections of the API, and the worker that asks them, on its own.
pub(super) fn open_verifiers(
    settings: &Settings,
    (pool, own_pool): (&PgPool, &PgPool),
    engine: &Engine,
    cipher: Option<Arc<SecretCipher>>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Verifiers, Asker), StartError> {
    let CallSettings { reach, timeout, backoff, attempts_max, failures_max, rest, .. } =
        settings.verifier.clone();
    let caller = Caller::new(reach, settings.mode == Mode::Test)?;
    let (pool, engine) = (pool.clone(), engine.clone());
    let verifiers = Verifiers::new(pool, engine, clock.clone(), entropy.clone(), caller, cipher);
    let settings = VerifierSettings { timeout, backoff, attempts_max, failures_max, rest };
    let asker = Asker::new(verifiers.on(own_pool.clone()), settings);
    Ok((verifiers, asker))
}
