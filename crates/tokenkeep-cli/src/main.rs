//! The `tokenkeep` command: see `tokenkeep --help`.
#![forbid(unsafe_code)]

mod args;
mod client;
mod context;
mod error;
mod exit;
mod incoming;
mod lines;
mod logging;
mod loopback;
mod outcome;
mod output;
mod progress;
mod secrets;
mod select;
mod server;
mod signals;
mod spool;
mod time;
mod verbs;
mod view;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    args::run(std::env::args_os())
}
