//! The store on real servers: what goes wrong, on the wire and beyond; changes that are seen;
//! several processes; servers that are killed and replaced.
#![expect(clippy::unwrap_used, reason = "tests fail so")]

mod changes;
mod errors;
mod outages;
mod processes;
mod support;
mod tables;
mod tls;
mod wire;

use std::process::ExitCode;

use tokenkeep_servers::{Kind, Trials};

fn main() -> ExitCode {
    if let Some(job) = processes::job() {
        return processes::child(&job);
    }
    let trials = Trials::new();
    let trials = errors::trials(trials);
    let trials = tables::trials(trials);
    let trials = tls::trials(trials);
    let trials = changes::trials(trials);
    let trials = wire::trials(trials);
    let trials = processes::trials(trials);
    outages::trials(trials).run()
}

/// Adds tests, each a function of the address of the shared server.
macro_rules! on_shared {
    ($trials:expr, $($test:ident),+ $(,)?) => {
        $trials$(.needs($crate::Kind::Postgres, stringify!($test), |nodes: Vec<_>| async move {
            $crate::here($test(&nodes[0]));
        }))+
    };
}
pub(crate) use on_shared;

/// Runs a test on this thread: one that is given async closures is not known to be `Send`.
fn here(test: impl Future<Output = ()>) {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(test));
}
