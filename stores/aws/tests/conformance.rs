//! The DynamoDB and the Secrets Manager store pass the conformance suite, on moto.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{Clock, Field, StoreError, TokenStore};
use tokenkeep_servers::{Kind, shared};
use tokenkeep_store_aws::{
    AwsAccess, dynamodb::DynamoDbConfig, secretsmanager::SecretsManagerConfig,
};
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

fn main() -> ExitCode {
    conformance::main(vec![Box::new(DynamoDb), Box::new(SecretsManager)])
}

/// moto takes one request at a time, and many tests run on it.
const TIMEOUT: Duration = Duration::from_secs(60);

fn access(endpoint: &str) -> AwsAccess {
    let access = AwsAccess::new().region("eu-central-1").endpoint(endpoint);
    access.keys("test-key-id", "test-secret-key")
}

/// A name that no other test has.
fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{count}", std::process::id())
}

struct DynamoDb;

#[async_trait]
impl Fixture for DynamoDb {
    fn name(&self) -> &'static str {
        "dynamodb"
    }

    fn missing(&self) -> Option<String> {
        shared(Kind::Moto).err().map(|missing| missing.to_string())
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let endpoint = shared(Kind::Moto)?[0].url();
        let table = Table { endpoint, name: name() };
        table.config().create_table().await?;
        Ok(Box::new(table))
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::new().persistent().processes().shared();
        capabilities
            .bulk(400, 400)
            .refusing(|field, value| field == Field::Id && value.len() > 1_000)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        let (endpoint, name) = address.split_once(' ').unwrap_or_default();
        let table = Table { endpoint: endpoint.to_owned(), name: name.to_owned() };
        Ok(Arc::new(table.config().clock(clock).open().await?))
    }
}

struct Table {
    endpoint: String,
    name: String,
}

impl Table {
    fn config(&self) -> DynamoDbConfig {
        let access = AwsAccess::new().region("eu-central-1").endpoint(&self.endpoint);
        let access = access.keys("test-key-id", "test-secret-key");
        // moto takes one request at a time, and many tests run on it.
        DynamoDbConfig::new(&self.name).access(access).timeout(Duration::from_secs(60))
    }
}

#[async_trait]
impl Space for Table {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.config().clock(clock).open().await?))
    }

    fn address(&self) -> Option<String> {
        Some(format!("{} {}", self.endpoint, self.name))
    }
}

struct SecretsManager;

#[async_trait]
impl Fixture for SecretsManager {
    fn name(&self) -> &'static str {
        "secretsmanager"
    }

    fn missing(&self) -> Option<String> {
        shared(Kind::Moto).err().map(|missing| missing.to_string())
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(Prefix { endpoint: shared(Kind::Moto)?[0].url(), prefix: name() }))
    }

    fn capabilities(&self) -> Capabilities {
        // One index holds some 1,500 tokens; moto takes its time for as many.
        Capabilities::new().persistent().processes().shared().marks_differ().bulk(250, 250)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        let (endpoint, prefix) = address.split_once(' ').unwrap_or_default();
        let prefix = Prefix { endpoint: endpoint.to_owned(), prefix: prefix.to_owned() };
        Ok(Arc::new(prefix.config().clock(clock).open().await?))
    }
}

struct Prefix {
    endpoint: String,
    prefix: String,
}

impl Prefix {
    fn config(&self) -> SecretsManagerConfig {
        SecretsManagerConfig::new(&self.prefix).access(access(&self.endpoint)).timeout(TIMEOUT)
    }
}

#[async_trait]
impl Space for Prefix {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.config().clock(clock).open().await?))
    }

    fn address(&self) -> Option<String> {
        Some(format!("{} {}", self.endpoint, self.prefix))
    }
}
