//! The commands that serve: until they are told to stop, or something ends that should not.

use std::process::ExitCode;
use std::sync::Arc;

use crate::accounts::{ApiKey, key_hash};
use crate::config::{Secret, Settings, mode_from_env};
use crate::ground::{Mode, SystemEntropy};
use crate::telemetry;

use super::Failure;
use super::database::Missing;
use super::demo::Demo;
use super::output::tell;
use super::service::Service;
use super::stop::Stop;

/// `bursar serve`.
pub(super) async fn serve(stop: &mut Stop) -> Result<ExitCode, Failure> {
    let settings = Settings::from_env()?;
    telemetry::init(&settings.log)?;
    let Some(service) = start(&settings, Missing::Refuse, stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    tracing::info!(
        mode = %settings.mode, url = service.public_url, listening = service.local_url,
        "serving; /llms.txt tells how to go on"
    );
    until_stopped(service, stop).await
}

/// Starts the service; nothing when it is told to stop meanwhile. What has been started by then is
/// taken down again when it is dropped.
async fn start(
    settings: &Settings,
    missing: Missing,
    stop: &mut Stop,
) -> Result<Option<Service>, Failure> {
    tokio::select! {
        started = Service::start(settings, missing) => Ok(Some(started?)),
        _ = stop.told() => Ok(None),
    }
}

async fn until_stopped(mut service: Service, stop: &mut Stop) -> Result<ExitCode, Failure> {
    let ended = tokio::select! {
        _ = stop.told() => None,
        ended = service.ended() => Some(ended),
    };
    tracing::info!("stopping");
    service.stop().await;
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(ended) => Err(ended.into()),
    }
}

/// `bursar demo`.
pub(super) async fn play(exit: bool, stop: &mut Stop) -> Result<ExitCode, Failure> {
    if mode_from_env()? == Mode::Live {
        return Err("BURSAR_MODE=live: the demo plays with test money; unset it".into());
    }
    let mut settings = Settings::from_env()?;
    // The story is the log.
    telemetry::init(&settings.log.quiet())?;
    let entropy = SystemEntropy;
    let operator = ApiKey::generate(&entropy, Mode::Test);
    if settings.admin_key_hash.is_none() {
        settings.admin_key_hash = Some(Secret::new(key_hash(operator.reveal())));
    } else {
        return Err("the demo makes an operator key of its own: unset BURSAR_ADMIN_KEY_HASH".into());
    }
    tell!("Bursar, test mode: no real money moves.");
    let Some(service) = start(&settings, Missing::Install, stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    tell!("Serving at {}", service.local_url);
    let demo = Demo {
        base: service.local_url.clone(),
        operator_key: operator.reveal().to_owned(),
        clock: service.clock.clone(),
        entropy: Arc::new(entropy),
    };
    let played = tokio::select! {
        played = tell_story(&demo, &service) => played,
        _ = stop.told() => {
            service.stop().await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    match played {
        Ok((customer, true)) if !exit => {
            say_what_next(&service.local_url, &customer, operator.reveal());
            until_stopped(service, stop).await
        }
        Ok((_, passed)) => {
            service.stop().await;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            service.stop().await;
            Err(error)
        }
    }
}

/// Plays the job and checks the ledger. Returns the agent's key and whether the checks passed.
async fn tell_story(demo: &Demo, service: &Service) -> Result<(String, bool), Failure> {
    let customer = demo.play().await?;
    tell!("\n━━ 18. The checks, recomputed from the transfers");
    let report = service.finance.check().await?;
    tell!("{report}");
    Ok((customer, report.passed()))
}

fn say_what_next(url: &str, customer: &str, operator: &str) {
    tell!(
        "\n━━ Still serving. Try:\n\
         \x20 {url}/llms.txt       the whole flow, for agents\n\
         \x20 {url}/docs           every endpoint and error\n\
         \x20 {url}/openapi.json   the same for programs\n\
         \x20 {url}/metrics        what is going on\n\
         \n\
         \x20 The demo agent's key, and a checkout with it:\n\
         \x20 curl -s {url}/api/v1/checkouts \\\n\
         \x20   -H 'Authorization: Bearer {customer}' \\\n\
         \x20   -H 'Idempotency-Key: my-first-order' -H 'Content-Type: application/json' \\\n\
         \x20   -d '{{\"items\":[{{\"sku\":\"verified-email\",\"quantity\":1}}],\"max_total\":\"1.00\"}}'\n\
         \n\
         \x20 Buy credits with a fresh test wallet:  bursar pay {url}/api/v1/credits/topup\n\
         \x20 The operator's key of this run:        {operator}\n\
         \n\
         Ctrl-C stops it."
    );
}
