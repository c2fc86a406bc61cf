//! The reference store passes the suite.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, ListStore, StoreError, TokenStore};
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

struct List;

#[async_trait]
impl Fixture for List {
    fn name(&self) -> &str {
        "list"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(Memory(OnceLock::new())))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().shared().bulk_store()
    }
}

struct Memory(OnceLock<ListStore>);

#[async_trait]
impl Space for Memory {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        let store = self.0.get_or_init(|| ListStore::with_clock(clock));
        Ok(Arc::new(store.clone()))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        let store = self.0.get_or_init(|| ListStore::with_clock(clock));
        Ok(Some(Arc::new(store.clone())))
    }
}

fn main() -> ExitCode {
    conformance::main(vec![Box::new(List)])
}
