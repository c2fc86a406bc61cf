//! `cargo xtask servers`: the servers that tests share; and those of `cargo xtask test`.

use std::{panic, thread};

use anyhow::{Result, bail};
use tokenkeep_servers::{Kind, Missing, Server, shared};

/// Starts, ends, shows or fetches servers.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let Some((verb, names)) = arguments.split_first() else {
        bail!("servers: up, down, status or fetch? `cargo xtask --help` explains them");
    };
    let kinds = names.iter().map(|name| name.parse().map_err(anyhow::Error::msg));
    let kinds: Vec<Kind> = kinds.collect::<Result<_>>()?;
    let of = |all: fn(Kind) -> bool| match kinds.as_slice() {
        [] => Kind::ALL.into_iter().filter(|kind| all(*kind)).collect(),
        _ => kinds.clone(),
    };
    match verb.as_str() {
        "up" => up(&of(Kind::is_shared)),
        "status" => {
            print!("{}", table(&of(|_kind| true)));
            Ok(())
        }
        "down" => {
            let _lock = shared::lock()?;
            for kind in of(|_kind| true) {
                if shared::down(kind)? {
                    println!("{kind} is down");
                }
            }
            Ok(())
        }
        "fetch" => {
            match tokenkeep_servers::fetch(&of(|_kind| true))?.as_slice() {
                [] => println!("nothing is missing"),
                packages => println!("fetched {}", packages.join(" ")),
            }
            Ok(())
        }
        other => bail!("servers: there is no {other:?}; there are up, down, status and fetch"),
    }
}

fn up(kinds: &[Kind]) -> Result<()> {
    let _lock = shared::lock()?;
    let lacking: Vec<Kind> =
        kinds.iter().copied().filter(|kind| shared::running(*kind).is_none()).collect();
    let started = at_once(&lacking, |kind| {
        shared::down(kind)?;
        tokenkeep_servers::start(kind)
    });
    let mut faults = Vec::new();
    // All have answered or failed: before that, an interrupted `up` leaves nothing behind.
    for (kind, started) in started {
        match started.and_then(|server| Ok(shared::share(server)?)) {
            Ok(_shared) => {}
            Err(missing) => {
                println!("{kind}: {missing}");
                faults.extend(missing.is_fault().then_some(kind.name()));
            }
        }
    }
    print!("{}", table(kinds));
    if faults.is_empty() { Ok(()) } else { bail!("did not start: {}", faults.join(", ")) }
}

/// Does something for each kind, for all at the same time.
fn at_once<T: Send>(kinds: &[Kind], what: impl Fn(Kind) -> T + Sync) -> Vec<(Kind, T)> {
    thread::scope(|scope| {
        let what = &what;
        #[expect(clippy::needless_collect, reason = "all are begun before one is waited for")]
        let begun: Vec<_> =
            kinds.iter().map(|kind| (*kind, scope.spawn(move || what(*kind)))).collect();
        begun
            .into_iter()
            .map(|(kind, thread)| {
                (kind, thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
            })
            .collect()
    })
}

/// Those of these kinds that run.
fn table(kinds: &[Kind]) -> String {
    let mut text = String::new();
    for server in kinds.iter().filter_map(|kind| shared::running(*kind)) {
        for (address, process) in server.addresses.iter().zip(&server.processes) {
            text.push_str(&format!(
                "{:<15} {:<56} process {process:<8} ready in {} ms\n",
                server.kind,
                format!("{address:?}"),
                server.ready_in.as_millis()
            ));
        }
    }
    text
}

/// The servers that tests share, for as long as this lives: those that run already, and others
/// that end with it, or with this process.
#[derive(Debug)]
pub(crate) struct ForTests {
    variables: Vec<(&'static str, String)>,
    missing: Vec<(Kind, Missing)>,
    servers: Vec<Server>,
}

impl ForTests {
    /// Fetches and starts what lacks.
    pub(crate) fn start() -> Self {
        if let Err(error) = tokenkeep_servers::fetch(&Kind::ALL) {
            // What it means is told by the servers that do not start.
            eprintln!("servers: {error}");
        }
        let mut this = Self { variables: Vec::new(), missing: Vec::new(), servers: Vec::new() };
        let mut lacking = Vec::new();
        for kind in Kind::ALL {
            match shared(kind) {
                Ok(addresses) => this.variables.push((kind.variable(), shared::value(&addresses))),
                Err(missing) if missing.is_fault() => this.missing.push((kind, missing)),
                Err(_not_yet) if kind.is_shared() => lacking.push(kind),
                // Tests start their own.
                Err(_not_yet) => {
                    this.missing.extend(tokenkeep_servers::missing(kind).map(|what| (kind, what)));
                }
            }
        }
        for (kind, started) in at_once(&lacking, tokenkeep_servers::start) {
            match started {
                Ok(server) => {
                    this.variables.push((kind.variable(), shared::value(server.nodes())));
                    this.servers.push(server);
                }
                Err(missing) => this.missing.push((kind, missing)),
            }
        }
        let names: Vec<&str> = this.servers.iter().map(|server| server.kind().name()).collect();
        eprintln!("servers started for these tests: {}", names.join(", "));
        this
    }

    /// What tells tests where they are.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// What this machine lacks, in words.
    pub(crate) fn missing(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|(kind, missing)| format!("{kind}: {missing}"))
    }

    /// The first that is there and does not work.
    pub(crate) fn fault(&self) -> Option<String> {
        let (kind, missing) = self.missing.iter().find(|(_, missing)| missing.is_fault())?;
        Some(format!("{kind}: {missing}"))
    }
}
