use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use crate::ground::{Entropy, IdempotencyKey};
use crate::http::{ClientAddress, Code, Problem};

/// The request's id: the client's when it is sane, else ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

/// The required `Idempotency-Key`.
#[derive(Clone, Debug)]
pub struct IdempotencyHeader(pub IdempotencyKey);

/// An `Idempotency-Key` that may be absent, but not malformed.
#[derive(Clone, Debug)]
pub struct OptionalIdempotencyHeader(pub Option<IdempotencyKey>);

/// The required token of `Authorization: Bearer`.
#[derive(Clone)]
pub struct Bearer(pub String);

/// The token of `Authorization: Bearer`, which may be absent. Another scheme is refused.
#[derive(Clone, Debug)]
pub struct OptionalBearer(pub Option<Bearer>);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl RequestId {
    /// The longest id taken over from a client.
    const LENGTH_MAX: usize = 128;

    /// The id that the client sent, if it is one that logs and headers can carry, else a fresh one.
    pub fn accept(headers: &HeaderMap, entropy: &dyn Entropy) -> Self {
        let sane = |text: &&str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
            (1..=Self::LENGTH_MAX).contains(&text.len()) && text.bytes().all(plain)
        };
        let sent = ["request-id", "x-request-id"]
            .into_iter()
            .find_map(|name| headers.get(name).and_then(|value| value.to_str().ok()).filter(sane));
        match sent {
            Some(id) => Self(id.to_owned()),
            None => Self(format!("req_{}", hex::encode(entropy.array::<16>()))),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromRequest for RequestId {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().cloned();
        ready(known.ok_or_else(|| Problem::new(Code::Internal)))
    }
}

impl FromRequest for ClientAddress {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let known = request.extensions().get::<Self>().copied();
        ready(known.ok_or_else(|| Problem::new(Code::Internal)))
    }
}

impl FromRequest for IdempotencyHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || Problem::new(Code::IdempotencyKeyMissing).field("Idempotency-Key");
        ready(idempotency_key(request).and_then(|key| key.ok_or_else(missing)).map(Self))
    }
}

impl FromRequest for OptionalIdempotencyHeader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(idempotency_key(request).map(Self))
    }
}

impl FromRequest for Bearer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let missing = || Problem::new(Code::Unauthenticated).field("Authorization");
        ready(bearer(request.headers()).and_then(|token| token.ok_or_else(missing)))
    }
}

impl FromRequest for OptionalBearer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(bearer(request.headers()).map(Self))
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<IdempotencyKey>, Problem> {
    let malformed = || Problem::new(Code::IdempotencyKeyMalformed).field("Idempotency-Key");
    let mut sent = request.headers().get_all("idempotency-key");
    let Some(value) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(malformed().detail("the header is there more than once"));
    }
    let text = value.to_str().map_err(|_| malformed())?;
    text.trim().parse().map(Some).map_err(|error| malformed().detail(format!("{error}")))
}

/// The one bearer token of a request, if any.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Result<Option<Bearer>, Problem> {
    let malformed = || Problem::new(Code::Unauthenticated).field("Authorization");
    let mut sent = headers.get_all(header::AUTHORIZATION);
    let Some(value) = sent.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| malformed())?;
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && sent.next().is_none() => {
            Ok(Some(Bearer(token.trim().to_owned())))
        }
        _ => Err(malformed().detail("send one Authorization header of the form: Bearer <key>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::SeededEntropy;
    use actix_web::test::TestRequest;

    fn request(headers: &[(&'static str, &str)]) -> HttpRequest {
        let start = TestRequest::default();
        headers.iter().fold(start, |r, header| r.append_header(*header)).to_http_request()
    }

    #[test]
    fn only_a_sane_request_id_is_echoed() {
        let entropy = SeededEntropy::new(1);
        let id = |name, text: &str| RequestId::accept(request(&[(name, text)]).headers(), &entropy);
        assert_eq!(id("request-id", "abc-1.2:3_4").as_str(), "abc-1.2:3_4");
        assert_eq!(id("x-request-id", "abc").as_str(), "abc");
        let long = "x".repeat(129);
        for insane in ["", "a b", "a\"b", "<script>", long.as_str()] {
            assert!(id("request-id", insane).as_str().starts_with("req_"), "{insane}");
        }
    }

    #[test]
    fn an_idempotency_key_is_one_and_well_formed() {
        let key = |headers: &[(&'static str, &str)]| {
            idempotency_key(&request(headers)).map_err(|problem| problem.code())
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&[("idempotency-key", "\"k1\"")]), Ok("k1".parse().ok()));
        let malformed = Err(Code::IdempotencyKeyMalformed);
        assert_eq!(key(&[("idempotency-key", "")]), malformed);
        assert_eq!(key(&[("idempotency-key", "a"), ("idempotency-key", "b")]), malformed);
    }

    #[test]
    fn a_bearer_token_is_one_and_never_printed() {
        let token = |headers: &[(&'static str, &str)]| {
            bearer(request(headers).headers()).map(|t| t.map(|t| t.0)).map_err(|p| p.code())
        };
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[("authorization", "bearer  k")]), Ok(Some("k".to_owned())));
        let refused = Err(Code::Unauthenticated);
        assert_eq!(token(&[("authorization", "Basic eA==")]), refused);
        assert_eq!(token(&[("authorization", "Bearer")]), refused);
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(token(&twice), refused);
        assert!(!format!("{:?}", Bearer("secret".to_owned())).contains("secret"));
    }
}
