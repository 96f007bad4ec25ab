//! The OpenAPI document, collected from the very routes that are served.

use actix_web::http::{Method, header};
use actix_web::{HttpResponse, get, web};
use bytes::Bytes;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{Modify, OpenApi};
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::{Problem, ProblemBody};

/// What the document says besides its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bursar",
        description = "Prepaid credits for software agents: top up over x402, spend in capped and \
            verified checkouts. Amounts are decimal strings in US dollars; one credit is one \
            dollar. Every error is problem+json with a stable code. /llms.txt walks through the \
            whole flow.",
        contact()
    ),
    servers((url = "/", description = "This service")),
    tags(
        (name = "accounts", description = "Accounts and API keys"),
        (name = "credits", description = "Top-ups and the prepaid balance"),
        (name = "wallets", description = "Claiming the account of a paying wallet"),
        (name = "checkouts", description = "Spending: catalog, checkouts, results, charges"),
        (name = "events", description = "What happened: the feed, and webhooks"),
        (name = "ledger", description = "Exports and proofs"),
        (name = "admin", description = "For the operator"),
        (name = "sandbox", description = "Test dollars, in test mode only"),
        (name = "service", description = "Health, metrics and documents"),
    ),
    components(schemas(ProblemBody), responses(Problem)),
    modifiers(&Base),
)]
struct ApiDoc;

struct Base;

impl Modify for Base {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        document.info.license = None;
        document.info.contact = None;
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("bur_test_… or bur_live_…")
            .description(Some("An API key; POST /api/v1/accounts gives one"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(API_KEY, SecurityScheme::Http(key));
    }
}

/// The name of the security scheme that handlers refer to: `security(("api_key" = []))`.
pub const API_KEY: &str = "api_key";

/// The document before any route is added.
pub fn base() -> utoipa::openapi::OpenApi {
    ApiDoc::openapi()
}

/// The document of the routes that `configure` adds.
pub fn document(configure: impl FnOnce(&mut ServiceConfig<'_>)) -> utoipa::openapi::OpenApi {
    let app = actix_web::App::new().into_utoipa_app().openapi(base());
    let (_, document) = app.service(openapi_json).configure(configure).split_for_parts();
    complete(document)
}

/// Gives every operation the answer that all of them share, a problem, and says of bodies only what
/// is so.
pub(in crate::http) fn complete(
    mut document: utoipa::openapi::OpenApi,
) -> utoipa::openapi::OpenApi {
    for item in document.paths.paths.values_mut() {
        for operation in operations_mut(item) {
            let problem = RefOr::Ref(Ref::from_response_name("Problem"));
            operation.responses.responses.entry("default".to_owned()).or_insert(problem);
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                body.content.values_mut().filter_map(schema_mut).for_each(drop_null);
            }
        }
    }
    document
}

fn schema_mut(content: &mut RefOr<Content>) -> Option<&mut RefOr<Schema>> {
    match content {
        RefOr::T(content) => content.schema.as_mut(),
        RefOr::Ref(_) => None,
    }
}

/// A body that may be left out is described as one that may be null, which is not the same.
fn drop_null(schema: &mut RefOr<Schema>) {
    let null = SchemaType::Type(Type::Null);
    let is_null =
        |one: &RefOr<Schema>| matches!(one, RefOr::T(Schema::Object(o)) if o.schema_type == null);
    match schema {
        RefOr::T(Schema::OneOf(alternatives)) => {
            alternatives.items.retain(|one| !is_null(one));
            if let [only] = &alternatives.items[..] {
                *schema = only.clone();
            }
        }
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|one| *one != Type::Null);
                if let [only] = &types[..] {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        _ => {}
    }
}

/// The operations of a path.
pub fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, patch, delete, .. } = item;
    [get, put, post, patch, delete].into_iter().filter_map(Option::as_mut)
}

/// The serialized document, kept by the server.
#[derive(Clone, Debug)]
pub(in crate::http) struct OpenApiJson(pub Bytes);

impl OpenApiJson {
    pub(in crate::http) fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let json = document.to_json().expect("a document of plain strings and maps serializes");
        Self(Bytes::from(json))
    }
}

/// This document
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"),
))]
#[get("/openapi.json")]
pub(in crate::http) async fn openapi_json(document: web::Data<OpenApiJson>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .body(document.0.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn json() -> Value {
        serde_json::from_str(&document(|_| ()).to_json().unwrap()).unwrap()
    }

    #[test]
    fn the_base_is_openapi_3_1_without_license() {
        let json = json();
        assert_eq!(json["openapi"], "3.1.0");
        assert_eq!(json["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["info"]["license"], Value::Null);
        assert_eq!(json["components"]["securitySchemes"]["api_key"]["scheme"], "bearer");
    }

    #[test]
    fn every_operation_may_answer_a_described_problem() {
        let json = json();
        let answers = &json["paths"]["/openapi.json"]["get"]["responses"];
        assert_eq!(answers["default"]["$ref"], "#/components/responses/Problem");
        let problem = &json["components"]["responses"]["Problem"];
        assert!(problem["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(problem["content"]["application/problem+json"]["schema"].is_object());
        let parts = json["components"]["schemas"]["Problem"]["allOf"].as_array().unwrap();
        let code = parts.iter().map(|part| &part["properties"]["code"]).find(|c| c.is_object());
        let code = code.unwrap();
        assert_eq!(code["type"], "string", "{code}");
        assert_eq!(code["enum"].as_array().unwrap().len(), crate::http::Code::ALL.len(), "{code}");
    }
}
