//! What can be bought.

use actix_web::{HttpRequest, HttpResponse, get, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::checkout::{Criteria, Sku, SkuTerms, Verification, VerificationMode};
use crate::ground::{Amount, Page, VerifierId};
use crate::http::auth::{Granted, Operator};
use crate::http::extract::{ApiJson, ApiPath, ApiQuery};
use crate::http::fields::{
    CriteriaText, DeadlineSeconds, DecisionSeconds, JsonObject, Label, Price, SkuName, Title,
    WindowSeconds, word,
};
use crate::http::list::object;
use crate::http::paging::Paging;
use crate::http::state::AppState;
use crate::http::{Code, Problem};

/// Something that can be bought.
#[derive(Debug, Serialize, ToSchema)]
pub struct SkuView {
    /// Its name.
    #[schema(example = "lead.verified")]
    pub sku: String,
    /// What it is.
    #[schema(example = "A verified sales lead")]
    pub title: String,
    /// What one unit is.
    #[schema(example = "lead")]
    pub unit: String,
    /// The price of one unit.
    pub unit_price: Amount,
    /// What a result must be to be accepted.
    pub criteria: Criteria,
    /// How verdicts come about: with `push`, a verifier posts them; with `http`, Bursar calls it.
    pub verification: VerificationMode,
    /// Who is called, with `http`.
    pub verifier_id: Option<VerifierId>,
    /// How long after the checkout results may be submitted; the rest is released then.
    pub delivery_deadline_seconds: i32,
    /// How long after its submission a result may be judged; it is released then.
    pub verification_deadline_seconds: i32,
    /// How long after the capture a charge can be disputed and reversed.
    pub dispute_window_seconds: i32,
    /// How long after its beginning a dispute may be decided; it is upheld then.
    pub dispute_decision_seconds: i32,
    /// Whether it is on sale.
    pub active: bool,
    /// Counts the changes of its terms.
    pub version: i32,
    /// When this version began.
    pub updated_at: DateTime<Utc>,
}

/// The terms of a SKU.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "title": "A verified sales lead", "unit": "lead", "unit_price": "2.50",
    "criteria": {
        "schema": {"required": ["email"], "properties": {"email": {"format": "email"}}},
        "text": "The address accepts mail and is at most 30 days old.",
    },
    "delivery_deadline_seconds": 3600, "verification_deadline_seconds": 3600,
    "dispute_window_seconds": 604800,
}))]
pub struct SkuRequest {
    /// What it is.
    pub title: Title,
    /// What one unit is, such as `lead` or `page`.
    pub unit: Label,
    /// The price of one unit, more than nothing.
    pub unit_price: Price,
    /// What a result must be to be accepted.
    #[serde(deserialize_with = "object")]
    pub criteria: CriteriaRequest,
    /// How verdicts come about: with `push`, a verifier posts them; with `http`, Bursar calls it.
    #[serde(default = "push", deserialize_with = "word")]
    pub verification: VerificationMode,
    /// Who is called: required with `http`, else left out.
    pub verifier_id: Option<VerifierId>,
    /// How long after the checkout results may be submitted.
    pub delivery_deadline_seconds: DeadlineSeconds,
    /// How long after its submission a result may be judged.
    pub verification_deadline_seconds: DeadlineSeconds,
    /// How long after the capture a charge can be disputed and reversed.
    pub dispute_window_seconds: WindowSeconds,
    /// How long after its beginning a dispute may be decided; it is upheld then. 7 days unless said
    /// otherwise.
    #[serde(default = "a_week")]
    #[schema(default = a_week)]
    pub dispute_decision_seconds: DecisionSeconds,
    /// Whether it is on sale.
    #[serde(default = "on_sale")]
    pub active: bool,
}

/// What a result must be to be accepted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CriteriaRequest {
    /// A JSON Schema (2020-12) that evidence must meet, checked before anybody judges: at most 16384
    /// bytes, without recursion, and with references such as `#/$defs/name` only.
    pub schema: Option<JsonObject>,
    /// What else is asked of a result, in words.
    pub text: Option<CriteriaText>,
}

/// A SKU with a page of the versions of its terms.
#[derive(Debug, Serialize, ToSchema)]
pub struct SkuPage {
    #[serde(flatten)]
    sku: SkuView,
    #[serde(flatten)]
    versions: Page<SkuView>,
}

fn push() -> VerificationMode {
    VerificationMode::Push
}

fn a_week() -> DecisionSeconds {
    DecisionSeconds::WEEK
}

fn on_sale() -> bool {
    true
}

