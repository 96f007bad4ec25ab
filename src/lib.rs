pub mod accounts;
pub mod checkout;
pub mod db;
pub mod ground;
pub mod ledger;
