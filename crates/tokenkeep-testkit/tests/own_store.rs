//! A store of one's own, of six methods, passes the suite: what the crate's documentation shows.

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokenkeep_core::{
    Clock, OAuthToken, StoreError, TokenId, TokenQuery, TokenStore,
    matching::{self, SavePlan},
    next_id,
};
use tokenkeep_testkit::conformance::{self, Fixture, SetupError, Space};

/// Tokens in a vector, and the largest number given as an id.
#[derive(Clone, Debug, Default)]
struct VecStore(Arc<Mutex<(Vec<OAuthToken>, u64)>>);

impl VecStore {
    fn lock(&self) -> MutexGuard<'_, (Vec<OAuthToken>, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TokenStore for VecStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        Ok(matching::find_one(query, &self.lock().0)?.cloned())
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        Ok(self.lock().0.iter().find(|token| token.id() == Some(id)).cloned())
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let (tokens, last_id) = &mut *self.lock();
        let plan = matching::plan_save(token, tokens.as_slice())?;
        let stored = if let SavePlan::Update { id, merged, absorbs } = plan {
            tokens.retain(|token| token.id() != Some(&id) && token.id() != absorbs.as_ref());
            *merged
        } else {
            let id = token.id().cloned().map_or_else(|| next_id(*last_id), Ok)?;
            if let Some(number) = id.number().filter(|n| *n <= tokenkeep_core::MAX_ID) {
                *last_id = number.max(*last_id);
            }
            OAuthToken::new_row(id, token)
        };
        tokens.push(stored.clone());
        tokens.sort_by(|a, b| a.id().cmp(&b.id()));
        Ok(stored)
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        Ok(self.lock().0.clone())
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let tokens = &mut self.lock().0;
        let before = tokens.len();
        tokens.retain(|token| token.id() != Some(id));
        Ok(tokens.len() < before)
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        Ok(self.lock().0.drain(..).len() as u64)
    }
}

struct VecStores;

#[async_trait]
impl Fixture for VecStores {
    fn name(&self) -> &str {
        "vec"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(Shelf(VecStore::default())))
    }

    fn capabilities(&self) -> conformance::Capabilities {
        conformance::Capabilities::new().bulk(500, 500)
    }
}

struct Shelf(VecStore);

#[async_trait]
impl Space for Shelf {
    async fn open(&self, _clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.0.clone()))
    }
}

fn main() -> ExitCode {
    conformance::main(vec![Box::new(VecStores)])
}
