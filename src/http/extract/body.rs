use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::http::{Code, Problem};

/// A JSON object of a known shape.
#[derive(Clone, Debug)]
pub struct ApiJson<T>(pub T);

/// A JSON object of a known shape, or no body at all.
#[derive(Clone, Debug)]
pub struct OptionalJson<T>(pub Option<T>);

/// The body as it came, whatever its content type says, or why there is none. Extracting it never
/// fails: the top-up answers its terms to everything.
#[derive(Clone, Debug)]
pub struct RawBody(pub Result<Bytes, BodyFault>);

/// What the body middleware read; kept with the request.
#[derive(Clone, Debug)]
pub struct Received(pub Result<Bytes, BodyFault>);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than what is read.
    #[error("the body is larger than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// It did not arrive whole, or not in time.
    #[error("the body did not arrive whole and in time")]
    Incomplete,
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { max } => {
                Self::new(Code::PayloadTooLarge).detail(fault.to_string()).with("max_bytes", max)
            }
            BodyFault::Incomplete => Self::new(Code::MalformedRequest).detail(fault.to_string()),
        }
    }
}

impl<T: DeserializeOwned> FromRequest for ApiJson<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(received(request).and_then(|bytes| read_json(request, &bytes)).map(Self))
    }
}

impl<T: DeserializeOwned> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = received(request).and_then(|bytes| {
            if bytes.is_empty() { Ok(None) } else { read_json(request, &bytes).map(Some) }
        });
        ready(value.map(Self))
    }
}

impl FromRequest for RawBody {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let received = request.extensions().get::<Received>().cloned();
        ready(Ok(Self(received.map_or(Ok(Bytes::new()), |received| received.0))))
    }
}

impl RawBody {
    /// The JSON in it. The content type is not looked at.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        match &self.0 {
            Ok(bytes) => parse_json(bytes),
            Err(fault) => Err((*fault).into()),
        }
    }
}

fn received(request: &HttpRequest) -> Result<Bytes, Problem> {
    match request.extensions().get::<Received>() {
        Some(Received(Ok(bytes))) => Ok(bytes.clone()),
        Some(Received(Err(fault))) => Err((*fault).into()),
        None => Ok(Bytes::new()),
    }
}

fn read_json<T: DeserializeOwned>(request: &HttpRequest, bytes: &[u8]) -> Result<T, Problem> {
    let json = matches!(request.mime_type(), Ok(Some(mime))
        if mime.subtype() == "json" || mime.suffix().is_some_and(|suffix| suffix == "json"));
    if !json {
        return Err(Problem::new(Code::UnsupportedMediaType).field("Content-Type"));
    }
    let coded = request.headers().get(header::CONTENT_ENCODING);
    if coded.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Code::UnsupportedMediaType).field("Content-Encoding"));
    }
    parse_json(bytes)
}

/// Broken JSON is 400, JSON of another shape 422.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let reason = error.inner().to_string();
        match error.inner().classify() {
            Category::Data => Problem::from(super::Misfit { field, reason }),
            Category::Io | Category::Syntax | Category::Eof => {
                Problem::new(Code::MalformedRequest).detail(reason)
            }
        }
    })?;
    json.end().map_err(|e| Problem::new(Code::MalformedRequest).detail(e.to_string()))?;
    // Serde reads a struct from an array of its members too; a client that sends one is wrong.
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Ok(value),
        _ => Err(Problem::new(Code::ValidationFailed).detail("a JSON object is expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only parsing is tested")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[expect(dead_code, reason = "only parsing is tested")]
        quantity: u32,
    }

    fn refusal(text: &str) -> (String, Option<String>) {
        let problem = parse_json::<Order>(text.as_bytes()).unwrap_err();
        let body: serde_json::Value = serde_json::from_str(&problem.to_json(None)).unwrap();
        let field = body["field"].as_str().map(str::to_owned);
        (body["code"].as_str().unwrap().to_owned(), field)
    }

    #[test]
    fn broken_json_and_other_shapes_are_told_apart() {
        assert!(parse_json::<Order>(br#"{"items":[{"quantity":1}]}"#).is_ok());
        let malformed = ("malformed_request".to_owned(), None);
        for text in ["", "{", "nonsense", r#"{"items":[]} trailing"#, "\u{0}"] {
            assert_eq!(refusal(text), malformed, "{text}");
        }
        let misfit =
            |field: Option<&str>| ("validation_failed".to_owned(), field.map(str::to_owned));
        assert_eq!(refusal(r#"{"items":[{"quantity":"1"}]}"#), misfit(Some("items[0].quantity")));
        assert_eq!(refusal(r#"{"items":[{"quantity":-1}]}"#), misfit(Some("items[0].quantity")));
        assert_eq!(refusal(r#"{"items":[{}]}"#), misfit(Some("items[0]")));
        assert_eq!(refusal(r#"{"items":[],"tip":1}"#), misfit(Some("tip")));
        assert_eq!(refusal("7"), misfit(None));
        assert_eq!(refusal("[[]]"), misfit(None));
        let nested = "[".repeat(60_000);
        let error = parse_json::<serde_json::Value>(nested.as_bytes()).unwrap_err();
        assert_eq!(error.code(), Code::MalformedRequest);
    }
}
