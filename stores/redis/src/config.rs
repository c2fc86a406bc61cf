//! [`RedisConfig`]: what a store is opened with.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tokenkeep_connect::{Secret, Tls};
use tokenkeep_core::{Clock, Operation, StoreError, SystemClock};

use crate::{RedisStore, error::invalid, url};

/// What a [`RedisStore`] is opened with.
///
/// ```no_run
/// use std::time::Duration;
/// use tokenkeep_store_redis::{RedisConfig, Tls};
///
/// # async fn run() -> Result<(), tokenkeep_core::StoreError> {
/// let store = RedisConfig::cluster("redis-1.example.com")
///     .another_host("redis-2.example.com")
///     .user("tokens")
///     .password_file("/run/secrets/redis")
///     .tls(Tls::VerifyIdentity)
///     .wait_replicas(1, Duration::from_secs(1))
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisConfig {
    pub(crate) nodes: Vec<Node>,
    pub(crate) topology: Topology,
    pub(crate) database: u16,
    pub(crate) login: Login,
    pub(crate) sentinel_login: Login,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) prefix: String,
    pub(crate) timeout: Duration,
    pub(crate) replicas: Option<Replicas>,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A server: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How the primary is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// It is the one node.
    Single,
    /// The nodes are sentinels, which know the primary by this name.
    Sentinel(String),
    /// The nodes are some of a cluster's.
    Cluster,
}

/// Who connects.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

/// How many replicas have to confirm a write, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replicas {
    pub(crate) number: u32,
    pub(crate) timeout: Duration,
}

impl Topology {
    pub(crate) const fn usual_port(&self) -> u16 {
        match self {
            Self::Single | Self::Cluster => 6_379,
            Self::Sentinel(_) => 26_379,
        }
    }
}

impl RedisConfig {
    /// The server on `host`, a name or an address.
    pub fn new(host: impl Into<String>) -> Self {
        Self::at(Topology::Single, host.into())
    }

    /// The primary that the sentinel on `host` knows by the name `master`. It is followed when
    /// another server becomes the primary.
    pub fn sentinel(host: impl Into<String>, master: impl Into<String>) -> Self {
        Self::at(Topology::Sentinel(master.into()), host.into())
    }

    /// The cluster that `host` is a node of.
    pub fn cluster(host: impl Into<String>) -> Self {
        Self::at(Topology::Cluster, host.into())
    }

    /// Reads the URL of a store: `redis://user@host:port/database?prefix=…&password-env=VARIABLE`,
    /// or `rediss://…`, which is TLS.
    ///
    /// `cluster=true` and `sentinel=true&master=NAME` say that the hosts, of which there may be
    /// several (`host:port,host:port`), are nodes of a cluster or sentinels. Further parameters are
    /// `password-file=PATH`, `tls=disable|require|verify-ca|verify-identity`, `ca=PATH`,
    /// `timeout=SECONDS`, `wait-replicas=NUMBER`, `wait-timeout=MILLISECONDS`,
    /// `expire-after=SECONDS`, and for the sentinels `sentinel-user=NAME`,
    /// `sentinel-password-env=VARIABLE` and `sentinel-password-file=PATH`.
    ///
    /// # Errors
    ///
    /// Invalid if it is not such a URL. The error does not repeat it.
    pub fn from_url(text: &str) -> Result<Self, StoreError> {
        url::parse(text).map_err(|error| error.during(Operation::Open))
    }

    /// The port of the server that was named last, where it is not 6379, or 26379 for a sentinel.
    pub fn port(mut self, port: u16) -> Self {
        if let Some(node) = self.nodes.last_mut() {
            node.port = port;
        }
        self
    }

    /// Another sentinel, or another node of the cluster, to ask if the first does not answer.
    pub fn another_host(mut self, host: impl Into<String>) -> Self {
        self.nodes.push(Node { host: host.into(), port: self.topology.usual_port() });
        self
    }

    /// The number of the database: 0 unless said. A cluster has no other.
    pub fn database(mut self, number: u16) -> Self {
        self.database = number;
        self
    }

