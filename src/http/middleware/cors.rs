use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web;

use crate::http::routes::RouteTable;

/// What browsers may send. The odd one is there because x402 clients send it as a request header.
const ALLOW_HEADERS: &str = "content-type, authorization, payment-signature, x-payment, \
    sign-in-with-x, access-control-expose-headers, idempotency-key, request-id";

/// What browsers may read.
const EXPOSE_HEADERS: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, Request-Id, \
    RateLimit, RateLimit-Policy, Retry-After, Idempotent-Replayed, ETag, Link, Location, \
    Bursar-Mode";

/// What an unknown path is said to allow: the problem that follows is more use than a CORS error.
const METHODS: &str = "GET, HEAD, OPTIONS, POST, PUT";

/// Lets any origin read the answer. There are no cookies, so that gives away nothing.
pub(super) fn expose(headers: &mut HeaderMap) {
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    let exposed = HeaderValue::from_static(EXPOSE_HEADERS);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

/// The answer to OPTIONS, whatever the path: 204, never 402.
pub(super) fn preflight(request: &ServiceRequest) -> HttpResponse {
    let routes = request.app_data::<web::Data<RouteTable>>();
    let known = routes.and_then(|routes| routes.allow(request.path()));
    let methods = known.unwrap_or_else(|| METHODS.to_owned());
    HttpResponse::NoContent()
        .insert_header((header::ALLOW, methods.clone()))
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, "86400"))
        .finish()
}
