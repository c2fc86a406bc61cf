//! The keyring store passes the conformance suite, on GNOME's keyring in a session of its own.
#![cfg(all(unix, not(target_os = "macos")))]

mod support;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use keyring_core::api::CredentialStoreApi as _;
use support::Session;
use tokenkeep_core::{BulkStore, Clock, StoreError, TokenStore};
use tokenkeep_store_keyring::{KeyringConfig, KeyringStore};
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

/// Set in the process that is in the session.
const INSIDE: &str = "TOKENKEEP_TEST_IN_SESSION";

/// Starts a session, and this program again in it.
fn main() -> ExitCode {
    let missing = support::missing();
    let is_inside = std::env::var_os(INSIDE).is_some();
    if is_inside || missing.is_some() {
        let fault = missing.map(|missing| missing.to_string());
        return conformance::main(vec![Box::new(Keyring { missing: fault, ..Keyring::default() })]);
    }
    let session = Session::unlocked();
    let status = session.this_program().env(INSIDE, "1").args(std::env::args_os().skip(1)).status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Keyring {
    missing: Option<String>,
    spaces: AtomicUsize,
}

#[async_trait]
impl Fixture for Keyring {
    fn name(&self) -> &'static str {
        "keyring"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let number = self.spaces.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Service(format!("keyring:test-space-{number}"))))
    }

    fn missing(&self) -> Option<String> {
        self.missing.clone()
    }

    fn capabilities(&self) -> Capabilities {
        // Text on the bus cannot have a NUL, but values are in secrets, which are bytes.
        let capabilities = Capabilities::new().persistent().processes().shared().bulk_store();
        capabilities.bulk(60, 60).most(500)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(address, clock).await?))
    }
}

async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<KeyringStore, StoreError> {
    // The machine may be busy with other tests.
    let config = KeyringConfig::from_url(url)?.clock(clock);
    config.lock_timeout(Duration::from_secs(60)).open().await
}

struct Service(String);

/// The daemon writes its whole file at each change, so that what is done with has to go.
impl Drop for Service {
    fn drop(&mut self) {
        let service = self.0.trim_start_matches("keyring:").to_owned();
        let removed = std::thread::spawn(move || -> keyring_core::Result<()> {
            let keyring = zbus_secret_service_keyring_store::Store::new()?;
            for entry in keyring.search(&HashMap::from([("service", service.as_str())]))? {
                entry.delete_credential()?;
            }
            Ok(())
        });
        assert!(removed.join().is_ok_and(|removed| removed.is_ok()), "entries stay behind");
    }
}

#[async_trait]
impl Space for Service {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(&self.0, clock).await?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(open(&self.0, clock).await?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.0.clone())
    }
}
