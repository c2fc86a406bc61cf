#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod address;
mod beside;
mod bulk;
mod config;
mod connect;
mod error;
mod glance;
mod inspect;
mod layout;
mod pages;
mod rows;
mod schema;
mod server;
mod shared;
mod store;

pub use self::{config::MysqlConfig, inspect::Inspection, store::MysqlStore};
pub use tokenkeep_connect::Tls;
