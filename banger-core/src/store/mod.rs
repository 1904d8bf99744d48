//! The database of records (SQLite).
pub use error::StoreError;
mod error;
