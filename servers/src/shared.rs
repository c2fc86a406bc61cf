//! Servers that all tests use: what is known of them stands in files under `target/servers/run`.

use std::{
    env, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Address, Kind, Missing, Server, place, program};

/// The servers of a kind that all tests share, one address a node: those that the
/// [variable](Kind::variable) names, or else those that `cargo xtask servers up` started.
///
/// # Errors
///
/// That there are none, or what is wrong with the variable.
pub fn shared(kind: Kind) -> Result<Vec<Address>, Missing> {
    let variable = kind.variable();
    if let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) {
        let text = value.to_str().ok_or("it is not text");
        return text
            .and_then(|text| parse(kind, text))
            .map_err(|wrong| Missing::fault(format!("{variable}: {wrong}")));
    }
    running(kind).map(|shared| shared.addresses).ok_or_else(|| {
        Missing::absent(format!(
            "{variable} is not set, and no {kind} runs (cargo xtask servers up {kind})"
        ))
    })
}

/// Shared servers that run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shared {
    /// What they are.
    pub kind: Kind,
    /// Where the nodes are.
    pub addresses: Vec<Address>,
    /// Their processes.
    pub processes: Vec<u32>,
    /// How long they took to answer.
    pub ready_in: Duration,
    directory: PathBuf,
}

/// Keeps others from starting or ending shared servers, until it is dropped.
///
/// # Errors
///
/// If the file that it is cannot be made.
pub fn lock() -> io::Result<fs::File> {
    program::lock("servers.lock")
}

/// What [`Kind::variable`] says for servers at these addresses.
#[must_use]
pub fn value(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_variable).collect::<Vec<_>>().join(" ")
}

/// The shared servers of a kind that were [left](share) here and that still run.
#[must_use]
pub fn running(kind: Kind) -> Option<Shared> {
    let shared = Shared::parse(kind, &fs::read_to_string(record(kind)).ok()?)?;
    let inhabitants = place::inhabitants(&shared.directory);
    shared.processes.iter().all(|process| inhabitants.contains(process)).then_some(shared)
}

/// Leaves servers to all tests, until [`down`].
///
/// # Errors
///
/// What keeps it from being recorded; the servers end then.
pub fn share(server: Server) -> io::Result<Shared> {
    let kind = server.kind();
    let shared = Shared {
        kind,
        addresses: server.nodes().to_vec(),
        processes: server.processes(),
        ready_in: server.ready_in(),
        directory: server.directory().to_owned(),
    };
    // Written first: what is not recorded must not stay.
    write(&record(kind), &shared.to_text())?;
    server.keep()?;
    environment()?;
    Ok(shared)
}

/// Ends the shared servers of a kind and removes what they wrote. Whether there were any.
///
/// # Errors
///
/// What could not be removed.
pub fn down(kind: Kind) -> io::Result<bool> {
    let record = record(kind);
    let Ok(text) = fs::read_to_string(&record) else { return Ok(false) };
    if let Some(shared) = Shared::parse(kind, &text) {
        place::clear(&shared.directory)?;
    }
    fs::remove_file(record)?;
    environment()?;
    Ok(true)
}

impl Shared {
    /// For people, for shells, and for [`parse`](Self::parse).
    fn to_text(&self) -> String {
        let processes: Vec<String> = self.processes.iter().map(u32::to_string).collect();
        format!(
            "# directory {}\n# processes {}\n# ready {}\n{}='{}'\n",
            self.directory.display(),
            processes.join(" "),
            self.ready_in.as_millis(),
            self.kind.variable(),
            value(&self.addresses)
        )
    }

    fn parse(kind: Kind, text: &str) -> Option<Self> {
        let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
        let processes = line("# processes ")?.split(' ').map(|pid| pid.parse().ok());
        let value = line(kind.variable())?.strip_prefix("='")?.strip_suffix('\'')?;
        Some(Self {
            kind,
            addresses: parse(kind, value).ok()?,
            processes: processes.collect::<Option<_>>()?,
            ready_in: Duration::from_millis(line("# ready ")?.parse().ok()?),
            directory: line("# directory ")?.into(),
        })
    }
}

fn parse(kind: Kind, value: &str) -> Result<Vec<Address>, &'static str> {
    value.split_whitespace().map(|text| Address::from_variable(kind, text)).collect()
}

fn record(kind: Kind) -> PathBuf {
    program::below_target("run").join(format!("{kind}.env"))
}

/// Writes the file that has all records, for a shell: `. target/servers/run/env`.
fn environment() -> io::Result<()> {
    let records = Kind::ALL.map(|kind| fs::read_to_string(record(kind)).unwrap_or_default());
    write(&program::below_target("run").join("env"), &records.concat())
}

/// At one go: others may be reading it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let shared = Shared {
            kind: Kind::Redis,
            addresses: [1, 2].map(|port| Address::local(Kind::Redis, port)).into(),
            processes: vec![3, 4],
            ready_in: Duration::from_millis(5),
            directory: "/x/y z".into(),
        };
        let read = Shared::parse(Kind::Redis, &shared.to_text()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{shared:?}"));
        assert!(Shared::parse(Kind::Redis, "").is_none());
    }
}
