//! Calls to addresses that a stranger chose: where a customer wants its events, where a verifier is.
//!
//! Such an address could be one of ours. So the host is looked up once, every address that it has
//! must be one that may be called, and the connection goes to just those: there is no second lookup
//! that could give another answer. Redirects are not followed, proxies of the environment are not
//! used, and what is answered is shown to nobody.

mod address;
mod caller;

pub use address::{AddressKind, Reach};
pub use caller::{CallError, Caller, UrlFault};
