//! [`SecretsManagerStore`] and the six operations of a store.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    OAuthToken, Operation, SharedStore, StoreError, TokenId, TokenQuery, TokenStore,
};

use super::{save, secrets::Secrets, tidy};

/// Tokens in AWS Secrets Manager, each in a secret of its own.
///
/// Clones share their connections. It has to be used within a Tokio runtime.
#[derive(Clone)]
pub struct SecretsManagerStore {
    pub(crate) secrets: Arc<Secrets>,
}

impl SecretsManagerStore {
    /// Removes the secrets below the prefix that the store does not use and that are older than
    /// this: what a process left that was killed in the middle of a change. Says how many.
    ///
    /// `older_than` must be longer than any change may take, a day to be sure: the secret of a
    /// token that is just being saved is not in use yet. The store's time limit holds.
    ///
    /// # Errors
    ///
    /// What keeps AWS from listing or deleting.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64, StoreError> {
        let work = move |run| tidy::sweep(run, older_than);
        self.secrets.write(Operation::DeleteTokens, "", work).await
    }

    /// Deletes the store itself: all its secrets; says how many there were. They can be restored
    /// for `days`, 7 to 30; with `None` they are gone at once, and for a while AWS takes no new
    /// store under the same prefix. If it fails, some are deleted; call it again.
    ///
    /// Nobody may use the store meanwhile. The store's time limit holds.
    ///
    /// # Errors
    ///
    /// What keeps AWS from deleting.
    pub async fn delete_secrets(&self, days: Option<u8>) -> Result<u64, StoreError> {
        let work = move |run| tidy::remove_all(run, days);
        self.secrets.write(Operation::DeleteTokens, "", work).await
    }
}

impl fmt::Debug for SecretsManagerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretsManagerStore")
            .field("prefix", &self.secrets.prefix)
            .field("timeout", &self.secrets.timeout)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for SecretsManagerStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let query = query.clone();
        self.secrets.read(Operation::FindToken, |run| save::find(run, query)).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let id = id.clone();
        self.secrets.read(Operation::FindTokenById, |run| save::find_by_id(run, id)).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let token = token.clone();
        let about = match (token.user_name(), token.id()) {
            (Some(name), _) => format!("user {name}"),
            (None, Some(id)) => id.as_str().to_owned(),
            (None, None) => String::new(),
        };
        self.secrets.write(Operation::SaveToken, &about, |run| save::save(run, token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.secrets.read(Operation::GetTokens, save::all).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let id = id.clone();
        let about = id.as_str().to_owned();
        self.secrets.write(Operation::DeleteToken, &about, |run| save::delete(run, id)).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.secrets.write(Operation::DeleteTokens, "", save::delete_all).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}
