use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokenkeep::{
    MAX_ID, OAuthToken, Operation, StoreError, TokenId, TokenQuery, TokenStore,
    matching::{self, SavePlan},
    next_id,
};

/// Tokens in a vector behind a lock.
///
/// Put your database in the place of the vector, and a transaction in the place of the lock. The
/// rules by which tokens match are functions of `tokenkeep`, so there is little to get wrong.
#[derive(Debug, Default)]
pub struct VecStore(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    tokens: Vec<OAuthToken>,
    last_id: u64,
}

#[async_trait]
impl TokenStore for VecStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let rows = self.rows();
        let found = matching::find_one(query, &rows.tokens);
        Ok(found.map_err(|error| error.during(Operation::FindToken))?.cloned())
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        Ok(self.rows().tokens.iter().find(|token| token.id() == Some(id)).cloned())
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.rows().save(token).map_err(|error| error.during(Operation::SaveToken))
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let mut tokens = self.rows().tokens.clone();
        tokens.sort_by_cached_key(|token| token.id().cloned());
        Ok(tokens)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        Ok(self.rows().remove(id))
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        Ok(self.rows().tokens.drain(..).len() as u64)
    }
}

impl VecStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn save(&mut self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let (id, stored) = match matching::plan_save(token, &self.tokens)? {
            SavePlan::Update { id, merged, absorbs } => {
                absorbs.map(|absorbed| self.remove(&absorbed));
                (id, *merged)
            }
            SavePlan::Insert | _ => {
                let id = token.id().cloned().map_or_else(|| next_id(self.last_id), Ok)?;
                (id.clone(), OAuthToken::new_row(id, token))
            }
        };
        self.remove(&id);
        let number = id.number().filter(|number| *number <= MAX_ID).unwrap_or(0);
        self.last_id = self.last_id.max(number);
        self.tokens.push(stored.clone());
        Ok(stored)
    }

    fn remove(&mut self, id: &TokenId) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token| token.id() != Some(id));
        self.tokens.len() < before
    }
}
