//! Real servers for tests: found or fetched, started on loopback, and gone afterwards.
//!
//! [`shared()`] is a server that many tests use at a time, each with a database or a prefix of its
//! own; `cargo xtask servers up` starts it, and `cargo xtask test` does for its time. [`start`] is
//! one for a test that kills it. [`Trials`] runs tests that need either, and shows those that
//! cannot run here as ignored, with the reason.
#![expect(clippy::print_stderr, reason = "for those who read what tests say")]

mod account;
mod address;
mod fetch;
mod kind;
mod mariadb;
mod missing;
mod moto;
mod node;
mod place;
mod port;
mod postgres;
mod program;
pub mod proxy;
mod ready;
mod redis;
mod secret_service;
mod server;
pub mod shared;
mod tls;
mod trials;

pub use self::{
    address::Address,
    fetch::fetch,
    kind::Kind,
    missing::Missing,
    program::program,
    server::{Server, missing, start, start_with},
    shared::shared,
    trials::Trials,
};
