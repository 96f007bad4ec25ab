//! The main job, played against the running service over HTTP: every step as an agent sees it.

mod agent;
mod books;
mod order;
mod story;

use std::sync::Arc;

use crate::ground::{Clock, Entropy};

use super::buyer::BuyerError;

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("the service could not be asked")]
    Http(#[from] reqwest::Error),
    #[error("the service answered {got} where {wanted} was expected: {body}")]
    Unexpected { wanted: u16, got: u16, body: String },
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the payment could not be made")]
    Buyer(#[from] BuyerError),
    #[error("the deadline passed and nothing was given back")]
    NotSwept,
    #[error("the demo's own catalogue cannot be read")]
    Catalog(#[from] serde_json::Error),
}

/// What the demo works with.
pub struct Demo {
    /// Where the service listens.
    pub base: String,
    /// A key that lists SKUs and issues staff keys.
    pub operator_key: String,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Demo {
    /// Plays the job once. Returns the agent's API key, to go on with by hand.
    pub async fn play(&self) -> Result<String, DemoError> {
        story::play(self).await
    }
}
