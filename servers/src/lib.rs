//! Real servers for tests: found or fetched, started on loopback, and gone afterwards.
//!
//! [`shared()`] is a server that many tests use at a time, each with a database or a prefix of its
//! own; `cargo xtask servers up` starts it, and `cargo xtask test` does for its time. [`start`] is
//! one for a test that kills it. [`Trials`] runs tests that need either, and shows those that
//! cannot run here as ignored, with the reason.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use tokenkeep_servers::{
//!     Kind, Trials,
//!     proxy::{Fault, Proxy},
//! };
//!
//! fn main() -> ExitCode {
//!     Trials::new()
//!         .needs(Kind::Postgres, "an_answer_is_lost", |addresses| async move {
//!             let proxy = Proxy::start(addresses[0].socket().unwrap()).await.unwrap();
//!             let address = addresses[0].at(proxy.address());
//!             // Connect to `address`, and then:
//!             proxy.set(Fault::CutAfter(1));
//!         })
//!         .private(Kind::Postgres, "a_server_dies", |mut server| async move {
//!             server.kill(0);
//!             server.restart(0).unwrap();
//!         })
//!         .run()
//! }
//! ```
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
mod rusty_vault;
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
