//! [`Secrets`]: named secrets of one service in the keyring.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use keyring_core::{Entry, Error, api::CredentialStore};
use tokenkeep_core::StoreError;
use zeroize::Zeroizing;

use crate::error::refused;

/// Named secrets of one service. All calls block, for as long as the keyring asks its user.
pub(crate) struct Secrets {
    service: String,
    keyring: Keyring,
}

enum Keyring {
    /// That of the system, connected to when it is needed, and again when the connection broke.
    System(Mutex<Option<Arc<CredentialStore>>>),
    Given(Arc<CredentialStore>),
}

impl Secrets {
    pub(crate) fn new(service: String, given: Option<Arc<CredentialStore>>) -> Self {
        let system = || Keyring::System(Mutex::new(None));
        Self { service, keyring: given.map_or_else(system, Keyring::Given) }
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// A secret; `None` if there is none.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let get = || match self.entry(name)?.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        };
        let mut answer = self.call(get);
        if matches!(answer, Err(Error::PlatformFailure(_))) {
            // It may have been started anew since.
            answer = self.call(get);
        }
        answer.map_err(refused)
    }

    pub(crate) fn set(&self, name: &str, secret: &[u8]) -> Result<(), StoreError> {
        self.call(|| self.entry(name)?.set_secret(secret)).map_err(refused)
    }

    /// Removes a secret, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let removed = self.call(|| self.entry(name)?.delete_credential());
        match removed {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// The names of all secrets of the service.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        let spec = HashMap::from([("service", self.service.as_str())]);
        let found = self.call(|| self.connected()?.search(&spec)).map_err(refused)?;
        let specifiers = found.iter().filter_map(Entry::get_specifiers);
        Ok(specifiers.map(|(_service, name)| name).collect())
    }

    /// Connects, if that is not done.
    pub(crate) fn connect(&self) -> Result<(), StoreError> {
        self.call(|| self.connected().map(drop)).map_err(refused)
    }

    fn entry(&self, name: &str) -> Result<Entry, Error> {
        self.connected()?.build(&self.service, name, None)
    }

    fn connected(&self) -> Result<Arc<CredentialStore>, Error> {
        match &self.keyring {
            Keyring::Given(store) => Ok(Arc::clone(store)),
            Keyring::System(slot) => {
                let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(store) = &*slot {
                    return Ok(Arc::clone(store));
                }
                let store = system()?;
                *slot = Some(Arc::clone(&store));
                Ok(store)
            }
        }
    }

    /// Calls, and forgets the connection if it failed.
    fn call<T>(&self, call: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let answer = call();
        if let (Err(Error::PlatformFailure(_)), Keyring::System(slot)) = (&answer, &self.keyring) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(all(unix, not(target_os = "macos")))]
fn system() -> Result<Arc<CredentialStore>, Error> {
    zbus_secret_service_keyring_store::Store::new().map(|store| store as Arc<CredentialStore>)
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn system() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NoDefaultStore)
}
