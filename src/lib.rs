pub mod accounts;
pub mod checkout;
pub mod db;
pub mod ground;
pub mod http;
pub mod ledger;
pub mod x402;
