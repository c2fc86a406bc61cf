//! [`DynamoDbStore`] and the six operations of a store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokenkeep_core::{
    OAuthToken, Operation, Outcome, SharedStore, StoreError, TokenId, TokenQuery, TokenStore,
};

use super::{items::token_pk, listing, save, table::Table};

/// How many tokens are removed at a time.
const AT_ONCE: usize = 16;

/// Tokens in a DynamoDB table.
///
/// Clones share their connections. It has to be used within a Tokio runtime.
#[derive(Clone)]
pub struct DynamoDbStore {
    pub(crate) table: Arc<Table>,
}

impl fmt::Debug for DynamoDbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbStore")
            .field("table", &self.table.name)
            .field("timeout", &self.table.timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for DynamoDbStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let query = query.clone();
        self.table.read(Operation::FindToken, |run| save::find(run, query)).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let read = |mut run: super::table::Run| async move { run.row(id).await };
        let row = self.table.read(Operation::FindTokenById, read).await?;
        Ok(row.map(|row| row.token))
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let token = token.clone();
        let about = match (token.user_name(), token.id()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(id)) => token_pk(id),
            // Whoever saves the same values in another order does not have to wait for this one.
            (None, None) => super::items::keys_of(&token).concat(),
        };
        self.table.write(Operation::SaveToken, &about, |run| save::save(run, token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.table.read(Operation::GetTokens, listing::all).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.delete(Operation::DeleteToken, id.clone()).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let ids = self.table.read(Operation::DeleteTokens, listing::ids).await?;
        let deletions = ids.into_iter().map(|id| self.delete(Operation::DeleteTokens, id));
        let mut deletions = stream::iter(deletions).buffer_unordered(AT_ONCE);
        let mut deleted = 0;
        while let Some(result) = deletions.next().await {
            match result {
                Ok(was_there) => deleted += u64::from(was_there),
                Err(error) if deleted == 0 => return Err(error),
                // Some are gone and others are not.
                Err(error) => return Err(error.with_outcome(Outcome::Unknown)),
            }
        }
        Ok(deleted)
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

impl DynamoDbStore {
    async fn delete(&self, operation: Operation, id: TokenId) -> Result<bool, StoreError> {
        let about = token_pk(&id);
        self.table.write(operation, &about, |run| save::delete(run, id)).await
    }
}
