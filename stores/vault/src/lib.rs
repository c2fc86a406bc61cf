#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod address;
mod bulk;
mod client;
mod config;
mod engine;
mod error;
mod inspect;
mod kv;
mod login;
mod session;
mod shared;
mod store;
mod turn;

pub use self::{config::VaultConfig, inspect::Inspection, store::VaultStore};
