#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod beside;
mod bulk;
mod config;
mod connection;
mod error;
mod inspect;
mod layout;
mod listing;
mod marker;
mod notify;
mod pool;
mod rows;
mod schema;
mod shared;
mod store;
mod transaction;
mod url;
mod writes;

pub use self::{config::PostgresConfig, inspect::Inspection, store::PostgresStore};
pub use tokenkeep_connect::Tls;
