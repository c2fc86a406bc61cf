//! [`VaultStore`] and the six operations of a store.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep_core::{
    Catalog, OAuthToken, Operation, SharedStore, StoreError, TokenId, TokenQuery, TokenStore,
    matching,
};

use crate::{config::VaultConfig, engine::Engine};

/// Tokens in a KV version 2 secrets engine of HashiCorp Vault or OpenBao, one secret each.
///
/// Clones are the same store. See the crate for what it guarantees.
#[derive(Clone, Debug)]
pub struct VaultStore {
    pub(crate) engine: Arc<Engine>,
}

impl VaultStore {
    /// Opens the store at `url`: see [`VaultConfig::from_url`].
    ///
    /// # Errors
    ///
    /// Those of [`VaultConfig::from_url`] and [`VaultConfig::open`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        VaultConfig::from_url(url)?.open().await
    }
}

#[async_trait]
impl TokenStore for VaultStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let find = async {
            let deadline = self.engine.deadline();
            let pick = |catalog: &Catalog| catalog.matching(query);
            let (_snapshot, tokens) = self.engine.read_all(deadline, pick).await?;
            Ok(matching::find_one(query, &tokens)?.cloned())
        };
        find.await.map_err(|error: StoreError| error.during(Operation::FindToken))
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let read = self.engine.read_all(self.engine.deadline(), |catalog| one(catalog, id)).await;
        let (_snapshot, tokens) = read.map_err(|error| error.during(Operation::FindTokenById))?;
        Ok(tokens.into_iter().next())
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let (token, again) = (token.clone(), token.clone());
        self.engine
            .change(
                Operation::SaveToken,
                move |catalog| catalog.candidates(&token).into_iter().collect(),
                move |draft| draft.save(&again),
            )
            .await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let pick = |catalog: &Catalog| catalog.ids().cloned().collect();
        let read = self.engine.read_all(self.engine.deadline(), pick).await;
        Ok(read.map_err(|error| error.during(Operation::GetTokens))?.1)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.engine
            .change(Operation::DeleteToken, |_| Vec::new(), move |draft| Ok(draft.delete(&id)))
            .await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.engine
            .change(Operation::DeleteTokens, |_| Vec::new(), |draft| Ok(draft.delete_all()))
            .await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

/// This token, if it is there.
pub(crate) fn one(catalog: &Catalog, id: &TokenId) -> Vec<TokenId> {
    catalog.secret(id).map(|_secret| id.clone()).into_iter().collect()
}
