//! [`VaultConfig`]: what a store is opened with.

use std::{fmt, fs, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use tokenkeep_connect::Secret;
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};
use url::Url;

use crate::{
    VaultStore, address,
    client::Client,
    engine::Engine,
    error::Fault,
    kv::Kv,
    login::Login,
    session::{Deadline, Session},
};

/// What a [`VaultStore`] is opened with.
///
/// ```no_run
/// # async fn example() -> Result<(), tokenkeep_core::StoreError> {
/// use tokenkeep_store_vault::VaultConfig;
///
/// let store = VaultConfig::new("https://vault.example.com:8200", "secret", "tokenkeep")?
///     .token_file("/run/vault/token")
///     .namespace("team-a")
///     .open()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct VaultConfig {
    address: Url,
    mount: String,
    prefix: String,
    namespace: Option<String>,
    ca: Option<PathBuf>,
    login: Option<Login>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl VaultConfig {
    /// A store at the path `prefix` of the KV version 2 engine that is mounted at `mount`, in the
    /// Vault at `address`: `https://host:port`, or `http` on this machine.
    ///
    /// # Errors
    ///
    /// Invalid if the address is not one.
    pub fn new(
        address: &str,
        mount: impl Into<String>,
        prefix: impl Into<String>,
    ) -> Result<Self, StoreError> {
        let address = address::server(address).map_err(|error| error.during(Operation::Open))?;
        Ok(Self::at(address, &mount.into(), &prefix.into()))
    }

    /// The store at a URL:
    /// `vault+https://host:port/mount/prefix?token-env=VAULT_TOKEN`.
    ///
    /// A slash in the mount's name is written `%2F`. Parameters: `token-env=VARIABLE` (which is
    /// `VAULT_TOKEN` unless said) or `token-file=PATH`; or `role-id=ID` with `secret-id-env=VARIABLE`
    /// or `secret-id-file=PATH`, and `approle-mount=NAME` if that is not `approle`;
    /// `namespace=NAME`, `ca=PATH`, `timeout=SECONDS`. Variables are read here.
    ///
    /// # Errors
    ///
    /// Invalid if the URL is not one, or a variable it names is not set.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        address::parse(url).map_err(|error| error.during(Operation::Open))
    }

    /// Vault's namespace, where it has them.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// A file with the certificates, in PEM form, one of which has to have signed that of Vault;
    /// those of the system unless said.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca = Some(path.into());
        self
    }

    /// A token of Vault.
    pub fn token(self, token: impl Into<String>) -> Self {
        self.with_token(Secret::value(token))
    }

    /// A file with a token of Vault, as Vault's agent keeps one. It is read again when Vault
    /// refuses the token.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_token(Secret::file(path))
    }

    /// The role of an application, which logs in, and again when its token has ended. `secret_id`
    /// is `None` where the role needs none.
    pub fn app_role(self, role_id: impl Into<String>, secret_id: Option<String>) -> Self {
        self.with_app_role(None, role_id.into(), secret_id.map(Secret::value))
    }

    /// The same with the secret id in a file, which is read at each login.
    pub fn app_role_file(
        self,
        role_id: impl Into<String>,
        secret_id_file: impl Into<PathBuf>,
    ) -> Self {
        self.with_app_role(None, role_id.into(), Some(Secret::file(secret_id_file)))
    }

    /// How long an operation may take, all tries included: 10 seconds unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store: logs in and looks at the mount. Nothing is written.
    ///
    /// It needs a runtime of tokio, as all operations do.
    ///
    /// # Errors
    ///
    /// - Invalid if something of the configuration cannot be.
    /// - PermissionDenied if Vault refuses the login or the token.
    /// - Unsupported if the mount is not a KV engine of version 2.
    /// - Unavailable if Vault cannot be reached, is sealed, or has no such mount.
    pub async fn open(self) -> Result<VaultStore, StoreError> {
        self.connect().await.map_err(|error| error.during(Operation::Open))
    }

    async fn connect(self) -> Result<VaultStore, StoreError> {
        let invalid = |message: &str| StoreError::new(StoreErrorKind::Invalid, message);
        let login = self.login.ok_or_else(|| {
            invalid("no token and no role for Vault is given").with_hint("name one of them")
        })?;
        let mount = segments(&self.mount).ok_or_else(|| invalid("that mount cannot be"))?;
        let prefix = segments(&self.prefix).ok_or_else(|| invalid("that path cannot be"))?;
        let ca = self.ca.map(|path| {
            fs::read(&path).map_err(|error| {
                let message = format!("{} cannot be read", path.display());
                StoreError::new(StoreErrorKind::Unavailable, message)
                    .with_hint("it should hold the certificate of Vault's authority, in PEM form")
                    .with_source(error)
            })
        });
        let client =
            Client::new(self.address, self.namespace.as_deref(), ca.transpose()?.as_deref())?;
        let deadline = Deadline::within(self.timeout);
        let session = Session::open(client, login, deadline).await.map_err(Fault::harmless)?;
        let kv = Kv { session, mount, prefix };
        kv.check_mount(deadline).await.map_err(Fault::harmless)?;
        let engine = Engine::new(kv, self.clock, self.timeout);
        engine.fresh(deadline).await?;
        Ok(VaultStore { engine: Arc::new(engine) })
    }

    pub(crate) fn at(address: Url, mount: &str, prefix: &str) -> Self {
        Self {
            address,
            mount: mount.to_owned(),
            prefix: prefix.to_owned(),
            namespace: None,
            ca: None,
            login: None,
            timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }

    pub(crate) fn with_token(mut self, token: Secret) -> Self {
        self.login = Some(Login::Token(token));
        self
    }

    pub(crate) fn with_app_role(
        mut self,
        mount: Option<String>,
        role_id: String,
        secret_id: Option<Secret>,
    ) -> Self {
        let mount = mount.unwrap_or_else(|| "approle".to_owned());
        self.login = Some(Login::AppRole { mount, role_id, secret_id });
        self
    }
}

impl FromStr for VaultConfig {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        Self::from_url(url)
    }
}

impl fmt::Debug for VaultConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultConfig")
            .field("address", &self.address.as_str())
            .field("mount", &self.mount)
            .field("prefix", &self.prefix)
            .field("namespace", &self.namespace)
            .field("login", &self.login)
            .field("ca", &self.ca)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The parts of a path; `None` if one of them would mean another path.
fn segments(path: &str) -> Option<Vec<String>> {
    let parts: Vec<String> =
        path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let odd = |part: &String| part == "." || part == ".." || part.chars().any(char::is_control);
    (!parts.is_empty() && !parts.iter().any(odd)).then_some(parts)
}
