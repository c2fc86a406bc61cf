//! The Vault store passes the conformance suite, on a server that speaks as Vault does.

use std::{
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, StoreError, TokenStore};
use tokenkeep_store_vault::{VaultConfig, VaultStore};
use tokenkeep_testkit::{
    VaultServer,
    conformance::{self, Capabilities, Fixture, SetupError, Space},
};

fn main() -> ExitCode {
    conformance::main(vec![Box::new(Vault::default())])
}

/// All cases use one server, each a path of its own.
#[derive(Default)]
struct Vault {
    server: OnceLock<VaultServer>,
    spaces: AtomicUsize,
}

#[async_trait]
impl Fixture for Vault {
    fn name(&self) -> &'static str {
        "vault"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let server = match self.server.get() {
            Some(server) => server,
            None => {
                let server = VaultServer::start()?;
                self.server.get_or_init(|| server)
            }
        };
        let number = self.spaces.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Path(format!("vault+{}/secret/test/space-{number}", server.url()))))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().persistent().processes().shared().bulk_store().bulk(1_000, 1_000)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(address, clock).await?))
    }
}

struct Path(String);

async fn open(url: &str, clock: Arc<dyn Clock>) -> Result<VaultStore, StoreError> {
    let config = VaultConfig::from_url(&format!("{url}?token-file=/dev/null"))?;
    // The machine may be busy with other tests.
    config.token(VaultServer::ROOT).clock(clock).timeout(Duration::from_secs(60)).open().await
}

#[async_trait]
impl Space for Path {
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
