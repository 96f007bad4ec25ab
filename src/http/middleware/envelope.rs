use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse};
use bytes::Bytes;
use futures_util::FutureExt;
use tracing::Instrument;

use super::{Shared, cors};
use crate::ground::Mode;
use crate::http::extract::RequestId;
use crate::http::{ClientAddress, Code, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const BURSAR_MODE: HeaderName = HeaderName::from_static("bursar-mode");

/// Names the request, answers preflights, and makes every answer fit to leave: errors of any
/// origin and panics become problems, and all of them get the headers of every answer.
pub(in crate::http) async fn envelope<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let shared = Shared::of(&request);
    let started = Instant::now();
    let seal = Seal {
        id: RequestId::accept(request.headers(), &*shared.entropy),
        mode: shared.settings.mode,
        head_only: request.method() == Method::HEAD,
    };
    let (id, method, path) = (seal.id.as_str(), request.method().as_str(), request.path());
    let span = tracing::info_span!("request", request_id = id, method, path);
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let proxies = &shared.settings.trusted_proxies;
    let client = ClientAddress::find(peer, request.headers(), proxies);
    request.extensions_mut().insert(seal.id.clone());
    request.extensions_mut().insert(client);
    if request.method() == Method::OPTIONS {
        let response = seal.close(cors::preflight(&request));
        return Ok(request.into_response(response));
    }
    if seal.head_only {
        // Routes know GET only. The encoder has seen the real method and sends no body.
        request.head_mut().method = Method::GET;
    }
    let work = AssertUnwindSafe(async { next.call(request).await });
    let outcome = work.catch_unwind().instrument(span.clone()).await;
    span.in_scope(|| {
        let outcome = match outcome {
            Ok(Ok(response)) => {
                let (request, response) = response.into_parts();
                let response = seal.close(response.map_into_boxed_body());
                Ok(ServiceResponse::new(request, response))
            }
            Ok(Err(error)) => Err(seal.close(HttpResponse::from_error(error))),
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a handler panicked");
                Err(seal.close(HttpResponse::from_error(Problem::new(Code::Internal))))
            }
        };
        let status = outcome.as_ref().map_or_else(HttpResponse::status, ServiceResponse::status);
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(status = status.as_u16(), micros, "answered");
        // Without the request there is nothing to answer to, so the answer travels as an error.
        outcome.map_err(|response| InternalError::from_response("answered", response).into())
    })
}

/// What every answer to one request is given.
struct Seal {
    id: RequestId,
    mode: Mode,
    head_only: bool,
}

impl Seal {
    fn close(&self, response: HttpResponse) -> HttpResponse {
        let mut response = self.with_problem(response);
        let headers = response.headers_mut();
        let id = HeaderValue::from_str(self.id.as_str());
        headers.insert(REQUEST_ID, id.expect("an accepted or generated id is plain ASCII"));
        headers.insert(BURSAR_MODE, HeaderValue::from_static(self.mode.as_str()));
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        cors::expose(headers);
        if self.head_only {
            return response.map_body(|_, body| BoxBody::new(Unsent(body.size())));
        }
        response
    }

    /// Problems get the request's id; errors that are not ours become problems.
    fn with_problem(&self, response: HttpResponse) -> HttpResponse {
        let ours = response.error().and_then(|error| error.as_error::<Problem>());
        if let Some(problem) = ours {
            let body = problem.to_json(Some(self.id.as_str()));
            return response.set_body(BoxBody::new(body));
        }
        let status = response.status();
        let bare = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        let foreign = response.error().is_some() || bare;
        // A 402 carries x402 terms and nothing else.
        if !foreign || status.as_u16() < 400 || status == StatusCode::PAYMENT_REQUIRED {
            return response;
        }
        let mut problem = Problem::new(Code::of_status(status.as_u16()));
        if let Some(error) = response.error().filter(|_| status.is_client_error()) {
            problem = problem.detail(error.to_string());
        }
        self.with_problem(HttpResponse::from_error(problem))
    }
}

/// The answer to HEAD: as long as the body would be, and not sent.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
