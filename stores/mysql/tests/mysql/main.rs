//! The store on real servers: tables as others make them, failures, connections that are cut,
//! processes that are killed, TLS, clusters.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod failures;
mod galera;
mod glance;
mod processes;
mod sdk;
mod support;
mod tables;
mod tls;
mod wire;

use std::process::ExitCode;

use tokenkeep_servers::Trials;

fn main() -> ExitCode {
    if let Some(code) = processes::child() {
        return code;
    }
    let trials = tables::add(Trials::new());
    let trials = sdk::add(trials);
    let trials = failures::add(trials);
    let trials = wire::add(trials);
    let trials = glance::add(trials);
    let trials = tls::add(trials);
    let trials = processes::add(trials);
    galera::add(trials).run()
}
