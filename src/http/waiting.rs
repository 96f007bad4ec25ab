//! The results that wait for a verdict, for whoever judges.

use actix_web::{HttpRequest, HttpResponse, get, web};

use crate::checkout::{WaitingPlace, WaitingResultView};
use crate::ground::Page;
use crate::http::Problem;
use crate::http::auth::{Granted, Verifier};
use crate::http::extract::ApiQuery;
use crate::http::paging::Paging;
use crate::http::state::AppState;

/// The results that wait for a verdict
///
/// By deadline, each with its evidence and what it is to be judged by. A verifier sees those about the
/// SKUs that it serves, the operator all. A page may have fewer results than asked for, or none, and
/// still be followed by another.
#[utoipa::path(
    tag = "checkouts",
    security(("api_key" = [])),
    params(Paging),
    responses(
        (status = 200, description = "A page of results", body = Page<WaitingResultView>),
        (status = 401, response = Problem),
        (status = 403, response = Problem),
        (status = 422, response = Problem),
    ),
)]
#[get("/api/v1/results")]
pub async fn list_waiting_results(
    state: web::Data<AppState>,
    request: HttpRequest,
    access: Granted<Verifier, ApiQuery<Paging>>,
) -> Result<HttpResponse, Problem> {
    let by = access.staff();
    let asked = access.asked.0.read::<WaitingPlace>()?;
    let found = state.checkouts.waiting_results(&by, asked.after.clone(), asked.rows()).await?;
    let (rows, looked_upto) = found;
    let mut page = asked.cut(rows, |row| row.place().to_string());
    if let (false, Some(upto)) = (page.has_more, looked_upto) {
        page.next_cursor = Some(upto.to_string());
        page.has_more = true;
    }
    Ok(asked.linked(request.path(), "", &page).json(page))
}
