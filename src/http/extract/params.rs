use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{Path, Query};
use actix_web::{FromRequest, HttpRequest};
use serde::de::DeserializeOwned;

use super::{Located, Misfit};
use crate::http::{Code, Problem};

/// The parameters of the path. What cannot be an id is not found.
#[derive(Clone, Debug)]
pub struct ApiPath<T>(pub T);

/// The parameters of the query.
#[derive(Clone, Debug)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequest for ApiPath<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let not_found = |reason: String| Problem::new(Code::NotFound).detail(reason);
        let value = match Path::<Located<T>>::from_request(request, payload).into_inner() {
            Ok(path) => path.into_inner().0.map_err(|misfit| {
                let alone = request.match_info().iter().map(|(name, _)| name).next();
                let field = if misfit.field == "." { alone } else { Some(&*misfit.field) };
                let problem = not_found(misfit.reason.clone());
                field.map_or_else(|| not_found(misfit.reason.clone()), |f| problem.field(f))
            }),
            Err(error) => Err(not_found(error.to_string())),
        };
        ready(value.map(Self))
    }
}

impl<T: DeserializeOwned> FromRequest for ApiQuery<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let value = match Query::<Located<T>>::from_query(request.query_string()) {
            Ok(query) => query.into_inner().0.map_err(Problem::from),
            Err(error) => {
                let reason = error.to_string();
                Err(Misfit { field: String::new(), reason }.into())
            }
        };
        ready(value.map(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use serde::Deserialize;

    use crate::ground::CheckoutId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Listing {
        limit: Option<u32>,
        #[serde(default)]
        after: String,
    }

    fn query(text: &str) -> Result<Listing, Problem> {
        let request = TestRequest::with_uri(&format!("/x?{text}")).to_http_request();
        let extracted = ApiQuery::from_request(&request, &mut Payload::None);
        extracted.into_inner().map(|ApiQuery(listing)| listing)
    }

    #[test]
    fn a_query_names_what_does_not_fit() {
        let listing = query("limit=5&after=a%20b").unwrap();
        assert_eq!((listing.limit, listing.after.as_str()), (Some(5), "a b"));
        for (text, field) in [("limit=five", "limit"), ("limit=-1", "limit"), ("other=1", "other")]
        {
            let body = query(text).unwrap_err().to_json(None);
            assert!(body.contains(&format!("\"field\":\"{field}\"")), "{body}");
            assert!(body.contains("validation_failed"), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_an_id_is_not_found() {
        let extract = |id: &'static str| {
            let request = TestRequest::default().param("checkout_id", id).to_http_request();
            ApiPath::<CheckoutId>::from_request(&request, &mut Payload::None).into_inner()
        };
        assert!(extract("chk_00000000000070008000000000000001").is_ok());
        let body = extract("chk_1").unwrap_err().to_json(None);
        assert!(body.contains("\"code\":\"not_found\""), "{body}");
        assert!(body.contains("\"field\":\"checkout_id\""), "{body}");
    }
}
