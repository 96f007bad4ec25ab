pub mod db;
pub mod ground;
