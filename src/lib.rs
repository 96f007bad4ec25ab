pub mod db;
pub mod ground;
pub mod ledger;
