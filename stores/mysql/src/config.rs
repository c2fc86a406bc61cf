//! [`MysqlConfig`]: what a store is opened with.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokenkeep_connect::{Secret, Tls};
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};

use crate::{MysqlStore, address, connect, error::Fault, schema};

/// What a [`MysqlStore`] is opened with. Unless said otherwise it is what the official SDKs
/// connect to: database `zohooauth` and table `oauthtoken` on `localhost:3306`, as `root` without
/// a password.
///
/// ```no_run
/// use tokenkeep_store_mysql::{MysqlConfig, Tls};
///
/// # async fn open() -> Result<(), tokenkeep_core::StoreError> {
/// let store = MysqlConfig::new()
///     .host("db.example.com")
///     .user("tokenkeep")
///     .password("test-password")
///     .tls(Tls::VerifyIdentity)
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct MysqlConfig {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) database: String,
    pub(crate) table: String,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) tls: Tls,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) pool_min: usize,
    pub(crate) pool_max: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) read_only: bool,
}

impl MysqlConfig {
    /// What the official SDKs connect to.
    pub fn new() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 3306,
            socket: None,
            database: "zohooauth".to_owned(),
            table: "oauthtoken".to_owned(),
            user: "root".to_owned(),
            password: Secret::value(""),
            tls: Tls::default(),
            ca: None,
            pool_min: 1,
            pool_max: 16,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
            read_only: false,
        }
    }

    /// What a URL says: `mysql://user@host:port/database?table=oauthtoken`, where each part but the
    /// scheme may be left out.
    ///
    /// Further parameters are `password-env` (the variable that holds the password) or
    /// `password-file`, `socket`, `tls` (`disable`, `prefer`, `require`, `verify-ca`,
    /// `verify-identity`), `ca`, `pool-min`, `pool-max`, and `connect-timeout` and `timeout` in
    /// seconds. A password may stand in the URL; it is better not there.
    ///
    /// # Errors
    ///
    /// Invalid if it is no such URL, or the variable that it names is not set. The error does not
    /// repeat it.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        address::parse(url).map_err(|error| error.during(Operation::Open))
    }

    /// Whether the store is only read: its tables are taken as they are. Nothing is made, so that
    /// the token table has to be there, and what would write is refused.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// The name or address of the server's host.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The server's port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The server's Unix socket, which is used instead of host and port. TLS is not used on it:
    /// what passes there does not leave the machine.
    pub fn socket(mut self, path: impl AsRef<Path>) -> Self {
        self.socket = Some(path.as_ref().to_owned());
        self
    }

    /// The database. It is not made by the store.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = name.into();
        self
    }

    /// The name of the token table: letters, digits and `_`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// Who connects.
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = name.into();
        self
    }

    /// The password of the user.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Secret::value(password);
        self
    }

    /// The file that the password is read from when the store is opened; a line break at its end
    /// does not belong to it.
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.password = Secret::file(path.as_ref());
        self
    }

    /// How connections are secured.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// The file with the certificates of the authorities to trust, in PEM; the public ones unless
    /// said.
    pub fn ca(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(path.as_ref().to_owned());
        self
    }

    /// How many connections are kept when nothing is done: 1 unless said.
    pub fn pool_min(mut self, connections: usize) -> Self {
        self.pool_min = connections;
        self
    }

    /// How many connections there are at most: 16 unless said.
    pub fn pool_max(mut self, connections: usize) -> Self {
        self.pool_max = connections;
        self
    }

    /// How long an operation waits for a connection: 5 seconds unless said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an operation may take, with all its tries: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Connects, and makes what is missing of the tables.
    ///
    /// # Errors
    ///
    /// - Invalid if what was said cannot be.
    /// - Unavailable if the server cannot be reached, has no such database, its certificate is
    ///   not trusted, or the file with the password cannot be read.
    /// - PermissionDenied if the user may not connect, or not make what is missing.
    /// - Corrupt if the table has another shape.
    pub async fn open(self) -> Result<MysqlStore, StoreError> {
        self.check().map_err(|error| error.during(Operation::Open))?;
        MysqlStore::with(self).await
    }

    /// Whether the token table is there. Connects for it; nothing is made.
    ///
    /// # Errors
    ///
    /// Those of connecting, as [`open`](Self::open) has them.
    pub async fn is_there(&self) -> Result<bool, StoreError> {
        let look = async {
            self.check()?;
            let mut first = connect::first(self).await.map_err(Fault::into_error)?;
            let there = schema::is_there(&mut first.conn, &self.table).await;
            // How this one ends is no matter.
            let _ended = first.conn.disconnect().await;
            there.map_err(Fault::into_error)
        };
        look.await.map_err(|error: StoreError| error.during(Operation::Open))
    }

    fn check(&self) -> Result<(), StoreError> {
        let invalid =
            |message: &str| Err(StoreError::new(StoreErrorKind::Invalid, message.to_owned()));
        let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if self.table.is_empty() || self.table.len() > 40 || !self.table.bytes().all(named) {
            return invalid(
                "the table's name must be of letters, digits and _ only, 40 of them at most",
            );
        }
        if self.table.to_ascii_lowercase().starts_with("tokenkeep_") {
            return invalid("the table's name must not begin with tokenkeep_");
        }
        if self.database.is_empty() {
            return invalid("the database has no name");
        }
        if self.pool_max == 0 || self.pool_min > self.pool_max {
            return invalid(
                "a pool needs one connection at least, and no more at least than at most",
            );
        }
        if self.socket.is_some() && !matches!(self.tls, Tls::Disable | Tls::Prefer) {
            return invalid("TLS is not used on a Unix socket: leave tls out, or the socket");
        }
        self.tls.check_ca(self.ca.as_deref())
    }
}

impl Default for MysqlConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the password.
impl fmt::Debug for MysqlConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("socket", &self.socket)
            .field("database", &self.database)
            .field("table", &self.table)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let shown = format!("{:?}", MysqlConfig::new().password("test-password"));
        assert!(!shown.contains("test-password"), "{shown}");
        assert!(shown.contains("zohooauth"), "{shown}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for config in [
            MysqlConfig::new().table("a`b"),
            MysqlConfig::new().table(""),
            MysqlConfig::new().table("tokenkeep_state"),
            MysqlConfig::new().database(""),
            MysqlConfig::new().pool_min(2).pool_max(1),
            MysqlConfig::new().pool_min(0).pool_max(0),
            MysqlConfig::new().socket("/run/mysqld.sock").tls(Tls::Require),
            MysqlConfig::new().ca("/etc/ca.pem"),
        ] {
            assert_eq!(config.check().unwrap_err().kind(), StoreErrorKind::Invalid, "{config:?}");
        }
        MysqlConfig::new().check().unwrap();
    }
}
