//! The conformance suite on a store of one's own.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use tokenkeep::{Clock, StoreError, TokenStore};
use tokenkeep_examples::VecStore;
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

/// Tells the suite how to get at the store.
struct Vecs;

#[async_trait]
impl Fixture for Vecs {
    fn name(&self) -> &str {
        "vec"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(OneVec(Arc::new(VecStore::new()))))
    }

    fn capabilities(&self) -> Capabilities {
        // A vector is searched from end to end: a thousand tokens are many.
        Capabilities::new().bulk(1_000, 1_000)
    }
}

struct OneVec(Arc<VecStore>);

#[async_trait]
impl Space for OneVec {
    async fn open(&self, _clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        let store: Arc<dyn TokenStore> = Arc::<VecStore>::clone(&self.0);
        Ok(store)
    }
}

fn main() -> ExitCode {
    conformance::main(vec![Box::new(Vecs)])
}
