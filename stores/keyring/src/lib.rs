#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod bulk;
mod config;
mod engine;
mod error;
mod inspect;
mod lock;
mod secrets;
mod shared;
mod store;

pub use self::{config::KeyringConfig, inspect::Inspection, store::KeyringStore};
