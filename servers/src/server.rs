use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    Address, Kind, Missing, mariadb, moto,
    node::{Node, start_all, until},
    place::Place,
    postgres,
    program::Program,
    redis, rusty_vault, secret_service,
};

/// Servers of one kind that nobody else uses.
///
/// They are killed and what they wrote is removed when this is dropped, and when this process ends
/// in whatever way.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    addresses: Vec<Address>,
    // Dropped in this order: the place ends the processes, then they are waited for.
    place: Place,
    nodes: Vec<Node>,
    ready_in: Duration,
}

/// Starts servers of a kind on ports and in a directory of their own, and waits until they answer.
///
/// # Errors
///
/// What is missing, or how they failed.
pub fn start(kind: Kind) -> Result<Server, Missing> {
    start_with(kind, &[])
}

/// Starts servers with arguments beyond the usual ones: `["--appendfsync", "always"]`.
///
/// # Errors
///
/// What is missing, or how they failed.
#[expect(clippy::disallowed_methods, reason = "shows how long it took, nothing depends on it")]
pub fn start_with(kind: Kind, extra: &[&str]) -> Result<Server, Missing> {
    if !cfg!(target_os = "linux") {
        let variable = kind.variable();
        return Err(Missing::absent(format!("started on Linux only; name yours with {variable}")));
    }
    for helper in ["setsid", "setpriv"] {
        Program::find(helper, "util-linux")?;
    }
    let began = Instant::now();
    let server = match kind {
        Kind::MariaDb => mariadb::start(extra),
        Kind::Galera => mariadb::start_galera(extra),
        Kind::Postgres => postgres::start(extra),
        Kind::PostgresPair => postgres::start_pair(extra),
        Kind::Redis => redis::start(extra),
        Kind::RedisCluster => redis::start_cluster(extra),
        Kind::RedisSentinel => redis::start_sentinel(extra),
        Kind::Moto => moto::start(extra),
        Kind::SecretService => secret_service::start(extra),
        Kind::RustyVault => rusty_vault::start(extra),
    }?;
    Ok(Server { ready_in: began.elapsed(), ..server })
}

/// What this machine lacks for servers of a kind, if it lacks something.
#[must_use]
pub fn missing(kind: Kind) -> Option<Missing> {
    kind.needs().iter().find_map(|(name, package)| Program::find(name, package).err())
}

impl Server {
    /// Starts the nodes and waits for all of them.
    pub(crate) fn start(kind: Kind, place: Place, mut nodes: Vec<Node>) -> Result<Self, Missing> {
        start_all(&mut nodes)?;
        Ok(Self::of(kind, place, nodes))
    }

    /// Nodes that answer already.
    pub(crate) fn of(kind: Kind, place: Place, nodes: Vec<Node>) -> Self {
        let addresses = nodes.iter().map(|node| node.address().clone()).collect();
        Self { kind, addresses, place, nodes, ready_in: Duration::ZERO }
    }

    /// What kind they are of.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the nodes are.
    #[must_use]
    pub fn nodes(&self) -> &[Address] {
        &self.addresses
    }

    pub(crate) fn processes(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(Node::pid).collect()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Leaves the servers running when this process ends.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.place.keep()?;
        self.nodes.iter_mut().for_each(Node::leave);
        Ok(())
    }

    /// How long they took to answer.
    #[must_use]
    pub const fn ready_in(&self) -> Duration {
        self.ready_in
    }

    /// Kills a node at once (SIGKILL), with all its processes, and waits until it is gone.
    ///
    /// # Panics
    ///
    /// If there is no such node, or it does not go.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill().expect("a killed process goes");
    }

    /// Starts a node again on its data, killing it before if it runs; waits until it answers.
    ///
    /// # Errors
    ///
    /// How it failed.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn restart(&mut self, node: usize) -> io::Result<()> {
        let node = &mut self.nodes[node];
        node.kill()?;
        node.spawn()?;
        node.wait()
    }

    /// Waits until a node answers as it does after a start. One that was sealed is unsealed.
    ///
    /// # Errors
    ///
    /// How it failed.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn wait(&mut self, node: usize) -> io::Result<()> {
        self.nodes[node].wait()
    }

    /// Stops a node without ending it (SIGSTOP): its connections stay open and nothing is answered.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].signal(Signal::STOP);
    }

    /// Lets a paused node go on (SIGCONT).
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].signal(Signal::CONT);
    }

    /// Makes the replica of a [pair](Kind::PostgresPair) a primary, whatever became of the first
    /// one, and waits until it takes writes.
    ///
    /// # Errors
    ///
    /// That there is no replica, or how it failed.
    pub fn promote(&mut self) -> io::Result<()> {
        let (Kind::PostgresPair, [_primary, replica]) = (self.kind, self.nodes.as_slice()) else {
            return Err(io::Error::other(format!("a {} has no replica to promote", self.kind)));
        };
        replica.promote()?;
        until(|| postgres::is_primary(replica.address()).is_ok_and(|is| is).then_some(()))
    }
}
