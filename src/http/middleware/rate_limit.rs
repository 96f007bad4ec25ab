use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, web};

use super::Shared;
use crate::ground::sha256;
use crate::http::extract::{self, Bearer};
use crate::http::limiter::{Decision, Subject};
use crate::http::{ClientAddress, Code, Problem, Quota};

/// Gives the key of this request a bucket of its own. Call it once the key has authenticated;
/// until then the key's requests count against the client's address.
pub fn vouch(request: &HttpRequest) {
    let shared = request.app_data::<web::Data<Shared>>();
    if let (Some(shared), Some(hash)) = (shared, key_hash(request.headers())) {
        shared.limiter.vouch(hash);
    }
}

/// Takes one request out of the bucket of the caller's key or address, before any work is done:
/// later, a payment may be under way that nothing may refuse.
pub(in crate::http) async fn limit_rate<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let shared = Shared::of(&request);
    let Some((name, subject, quota)) = bucket(&shared, &request) else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    let decision = shared.limiter.take(subject, quota, shared.started.elapsed());
    let mut response = if decision.allowed {
        next.call(request).await?.map_into_left_body()
    } else {
        let policy = format!("{} requests in {} s", quota.requests, quota.window.as_secs());
        let problem = Problem::new(Code::RateLimited)
            .detail(format!("this {name} may send {policy}"))
            .retry_after(decision.retry_seconds);
        request.error_response(problem).map_into_right_body()
    };
    tell(response.headers_mut(), name, quota, decision);
    Ok(response)
}

/// Which bucket a request is taken from; `None` when it is not counted.
fn bucket(shared: &Shared, request: &ServiceRequest) -> Option<(&'static str, Subject, Quota)> {
    if shared.settings.is_unbounded(request.path()) {
        return None;
    }
    if let Some(hash) = key_hash(request.headers()).filter(|hash| shared.limiter.is_vouched(*hash))
    {
        let quota = shared.settings.rate_per_key?;
        return Some(("key", Subject::Key(hash), quota));
    }
    let quota = shared.settings.rate_per_address?;
    let client = request.extensions().get::<ClientAddress>().copied()?;
    Some(("address", Subject::Address(client.bucket()), quota))
}

fn key_hash(headers: &HeaderMap) -> Option<[u8; 32]> {
    let Bearer(token) = extract::bearer(headers).ok()??;
    Some(sha256([b"rate".as_slice(), token.as_bytes()]))
}

/// The fields of the IETF draft: the policy, and what is left of it.
fn tell(headers: &mut HeaderMap, name: &str, quota: Quota, decision: Decision) {
    let Decision { remaining, reset_seconds, .. } = decision;
    let policy = format!("\"{name}\";q={};w={}", quota.requests, quota.window.as_secs().max(1));
    let left = format!("\"{name}\";r={remaining};t={reset_seconds}");
    for (field, text) in [("ratelimit-policy", policy), ("ratelimit", left)] {
        let value = HeaderValue::from_str(&text).expect("digits and names are header values");
        headers.insert(HeaderName::from_static(field), value);
    }
}
