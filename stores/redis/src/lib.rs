#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod batch;
mod bulk;
mod change;
mod config;
mod connection;
mod error;
mod inspect;
mod keys;
mod link;
mod listing;
mod primary;
mod rows;
mod script;
mod shared;
mod store;
mod url;

pub use self::{config::RedisConfig, inspect::Inspection, store::RedisStore};
pub use tokenkeep_connect::Tls;
