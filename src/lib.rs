pub mod ground;
