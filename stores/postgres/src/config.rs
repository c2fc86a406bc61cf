//! [`PostgresConfig`]: what a store is opened with.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use tokenkeep_connect::{Secret, Tls, client_config};
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{PostgresStore, url};

/// What a [`PostgresStore`] is opened with.
///
/// ```no_run
/// use tokenkeep_store_postgres::{PostgresConfig, Tls};
///
/// # async fn run() -> Result<(), tokenkeep_core::StoreError> {
/// let store = PostgresConfig::new("db.example.com", "zohooauth")
///     .user("tokens")
///     .password_file("/run/secrets/database")
///     .tls(Tls::VerifyIdentity)
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct PostgresConfig {
    pub(crate) servers: Vec<Server>,
    /// User and database.
    pub(crate) login: tokio_postgres::Config,
    pub(crate) password: Option<Secret>,
    pub(crate) schema: Option<String>,
    pub(crate) table: String,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) writers: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl PostgresConfig {
    /// The database of this name on the server `host`: a name, an address, or the directory of a
    /// Unix socket.
    pub fn new(host: impl Into<String>, database: impl Into<String>) -> Self {
        let mut login = tokio_postgres::Config::new();
        login.dbname(database);
        Self::at(vec![Server::new(host)], login)
    }

    /// Reads the URL of a store:
    /// `postgres://user@host:port/database?schema=…&table=…&tls=…&ca=PATH&password-env=VARIABLE`.
    ///
    /// Further parameters are `password-file=PATH`, `timeout=SECONDS`, `connect-timeout=SECONDS`,
    /// `writers=NUMBER`, and `host=DIRECTORY` for a Unix socket. Several servers, of which one is
    /// the primary, are `host,host:port`.
    ///
    /// # Errors
    ///
    /// Invalid if it is not such a URL. The error does not repeat it.
    pub fn from_url(text: &str) -> Result<Self, StoreError> {
        url::parse(text).map_err(|error| error.during(Operation::Open))
    }

    /// The port of the server that was named last, where it is not 5432.
    pub fn port(mut self, port: u16) -> Self {
        if let Some(server) = self.servers.last_mut() {
            server.port = port;
        }
        self
    }

    /// Another server that may be the primary, or become it.
    pub fn another_host(mut self, host: impl Into<String>) -> Self {
        self.servers.push(Server::new(host));
        self
    }

    /// The user of the database; the one that runs the program unless said.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.login.user(user);
        self
    }

    /// The user's password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(Secret::value(password));
        self
    }

    /// The file that the password is read from, each time a connection is made; a line break at
    /// its end does not belong to it.
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.password = Some(Secret::file(path.as_ref()));
        self
    }

    /// The schema that the tables are in. Unless said it is where the database finds the table, or
    /// else the first of the user's search path.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
        self
    }

    /// The name of the token table: letters, digits and `_`. It is `oauthtoken` unless said.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How connections are protected: [`Tls::Prefer`] unless said.
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

    /// How long an operation may take, with all that it tries again: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long it may take to reach one server: 3 seconds unless said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections write at a time, beside the one that reads: at most 4 unless said.
    pub fn writers(mut self, connections: usize) -> Self {
        self.writers = connections;
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Connects, and makes what tables, indices and triggers are missing.
    ///
    /// # Errors
    ///
    /// - Invalid if something in this cannot be.
    /// - Unavailable if the server cannot be reached, has no such database or schema, or stays
    ///   read-only.
    /// - PermissionDenied if it does not let the user in, or the user may not do what is needed.
    /// - Corrupt if the table has another shape.
    pub async fn open(self) -> Result<PostgresStore, StoreError> {
        let checked = self.check();
        match checked {
            Ok(()) => PostgresStore::with(self).await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.during(Operation::Open))
    }

    pub(crate) fn at(servers: Vec<Server>, login: tokio_postgres::Config) -> Self {
        Self {
            servers,
            login,
            password: None,
            schema: None,
            table: "oauthtoken".to_owned(),
            tls: Tls::default(),
            ca: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            writers: 4,
            clock: Arc::new(SystemClock),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        check_name("table", &self.table)?;
        if self.table.to_ascii_lowercase().starts_with("tokenkeep_") {
            return Err(invalid("the table's name must not begin with tokenkeep_"));
        }
        if let Some(schema) = &self.schema {
            check_name("schema", schema)?;
        }
        if self.servers.iter().any(|server| server.host.is_empty()) {
            return Err(invalid("a server has no name"));
        }
        if self.writers == 0 {
            return Err(invalid("a store needs at least one connection that writes"));
        }
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(invalid("a time limit of nothing leaves no time for anything"));
        }
        self.tls.check_ca(self.ca.as_deref())
    }

    /// What the driver is told of a server, except for the password.
    pub(crate) fn driver(&self, server: &Server) -> tokio_postgres::Config {
        let mut driver = self.login.clone();
        driver
            .host(&server.host)
            .port(server.port)
            .application_name("tokenkeep")
            .connect_timeout(self.connect_timeout)
            .tcp_user_timeout(self.timeout)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(match self.tls {
                Tls::Disable => SslMode::Disable,
                Tls::Prefer => SslMode::Prefer,
                Tls::Require | Tls::VerifyCa | Tls::VerifyIdentity | _ => SslMode::Require,
            });
        driver
    }

    pub(crate) fn connector(&self) -> Result<MakeRustlsConnect, StoreError> {
        client_config(self.tls, self.ca.as_deref()).map(MakeRustlsConnect::new)
    }
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// A name, an address, or the directory of a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), port: 5432 }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.starts_with('/') {
            write!(f, "{}/.s.PGSQL.{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Shows neither user nor password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("servers", &self.servers)
            .field("database", &self.login.get_dbname())
            .field("schema", &self.schema)
            .field("table", &self.table)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("writers", &self.writers)
            .finish_non_exhaustive()
    }
}

impl FromStr for PostgresConfig {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::from_url(text)
    }
}

/// Our tables are named after the token table, and names longer than 63 bytes are cut.
const LONGEST_NAME: usize = 40;

fn check_name(what: &str, name: &str) -> Result<(), StoreError> {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(named) {
        return Err(invalid(format!(
            "the {what}'s name must be of letters, digits and _ only, at most {LONGEST_NAME}"
        )));
    }
    Ok(())
}

pub(crate) fn invalid(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}
