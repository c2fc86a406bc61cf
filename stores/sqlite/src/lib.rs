#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod bulk;
mod config;
mod connection;
mod error;
mod inspect;
mod layout;
mod pool;
mod rows;
mod scan;
mod schema;
mod shared;
mod side;
mod site;
mod store;

pub use self::{config::SqliteConfig, inspect::Inspection, store::SqliteStore};
