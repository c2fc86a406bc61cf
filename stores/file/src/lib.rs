#![doc = include_str!("docs.md")]
#![forbid(unsafe_code)]

mod atomic;
mod cache;
mod config;
mod dialect;
mod document;
mod error;
mod lock;
mod shared;
mod side_file;
mod stamp;
mod store;

pub use self::{config::FileConfig, dialect::Dialect, store::FileStore};
