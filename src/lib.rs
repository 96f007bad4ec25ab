pub mod accounts;
pub mod checkout;
pub mod db;
pub mod ground;
pub mod ledger;
pub mod x402;