impl From<Sku> for SkuView {
    fn from(sku: Sku) -> Self {
        let Sku { sku, terms, version, updated_at } = sku;
        Self {
            sku,
            title: terms.title,
            unit: terms.unit,
            unit_price: terms.unit_price,
            criteria: terms.criteria,
            verification: terms.verification.mode(),
            verifier_id: terms.verification.verifier(),
            delivery_deadline_seconds: terms.delivery_deadline_s,
            verification_deadline_seconds: terms.verification_deadline_s,
            dispute_window_seconds: terms.dispute_window_s,
            dispute_decision_seconds: terms.dispute_decision_s,
            active: terms.active,
            version,
            updated_at,
        }
    }
}

impl TryFrom<SkuRequest> for SkuTerms {
    type Error = Problem;

    fn try_from(request: SkuRequest) -> Result<Self, Problem> {
        let misfit = |why| Problem::new(Code::ValidationFailed).field("verifier_id").detail(why);
        let verification = match (request.verification, request.verifier_id) {
            (VerificationMode::Push, None) => Verification::Push,
            (VerificationMode::Http, Some(verifier)) => Verification::Http(verifier),
            (VerificationMode::Http, None) => return Err(misfit("http says who is called")),
            (VerificationMode::Push, Some(_)) => return Err(misfit("push calls nobody")),
        };
        Ok(Self {
            title: request.title.into_string(),
            unit: request.unit.into_string(),
            unit_price: request.unit_price.get(),
            criteria: request.criteria.into(),
            verification,
            delivery_deadline_s: request.delivery_deadline_seconds.get(),
            verification_deadline_s: request.verification_deadline_seconds.get(),
            dispute_window_s: request.dispute_window_seconds.get(),
            dispute_decision_s: request.dispute_decision_seconds.get(),
            active: request.active,
        })
    }
}

impl From<CriteriaRequest> for Criteria {
    fn from(request: CriteriaRequest) -> Self {
        Self {
            schema: request.schema.map(JsonObject::into_value),
            text: request.text.map(CriteriaText::into_string),
        }
    }
}

/// The catalog
///
/// By SKU. Needs no key.
#[utoipa::path(
    tag = "checkouts",
    params(Paging),
    responses(
        (status = 200, description = "A page of the catalog", body = Page<SkuView>),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/catalog")]
pub async fn read_catalog(
    state: web::Data<AppState>,
    request: HttpRequest,
    paging: ApiQuery<Paging>,
) -> Result<HttpResponse, Problem> {
    let page = paging.0.read::<SkuName>()?;
    let after = page.after.as_ref().map_or("", SkuName::as_str);
    let rows = state.checkouts.catalog(after, page.rows()).await?;
    let rows: Vec<SkuView> = rows.into_iter().map(SkuView::from).collect();
    Ok(page.answer(&request, rows, |row| row.sku.clone()))
}

/// One SKU
///
/// As it is sold now, with every version of its terms in `data`, newest first: a checkout keeps the
/// version it was made under. Needs no key.
#[utoipa::path(
    tag = "checkouts",
    params(("sku" = SkuName, Path, description = "Its name"), Paging),
    responses(
        (status = 200, description = "The SKU, with a page of its versions", body = SkuPage),
        (status = 404, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/catalog/{sku}")]
pub async fn read_sku(
    state: web::Data<AppState>,
    request: HttpRequest,
    ApiPath(sku): ApiPath<SkuName>,
    paging: ApiQuery<Paging>,
) -> Result<HttpResponse, Problem> {
    let page = paging.0.read::<i32>()?;
    let (listed, rows) = state.checkouts.sku(sku.as_str(), page.after, page.rows()).await?;
    let rows = rows.into_iter().map(SkuView::from).collect();
    let versions = page.cut(rows, |row: &SkuView| row.version.to_string());
    let mut response = page.linked(request.path(), "", &versions);
    Ok(response.json(SkuPage { sku: listed.into(), versions }))
}

/// List a SKU or change its terms
///
/// Open checkouts keep the terms they were made with.
#[utoipa::path(
    tag = "admin",
    security(("api_key" = [])),
    params(("sku" = SkuName, Path, description = "Its name")),
    request_body = SkuRequest,
    responses(
        (status = 200, description = "The SKU as it is listed", body = SkuView),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[put("/api/v1/admin/catalog/{sku}")]
pub async fn list_sku(
    state: web::Data<AppState>,
    access: Granted<Operator, (ApiPath<SkuName>, ApiJson<SkuRequest>)>,
) -> Result<HttpResponse, Problem> {
    let (ApiPath(sku), ApiJson(request)) = access.asked;
    let listed = state.checkouts.list_sku(sku.as_str(), &request.try_into()?).await?;
    Ok(HttpResponse::Ok().json(SkuView::from(listed)))
}
