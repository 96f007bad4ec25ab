//! Finding a top-up by what its buyer has at hand: its own name for the payment, the authorization
//! that it signed, or the transaction that the chain shows.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::{HttpResponse, get, web};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::accounts::Principal;
use crate::ground::{BookId, IdempotencyKey, Page};
use crate::http::auth::OptionalCaller;
use crate::http::extract::ApiQuery;
use crate::http::state::AppState;
use crate::http::{Code, Problem};
use crate::x402::topup::TopupRecord;
use crate::x402::{Address, Nonce};

use super::answer::{self, Share, Standing, TopupView};
use super::problem;

/// How many top-ups of one transaction are shown.
const SHOWN_MAX: usize = 100;

/// By which of its names a top-up is looked for.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TopupQuery {
    /// The buyer's own name: the `payment-identifier` or `Idempotency-Key` that the payment was sent
    /// with. Without a key, name `payer` beside it.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    payment_id: Option<IdempotencyKey>,
    /// The paying wallet, beside `nonce` or `payment_id`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    payer: Option<Address>,
    /// The authorization's nonce, beside `payer`.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    nonce: Option<Nonce>,
    /// The hash of the settlement's transaction.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<String>)]
    transaction: Option<Nonce>,
    /// The account that the payment named in its body, beside `payment_id` and `payer`.
    account_id: Option<BookId>,
}

/// Find top-ups
///
/// By `payment_id` (with a key of the account, or with `payer`), by `payer` and `nonce`, or by
/// `transaction`. Without a key of the credited account each is shown as anybody may see it.
#[utoipa::path(
    tag = "credits",
    params(TopupQuery),
    responses(
        (status = 200, description = "The top-ups that go by that name", body = Page<TopupView>),
        (status = 422, response = Problem),
    ),
    security((), ("api_key" = []))
)]
#[get("/api/v1/topups")]
pub async fn find_topups(
    query: ApiQuery<TopupQuery>,
    caller: OptionalCaller,
    state: web::Data<AppState>,
) -> Result<HttpResponse, Problem> {
    let caller = caller.0.as_ref();
    let records = found(&state, &query.0, caller).await?;
    let mut views = Vec::new();
    for record in &records {
        let share = Share::of(record, caller, Standing::Looked);
        views.push(answer::view(&state, record, share).await?);
    }
    Ok(HttpResponse::Ok().json(Page::cut(views, SHOWN_MAX, |view| view.topup_id.clone())))
}

async fn found(
    state: &AppState,
    query: &TopupQuery,
    caller: Option<&Principal>,
) -> Result<Vec<TopupRecord>, Problem> {
    let TopupQuery { payment_id, payer, nonce, transaction, account_id } = query;
    let topups = &state.topups;
    let payer = payer.map(|payer| payer.lower());
    match (payment_id, &payer, nonce, transaction, account_id) {
        (Some(id), payer, None, None, named) => {
            let own = caller.map(|caller| caller.account);
            let scope = match (own, named, payer) {
                (_, Some(_), None) | (None, None, None) => return Err(incomplete("payer")),
                (own, named, payer) => {
                    let account = named.or(own.filter(|_| payer.is_none()));
                    (account, payer.as_deref())
                }
            };
            let record = topups.by_payment_id(id, scope.0, scope.1).await.map_err(problem)?;
            Ok(record.into_iter().collect())
        }
        (None, Some(payer), Some(nonce), None, None) => {
            topups.by_authorization(payer, &nonce.to_string()).await.map_err(problem)
        }
        (None, None, None, Some(transaction), None) => {
            topups.by_transaction(&transaction.to_string()).await.map_err(problem)
        }
        (None, Some(_), None, None, _) => Err(incomplete("nonce")),
        (None, None, Some(_), None, _) => Err(incomplete("payer")),
        _ => {
            let detail = "name payment_id, or payer and nonce, or transaction";
            Err(Problem::new(Code::ValidationFailed).detail(detail))
        }
    }
}

fn incomplete(field: &str) -> Problem {
    Problem::new(Code::ValidationFailed).field(field).detail(format!("{field} is missing"))
}

/// A member that reads itself from a text.
fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}
