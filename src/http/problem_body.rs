//! The members of a problem, for the wire and for the document.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{ToResponse, ToSchema};

use crate::http::{Code, PROBLEM_JSON, Problem};

/// What the client should do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Next {
    /// A word for programs.
    pub action: String,
    /// Where; absent when it is the same place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A sentence for readers.
    pub detail: String,
}

/// The members of a problem.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where the code is explained.
    #[serde(rename = "type")]
    #[schema(example = "/docs#error-insufficient_credits")]
    pub(super) kind: String,
    /// What happened, in general.
    pub(super) title: &'a str,
    /// The HTTP status.
    #[schema(example = 409)]
    pub(super) status: u16,
    // Described by its own schema: beside a description here, utoipa puts a wrong type.
    #[schema(inline)]
    pub(super) code: Code,
    /// What happened, this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
    /// The request's id, as in `Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<&'a str>,
    /// Whether the same request, sent again unchanged, may succeed.
    pub(super) retryable: bool,
    /// Seconds to wait before that, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_after: Option<u64>,
    #[schema(inline)]
    pub(super) next: &'a Next,
    /// The member, parameter or header at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<&'a str>,
    /// Everything that was violated.
    #[serde(skip_serializing_if = "<[Value]>::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub(super) violations: &'a [Value],
    /// Members of this code.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(super) extra: &'a Map<String, Value>,
}

impl<'r> ToResponse<'r> for Problem {
    fn response() -> (&'r str, RefOr<Response>) {
        let schema = Ref::from_schema_name("Problem");
        let response = ResponseBuilder::new()
            .description("A problem (RFC 9457): branch on `code`, follow `next`")
            .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema)).build())
            .build();
        ("Problem", response.into())
    }
}
