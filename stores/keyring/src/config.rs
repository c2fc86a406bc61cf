//! [`KeyringConfig`]: what a store is opened with.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use keyring_core::api::CredentialStore;
use tokenkeep_connect::{Parameters, decoded};
use tokenkeep_core::{Clock, Operation, StoreError, StoreErrorKind, SystemClock};

use crate::{KeyringStore, engine::Engine, lock::Lock, secrets::Secrets};

/// What a [`KeyringStore`] is opened with.
///
/// ```no_run
/// # async fn example() -> Result<(), tokenkeep_core::StoreError> {
/// use tokenkeep_store_keyring::KeyringConfig;
///
/// let store = KeyringConfig::new("my-program").open().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct KeyringConfig {
    service: String,
    keyring: Option<Arc<CredentialStore>>,
    directory: Option<PathBuf>,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl KeyringConfig {
    /// The tokens of `service`: the name under which the keyring shows them.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            keyring: None,
            directory: None,
            timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }

    /// The store at a URL: `keyring:SERVICE?lock-directory=PATH&timeout=SECONDS`, of which the
    /// service is enough. What follows the `?`, and the service, are percent-encoded.
    ///
    /// # Errors
    ///
    /// Invalid if it is not one; its text is not repeated.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::parse(url).map_err(|error| error.during(Operation::Open))
    }

    fn parse(url: &str) -> Result<Self, StoreError> {
        let wrong = || {
            invalid("that is not the URL of a keyring")
                .with_hint("write it like keyring:my-program")
        };
        let rest = url.strip_prefix("keyring:").ok_or_else(wrong)?;
        let (service, query) = rest.split_once('?').unwrap_or((rest, ""));
        if service.is_empty() {
            return Err(wrong());
        }
        let mut config = Self::new(decoded(service)?);
        let mut parameters = Parameters::parse(query)?;
        config.directory = parameters.text("lock-directory")?.map(PathBuf::from);
        config.timeout = parameters.seconds("timeout")?.unwrap_or(config.timeout);
        parameters.finish()?;
        Ok(config)
    }

    /// Another keyring than that of the Secret Service, of the crates around `keyring-core`. It has
    /// to [search](keyring_core::api::CredentialStoreApi::search) by `service`, or what crashed
    /// processes left stays there.
    pub fn keyring(mut self, keyring: Arc<CredentialStore>) -> Self {
        self.keyring = Some(keyring);
        self
    }

    /// The private directory with the lock that the processes of this machine exclude each other
    /// by: `XDG_RUNTIME_DIR` unless said. All of them must use the same.
    pub fn lock_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How long a change waits for other processes: 10 seconds unless said.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock that leases go by; the machine's unless said.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store: connects to the keyring and reads the index. Nothing is written to it.
    ///
    /// # Errors
    ///
    /// - Invalid if there is no name.
    /// - Unavailable if there is no session bus, no keyring on it, or no directory for the lock.
    /// - PermissionDenied if the keyring is locked, or the directory is not private.
    /// - Corrupt if the index cannot be read.
    pub async fn open(self) -> Result<KeyringStore, StoreError> {
        let opened = blocking::unblock(move || self.connect()).await;
        opened.map_err(|error| error.during(Operation::Open))
    }

    fn connect(self) -> Result<KeyringStore, StoreError> {
        if self.service.is_empty() || self.service.contains('\0') {
            return Err(invalid("the service's name is empty or has a NUL character"));
        }
        let secrets = Secrets::new(self.service, self.keyring);
        secrets.connect()?;
        let directory = self.directory.map_or_else(runtime_directory, Ok)?;
        let lock = Lock::new(&directory, &file_name(secrets.service()), self.timeout)?;
        let engine = Engine::new(secrets, lock, self.clock);
        engine.catalog()?;
        Ok(KeyringStore { engine: Arc::new(engine) })
    }
}

impl FromStr for KeyringConfig {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        Self::from_url(url)
    }
}

impl fmt::Debug for KeyringConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringConfig")
            .field("service", &self.service)
            .field("directory", &self.directory)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn invalid(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

fn runtime_directory() -> Result<PathBuf, StoreError> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    directory.map(PathBuf::from).filter(|path| path.is_absolute()).ok_or_else(|| {
        StoreError::new(
            StoreErrorKind::Unavailable,
            "XDG_RUNTIME_DIR is not set, so that there is no place for the lock",
        )
        .with_hint("set it to a private directory, the same for all programs: /run/user/UID")
    })
}

/// Each byte of the service that cannot be in a file's name is written as a number.
fn file_name(service: &str) -> String {
    let mut name = "tokenkeep-keyring-".to_owned();
    for byte in service.bytes().take(60) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name + ".lock"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_it_all() {
        let url = "keyring:my%20program?lock-directory=/run/x&timeout=2.5";
        let config: KeyringConfig = url.parse().unwrap();
        assert_eq!(config.service, "my program");
        assert_eq!(config.directory, Some(PathBuf::from("/run/x")));
        assert_eq!(config.timeout, Duration::from_millis(2_500));
        let config = KeyringConfig::from_url("keyring:tokenkeep test").unwrap();
        assert_eq!((&*config.service, config.directory), ("tokenkeep test", None));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for url in [
            "keyring:",
            "keyring:?timeout=1",
            "test-secret",
            "keyring:x?password=test-secret",
            "keyring:x?test-secret",
            "keyring:x?timeout=test-secret",
            "keyring:%ff",
        ] {
            let error = KeyringConfig::from_url(url).expect_err(url);
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert_eq!(error.operation(), Some(Operation::Open));
            assert!(!format!("{error} {error:?}").contains("test-secret"), "{error:?}");
        }
        let error = KeyringConfig::from_url("keyring:x?password=y").unwrap_err();
        assert_eq!(error.hint(), Some("known are lock-directory and timeout"));
    }
}
