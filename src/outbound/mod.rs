//! Calls to addresses that a stranger chose: where a customer wants its events, where a verifier is.
//!
//! Such an address could be one of ours. So the host is looked up once, every address that it has
//! must be one that may be called, and the connection goes to just those: there is no second lookup
//! that could give another answer. Redirects are not followed, proxies of the environment are not
//! used, and nothing of an answer is shown to anybody as it came.

mod address;
mod caller;
mod pause;
mod signature;
mod turns;

pub use address::{AddressKind, Reach};
pub use caller::{CallError, Caller, UrlFault};
pub use pause::{Backoff, later};
pub use signature::{ROTATION, SigningSecret, signed_headers};
pub use turns::Turns;
