use actix_web::Error;
use actix_web::HttpMessage;
use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;

use super::Shared;
use crate::http::extract::{BodyFault, Received};

/// How many times the allowed size is read and thrown away, so that a client which sends too much
/// still gets to read why.
const DRAIN_FACTOR: usize = 16;

/// Reads the body, bounded in size and time, and leaves it with the request for the extractors.
/// What is wrong with it is theirs to say: the top-up answers 402 to a body of any kind.
pub(in crate::http) async fn read_body<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let shared = Shared::of(&request);
    let settings = &shared.settings;
    let announced = announced_length(&request);
    let payload = request.take_payload();
    let reading = receive(payload, settings.body_bytes_max, announced);
    let received = match tokio::time::timeout(settings.body_timeout, reading).await {
        Ok(received) => received,
        Err(_) => Err(BodyFault::Incomplete),
    };
    if let Ok(bytes) = &received {
        request.set_payload(again(bytes.clone()));
    }
    request.extensions_mut().insert(Received(received));
    next.call(request).await
}

fn announced_length(request: &ServiceRequest) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH);
    length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

async fn receive(mut payload: Payload, max: usize, announced: usize) -> Result<Bytes, BodyFault> {
    let drain_max = max.saturating_mul(DRAIN_FACTOR);
    if announced > drain_max {
        return Err(BodyFault::TooLarge { max });
    }
    let mut body = BytesMut::new();
    let mut total: usize = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyFault::Incomplete)?;
        total = total.saturating_add(chunk.len());
        if total > drain_max {
            return Err(BodyFault::TooLarge { max });
        }
        if total <= max {
            body.extend_from_slice(&chunk);
        }
    }
    if total > max { Err(BodyFault::TooLarge { max }) } else { Ok(body.freeze()) }
}

/// The body as a payload, for extractors that are not ours.
fn again(bytes: Bytes) -> Payload {
    if bytes.is_empty() {
        return Payload::None;
    }
    Payload::Stream { payload: Box::pin(stream::once(async move { Ok(bytes) })) }
}
