use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use super::Shared;
use crate::http::{Code, Problem};

/// A place among the requests that are worked on; given back when dropped, so that a client which
/// hangs up or a handler which panics gives it back too.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let place = Self(Arc::clone(taken));
        // On refusal the guard's drop undoes the addition.
        if taken.fetch_add(1, Ordering::Relaxed) < max { Some(place) } else { None }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Works on so many requests at once and refuses the rest at once, rather than letting all wait.
pub(in crate::http) async fn limit_in_flight<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let shared = Shared::of(&request);
    let unbounded = shared.settings.is_unbounded(request.path());
    let max = if unbounded { usize::MAX } else { shared.settings.in_flight_max };
    match Place::take(&shared.in_flight, max) {
        Some(_place) => Ok(next.call(request).await?.map_into_left_body()),
        None => {
            let refused = request.error_response(Problem::new(Code::Overloaded));
            Ok(refused.map_into_right_body())
        }
    }
}
