//! RFC 9457 problems: the one form of every error that leaves the process.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder, ResponseError};
use serde_json::{Map, Value};

use crate::http::{Code, Next, ProblemBody};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why writing a problem cannot fail.
const PLAIN: &str = "strings, numbers and JSON values always serialize";

/// An error as the client sees it. Everything general comes from its [`Code`]; the rest is added.
pub struct Problem(Box<Parts>);

struct Parts {
    code: Code,
    detail: Option<String>,
    field: Option<String>,
    violations: Vec<Value>,
    next: Next,
    extra: Map<String, Value>,
    retry_after: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Members that [`Problem::with`] may not take.
    const RESERVED: [&'static str; 11] = [
        "type",
        "title",
        "status",
        "code",
        "detail",
        "instance",
        "retryable",
        "retry_after",
        "next",
        "field",
        "violations",
    ];
    /// Longest detail that is sent: a parser's message may quote what the client sent.
    const DETAIL_MAX: usize = 400;

    /// A problem with what the table says of its code.
    pub fn new(code: Code) -> Self {
        let facts = code.facts();
        let waits = facts.retryable && facts.status != 500;
        Self(Box::new(Parts {
            code,
            detail: None,
            field: None,
            violations: Vec::new(),
            next: Next {
                action: facts.action.to_owned(),
                url: (!facts.url.is_empty()).then(|| facts.url.to_owned()),
                detail: facts.hint.to_owned(),
            },
            extra: Map::new(),
            retry_after: waits.then_some(1),
            headers: Vec::new(),
        }))
    }

    /// An unexpected fault: the chain of causes goes to the log, the client gets the code alone.
    pub fn fault(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<_> = std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect();
        tracing::error!(code = code.as_str(), error = causes.join(": "), "request failed");
        Self::new(code)
    }

    /// Says what happened this time.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > Self::DETAIL_MAX {
            detail.truncate(detail.floor_char_boundary(Self::DETAIL_MAX));
            detail.push('…');
        }
        self.0.detail = Some(detail);
        self
    }

    /// Names the member, parameter or header at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Adds one of several violations.
    pub fn violation(mut self, violation: impl Into<Value>) -> Self {
        self.0.violations.push(violation.into());
        self
    }

    /// Adds a member of this code. Members of every problem are refused.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        debug_assert!(!Self::RESERVED.contains(&name), "{name} has a method of its own");
        if !Self::RESERVED.contains(&name) {
            self.0.extra.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Says what to do, where the table's word is not the best.
    pub fn next(mut self, next: Next) -> Self {
        self.0.next = next;
        self
    }

    /// Says where to do it.
    pub fn next_url(mut self, url: impl Into<String>) -> Self {
        self.0.next.url = Some(url.into());
        self
    }

    /// Says how many seconds to wait; sent as `Retry-After` too.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The body, with the request's id once that is known.
    pub fn to_json(&self, instance: Option<&str>) -> String {
        serde_json::to_string(&self.body(instance)).expect(PLAIN)
    }

    /// The members as a JSON object, for an answer that carries them beside its own.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self.body(None)).expect(PLAIN)
    }

    fn body<'a>(&'a self, instance: Option<&'a str>) -> ProblemBody<'a> {
        let Parts { code, detail, field, violations, next, extra, retry_after, .. } = &*self.0;
        let facts = code.facts();
        ProblemBody {
            kind: format!("/docs#error-{}", facts.code),
            title: facts.title,
            status: facts.status,
            code: *code,
            detail: detail.as_deref(),
            instance,
            retryable: facts.retryable,
            retry_after: *retry_after,
            next,
            field: field.as_deref(),
            violations,
            extra,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.as_str())?;
        match &self.0.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json(None))
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(PROBLEM_JSON);
        if let Some(seconds) = self.0.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        for header in &self.0.headers {
            response.append_header((header.0.clone(), header.1.clone()));
        }
        response.body(self.to_json(None))
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse<BoxBody> {
        // As an error, so that the outermost middleware finds it and adds the request's id.
        HttpResponse::from_error(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_says_everything_once() {
        let problem = Problem::new(Code::InsufficientCredits)
            .detail("3.00 short")
            .with("shortfall", "3.00")
            .violation(json!({"cap": "day"}));
        let body: Value = serde_json::from_str(&problem.to_json(Some("req_1"))).unwrap();
        let expected = json!({
            "type": "/docs#error-insufficient_credits", "title": "Not enough credits",
            "status": 409, "code": "insufficient_credits", "detail": "3.00 short",
            "instance": "req_1",
            "retryable": false, "shortfall": "3.00", "violations": [{"cap": "day"}],
            "next": {
                "action": "top_up", "url": "/api/v1/credits/topup",
                "detail": "Top up, then repeat the request with a new Idempotency-Key.",
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn headers_follow_the_members() {
        let response = Problem::new(Code::RateLimited).retry_after(7).error_response();
        assert_eq!(response.headers().get("retry-after").unwrap(), "7");
        assert_eq!(response.headers().get("content-type").unwrap(), PROBLEM_JSON);
        let response = Problem::new(Code::KeyExpired).error_response();
        assert_eq!(response.headers().get("www-authenticate").unwrap(), "Bearer");
    }

    #[test]
    fn a_detail_is_bounded() {
        let problem = Problem::new(Code::ValidationFailed).detail("é".repeat(5_000));
        assert!(problem.to_json(None).len() < 1_000);
    }
}
