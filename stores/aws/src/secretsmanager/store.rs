//! [`SecretsManagerStore`] and the six operations of a store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use tokenkeep_core::{OAuthToken, Operation, StoreError, TokenId, TokenQuery, TokenStore};

use super::secret::Secret;

/// Tokens in one secret of AWS Secrets Manager.
///
/// Clones share their connections. It has to be used within a Tokio runtime.
#[derive(Clone)]
pub struct SecretsManagerStore {
    pub(crate) secret: Arc<Secret>,
}

impl SecretsManagerStore {
    /// Deletes the secret itself, with all tokens; `false` if there is none. It can be restored
    /// for `days`, 7 to 30; with `None` it is gone at once.
    ///
    /// # Errors
    ///
    /// What keeps AWS from deleting.
    pub async fn delete_secret(&self, days: Option<u8>) -> Result<bool, StoreError> {
        self.secret.delete(days).await
    }
}

impl fmt::Debug for SecretsManagerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManagerStore")
            .field("secret", &self.secret.name)
            .field("timeout", &self.secret.timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for SecretsManagerStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let document = self.secret.read(Operation::FindToken).await?;
        let found = document.table.find(query).map(|found| found.cloned());
        found.map_err(|error| error.during(Operation::FindToken))
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let document = self.secret.read(Operation::FindTokenById).await?;
        let found = document.table.find_by_id(id).map(|found| found.cloned());
        found.map_err(|error| error.during(Operation::FindTokenById))
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let token = token.clone();
        let save = move |document: &mut super::document::Document| {
            Ok((document.table.save(&token)?.token, true))
        };
        self.secret.change(Operation::SaveToken, save).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let document = self.secret.read(Operation::GetTokens).await?;
        Ok(document.table.sorted().into_iter().cloned().collect())
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let id = id.clone();
        let delete = move |document: &mut super::document::Document| {
            let removed = document.table.remove(&id);
            Ok((removed, removed))
        };
        self.secret.change(Operation::DeleteToken, delete).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let delete = |document: &mut super::document::Document| {
            let removed = document.table.clear();
            Ok((removed, removed > 0))
        };
        self.secret.change(Operation::DeleteTokens, delete).await
    }
}
