//! What handlers take from a request. Every refusal is a [`Problem`].

mod body;
mod headers;
mod params;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::http::{Code, Problem};

pub use body::{ApiJson, BodyFault, OptionalJson, RawBody, Received};
pub(in crate::http) use headers::bearer;
pub use headers::{
    Bearer, IdempotencyHeader, OptionalBearer, OptionalIdempotencyHeader, RequestId,
};
pub use params::{ApiPath, ApiQuery};

/// A value, or which member did not fit and why. Deserializing it never fails, so that the
/// frameworks' own parsers can be used and the member is still named.
struct Located<T>(Result<T, Misfit>);

/// Why something well-formed is not what is wanted.
struct Misfit {
    field: String,
    reason: String,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut track = serde_path_to_error::Track::new();
        let result =
            T::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track));
        Ok(Self(result.map_err(|error| Misfit {
            field: track.path().to_string(),
            reason: error.to_string(),
        })))
    }
}

impl From<Misfit> for Problem {
    fn from(misfit: Misfit) -> Self {
        let problem = Self::new(Code::ValidationFailed).detail(misfit.reason);
        // The path of the whole value is a dot, and "?" stands for what the tracker lost.
        let named = !misfit.field.is_empty() && misfit.field != "." && misfit.field != "?";
        if named { problem.field(misfit.field) } else { problem }
    }
}
