//! Whoever calls verifiers, put together from the settings.

use std::sync::Arc;

use sqlx::PgPool;

use crate::checkout::{Asker, VerifierSettings, Verifiers};
use crate::config::{CallSettings, Settings};
use crate::ground::{Clock, Entropy, Mode, SecretCipher};
use crate::ledger::Engine;
use crate::outbound::Caller;

use super::service::StartError;

/// Opens the verifiers and the worker that asks them.
pub(super) fn open_verifiers(
    settings: &Settings,
    pool: &PgPool,
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
    Ok((verifiers.clone(), Asker::new(verifiers, settings)))
}
