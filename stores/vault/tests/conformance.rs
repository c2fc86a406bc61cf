//! The Vault store passes the conformance suite, on a server that speaks as Vault does.

use std::{
    env,
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, StoreError, SystemClock, TokenStore};
use tokenkeep_store_vault::{VaultConfig, VaultStore};
use tokenkeep_testkit::{
    VaultServer,
    conformance::{self, Capabilities, Fixture, SetupError, Space},
};

/// Names a store in somebody's own Vault or OpenBao, as a URL: the suite runs there too then.
const REAL: &str = "TOKENKEEP_TEST_VAULT";

fn main() -> ExitCode {
    let mut fixtures: Vec<Box<dyn Fixture>> = vec![Box::new(Vault::default())];
    #[expect(clippy::disallowed_methods, reason = "names a server")]
    if let Ok(url) = env::var(REAL) {
        fixtures.push(Box::new(RealVault::new(&url)));
    }
    conformance::main(fixtures)
}

/// All cases use one server of ours, each a path of its own.
#[derive(Default)]
struct Vault {
    server: OnceLock<VaultServer>,
    spaces: AtomicUsize,
}

/// A server that is not ours. Each case has a path of its own below that of the URL, which stays
/// there with the index of a store that was emptied.
struct RealVault {
    /// Before and after where the name of a path comes.
    url: (String, String),
    run: u128,
    spaces: AtomicUsize,
}

impl RealVault {
    fn new(url: &str) -> Self {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        Self {
            url: (path.trim_end_matches('/').to_owned(), format!("?{query}")),
            run: SystemClock.now().as_millis().unsigned_abs().into(),
            spaces: AtomicUsize::new(0),
        }
    }
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
        let url = format!("vault+{}/secret/test/space-{number}", server.url());
        Ok(Box::new(Path { url, token: Some(VaultServer::ROOT) }))
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(address, Some(VaultServer::ROOT), clock).await?))
    }
}

#[async_trait]
impl Fixture for RealVault {
    fn name(&self) -> &'static str {
        "real_vault"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let number = self.spaces.fetch_add(1, Ordering::Relaxed);
        let (path, query) = &self.url;
        let url = format!("{path}/{}-{number}{query}", self.run);
        Ok(Box::new(Path { url, token: None }))
    }

    fn capabilities(&self) -> Capabilities {
        capabilities()
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(address, None, clock).await?))
    }
}

fn capabilities() -> Capabilities {
    Capabilities::new().persistent().processes().shared().bulk_store().bulk(1_000, 1_000)
}

struct Path {
    url: String,
    /// That of a server of ours; others have it in the URL.
    token: Option<&'static str>,
}

async fn open(
    url: &str,
    token: Option<&str>,
    clock: Arc<dyn Clock>,
) -> Result<VaultStore, StoreError> {
    let config = match token {
        Some(token) => VaultConfig::from_url(&format!("{url}?token-file=/dev/null"))?.token(token),
        None => VaultConfig::from_url(url)?,
    };
    // The machine may be busy with other tests.
    config.clock(clock).timeout(Duration::from_secs(60)).open().await
}

#[async_trait]
impl Space for Path {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(open(&self.url, self.token, clock).await?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(open(&self.url, self.token, clock).await?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.url.clone())
    }
}