    /// The user that the store connects as; `default` unless said.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.login.user = Some(user.into());
        self
    }

    /// The user's password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.login.password = Some(Secret::value(password));
        self
    }

    /// The file that the password is read from, each time a connection is made; a line break at
    /// its end does not belong to it.
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.login.password = Some(Secret::file(path.as_ref()));
        self
    }

    /// The user that sentinels are asked as; unless said, nobody.
    pub fn sentinel_user(mut self, user: impl Into<String>) -> Self {
        self.sentinel_login.user = Some(user.into());
        self
    }

    /// The password for sentinels; none unless said.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_login.password = Some(Secret::value(password));
        self
    }

    /// The file that the password for sentinels is read from.
    pub fn sentinel_password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sentinel_login.password = Some(Secret::file(path.as_ref()));
        self
    }

    /// How connections are protected: not at all ([`Tls::Disable`]) unless said. Redis has a port
    /// of its own for TLS, so that [`Tls::Prefer`] cannot be.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The file with the certificates of the authorities that are trusted, in PEM; those of the
    /// system unless said.
    pub fn ca(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(path.as_ref().to_owned());
        self
    }

    /// What the names of all keys of this store begin with, in braces: `tokenkeep` unless said. Two
    /// prefixes are two stores. In a cluster, one prefix is in one slot.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long an operation may take, with all that it tries again: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits after each write until `number` replicas have confirmed it, at most for `timeout`. If
    /// fewer have, the operation fails with the outcome *unknown*: the primary has made the change,
    /// and it is lost if another server takes its place that has not.
    ///
    /// Unless this is said, a write is confirmed by the primary alone.
    pub fn wait_replicas(mut self, number: u32, timeout: Duration) -> Self {
        self.replicas = (number > 0).then_some(Replicas { number, timeout });
        self
    }

    /// Removes each token, with all that belongs to it, when this time has passed since it was last
    /// saved or replaced, by the server's clock. Unless this is said, tokens stay.
    ///
    /// Give all programs that share the store the same time: what was said with the last write of a
    /// token holds for it.
    pub fn expire_after(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Connects, and looks whether all that is needed is permitted. Nothing is written.
    ///
    /// # Errors
    ///
    /// - Invalid if something in this cannot be.
    /// - Unavailable if the primary cannot be reached or found, or has no such database.
    /// - PermissionDenied if it does not let the user in, or the user may not run a command that is
    ///   needed, which the error names.
    /// - Unsupported if the server is older than Redis 7.0.
    /// - Corrupt if something else is kept under the prefix.
    pub async fn open(self) -> Result<RedisStore, StoreError> {
        let checked = self.check();
        match checked {
            Ok(()) => RedisStore::with(self).await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.during(Operation::Open))
    }

    pub(crate) fn at(topology: Topology, host: String) -> Self {
        Self {
            nodes: vec![Node { host, port: topology.usual_port() }],
            topology,
            database: 0,
            login: Login::default(),
            sentinel_login: Login::default(),
            tls: Tls::Disable,
            ca: None,
            prefix: "tokenkeep".to_owned(),
            timeout: Duration::from_secs(10),
            replicas: None,
            lifetime: None,
            clock: Arc::new(SystemClock),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.nodes.iter().any(|node| node.host.is_empty()) {
            return Err(invalid("no server is named"));
        }
        if self.topology == Topology::Single && self.nodes.len() > 1 {
            return Err(invalid("several servers are named")
                .with_hint("say whether they are sentinels or nodes of a cluster"));
        }
        if self.topology == Topology::Cluster && self.database != 0 {
            return Err(invalid("a cluster has database 0 only").with_hint("use another prefix"));
        }
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(invalid("the prefix must be text without braces"));
        }
        if self.timeout.is_zero() {
            return Err(invalid("a time limit of nothing leaves no time for anything"));
        }
        if self.lifetime.is_some_and(|lifetime| lifetime.as_millis() == 0) {
            return Err(invalid("tokens that are kept for no time are not kept"));
        }
        if self.replicas.is_some_and(|replicas| replicas.timeout.as_millis() == 0) {
            // WAIT takes 0 for "for ever".
            return Err(invalid("replicas need some time to confirm a write"));
        }
        if self.login.user.is_some() && self.login.password.is_none() {
            return Err(invalid("a user is named, and no password")
                .with_hint("use ?password-env or ?password-file"));
        }
        if self.tls == Tls::Prefer {
            return Err(invalid("Redis has TLS on a port of its own, or not at all")
                .with_hint("say disable, require, verify-ca or verify-identity"));
        }
        self.tls.check_ca(self.ca.as_deref())
    }
}

/// Shows neither user nor password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("nodes", &self.nodes)
            .field("topology", &self.topology)
            .field("database", &self.database)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("replicas", &self.replicas)
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl FromStr for RedisConfig {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::from_url(text)
    }
}
