//! What happens to every request before and after its handler, from the outside in:
//! [`envelope`] → [`read_body`] → [`limit_rate`] → [`limit_in_flight`] → routes.
//!
//! The envelope is outermost, so that every answer, refusals and panics included, carries the
//! request id, the mode and the CORS headers. The body is read before anything can refuse: several
//! clients break when they are answered while still sending.

mod body;
mod cors;
mod envelope;
mod in_flight;
mod rate_limit;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use actix_web::dev::ServiceRequest;
use actix_web::web;

use crate::ground::Entropy;
use crate::http::HttpSettings;
use crate::http::limiter::Limiter;

pub(in crate::http) use body::read_body;
pub(in crate::http) use envelope::envelope;
pub(in crate::http) use in_flight::limit_in_flight;
pub(in crate::http) use rate_limit::limit_rate;
pub use rate_limit::vouch;

/// What all workers of a server share.
pub(in crate::http) struct Shared {
    settings: HttpSettings,
    entropy: Arc<dyn Entropy>,
    limiter: Limiter,
    in_flight: Arc<AtomicUsize>,
    started: Instant,
}

impl Shared {
    pub(in crate::http) fn new(settings: HttpSettings, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            limiter: Limiter::new(settings.rate_entries_max),
            settings,
            entropy,
            in_flight: Arc::default(),
            started: Instant::now(),
        }
    }

    fn of(request: &ServiceRequest) -> Arc<Self> {
        let shared = request.app_data::<web::Data<Self>>();
        shared.expect("the server registers it with every app").clone().into_inner()
    }
}
