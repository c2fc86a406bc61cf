#![doc = include_str!("../docs.md")]
#![forbid(unsafe_code)]

mod atomic;
mod bulk;
mod cache;
mod config;
mod dialect;
mod document;
mod error;
mod inspect;
mod lock;
mod shared;
mod side_file;
mod stamp;
mod store;

pub use self::{
    config::FileConfig,
    dialect::Dialect,
    inspect::{Inspection, LineEnds, Problem, ProblemKind, Sdk},
    store::FileStore,
};
