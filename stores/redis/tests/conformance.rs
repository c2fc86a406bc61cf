//! The Redis store passes the conformance suite: on one server, and on a Cluster.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, StoreError, TokenStore};
use tokenkeep_servers::{Kind, shared};
use tokenkeep_store_redis::RedisConfig;
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

fn main() -> ExitCode {
    conformance::main(vec![
        Box::new(Redis { name: "redis", kind: Kind::Redis, parameters: "" }),
        Box::new(Redis {
            name: "redis_cluster",
            kind: Kind::RedisCluster,
            parameters: "&cluster=true",
        }),
    ])
}

struct Redis {
    name: &'static str,
    kind: Kind,
    parameters: &'static str,
}

#[async_trait]
impl Fixture for Redis {
    fn name(&self) -> &str {
        self.name
    }

    fn missing(&self) -> Option<String> {
        shared(self.kind)
            .err()
            .filter(|missing| !missing.is_fault())
            .map(|missing| missing.to_string())
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let nodes = shared(self.kind)?;
        let node = nodes.first().ok_or("there is no node")?;
        let prefix = format!("test-{:016x}", getrandom::u64()?);
        Ok(Box::new(Prefix(format!("{}?prefix={prefix}{}", node.url(), self.parameters))))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().persistent().processes().shared().bulk_store()
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(RedisConfig::from_url(address)?.clock(clock).open().await?))
    }
}

/// The URL of a store under a prefix that nobody else has.
struct Prefix(String);

#[async_trait]
impl Space for Prefix {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(RedisConfig::from_url(&self.0)?.clock(clock).open().await?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(RedisConfig::from_url(&self.0)?.clock(clock).open().await?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.0.clone())
    }
}
