//! `cargo xtask servers`: the servers that tests share.

use std::thread;

use anyhow::{Result, bail};
use tokenkeep_servers::{
    Kind, Missing,
    shared::{self, Shared},
};

/// Starts, ends, shows or fetches servers.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some((verb, names)) = arguments.split_first() else {
        bail!("servers: up, down, status or fetch? `cargo xtask --help` explains them");
    };
    let kinds = kinds(names)?;
    match verb.as_str() {
        "up" => up(&kinds),
        "status" => {
            print_all(&kinds.iter().filter_map(|kind| shared::running(*kind)).collect::<Vec<_>>());
            Ok(())
        }
        "down" => {
            for kind in kinds {
                if shared::down(kind)? {
                    println!("{kind} is down");
                }
            }
            Ok(())
        }
        other => bail!("servers: there is no {other:?}; there are up, down, status and fetch"),
    }
}

fn kinds(names: &[String]) -> Result<Vec<Kind>> {
    if names.is_empty() {
        return Ok(Kind::ALL.into());
    }
    names.iter().map(|name| name.parse().map_err(anyhow::Error::msg)).collect()
}

fn up(kinds: &[Kind]) -> Result<()> {
    let results: Vec<(Kind, Result<Shared, Missing>)> = thread::scope(|scope| {
        let starts = kinds.iter().map(|kind| (*kind, scope.spawn(|| shared::up(*kind))));
        #[expect(clippy::needless_collect, reason = "all are started before one is waited for")]
        let starts: Vec<_> = starts.collect();
        let joined = starts.into_iter().map(|(kind, start)| {
            (kind, start.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        joined.collect()
    });
    let up: Vec<Shared> = results.iter().filter_map(|(_, result)| result.clone().ok()).collect();
    print_all(&up);
    let mut failed = Vec::new();
    for (kind, missing) in
        results.iter().filter_map(|(kind, result)| Some((kind, result.as_ref().err()?)))
    {
        println!("{kind}: {missing}");
        if missing.is_fault() {
            failed.push(kind.name());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("did not start: {}", failed.join(", ")) }
}

fn print_all(servers: &[Shared]) {
    for server in servers {
        for (number, address) in server.addresses.iter().enumerate() {
            let process = server.processes.get(number).copied().unwrap_or_default();
            println!(
                "{:<16} {:<44} process {process:<8} ready in {} ms",
                server.kind,
                format!("{address:?}"),
                server.ready_in.as_millis()
            );
        }
    }
}
