mod chain;
mod facilitator;
mod peer;
