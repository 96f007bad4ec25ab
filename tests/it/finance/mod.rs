//! What finance reads, over books that the engine wrote.

mod broken;
mod corrupted;
mod drift;
mod journal;
mod reports;
mod scene;
mod stream;
mod touched;
mod trade;
mod void;
