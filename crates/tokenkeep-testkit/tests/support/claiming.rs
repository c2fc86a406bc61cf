//! The reference store, of which its fixture says what is not so.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use tokenkeep_core::{BulkStore, Clock, ListStore, StoreError, TokenStore};
use tokenkeep_testkit::conformance::{Capabilities, Fixture, SetupError, Space};

pub(crate) struct Claiming(pub(crate) Capabilities);

#[async_trait]
impl Fixture for Claiming {
    fn name(&self) -> &str {
        "claiming"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(Memory(OnceLock::new())))
    }

    fn capabilities(&self) -> Capabilities {
        self.0
    }
}

struct Memory(OnceLock<ListStore>);

#[async_trait]
impl Space for Memory {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.0.get_or_init(|| ListStore::with_clock(clock)).clone()))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(self.0.get_or_init(|| ListStore::with_clock(clock)).clone())))
    }
}
