//! [`KeyringStore`] and the six operations of a store.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep_core::{
    Catalog, OAuthToken, Operation, SharedStore, StoreError, TokenId, TokenQuery, TokenStore,
    matching,
};

use crate::{
    config::KeyringConfig,
    engine::{Engine, Read},
};

/// Tokens in the keyring of the operating system, one entry each.
///
/// Clones are the same store. See the crate for what it guarantees.
#[derive(Clone, Debug)]
pub struct KeyringStore {
    pub(crate) engine: Arc<Engine>,
}

impl KeyringStore {
    /// Opens the tokens of `service`.
    ///
    /// # Errors
    ///
    /// Those of [`KeyringConfig::open`].
    pub async fn open(service: impl Into<String>) -> Result<Self, StoreError> {
        KeyringConfig::new(service).open().await
    }
}

#[async_trait]
impl TokenStore for KeyringStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let (query, again) = (query.clone(), query.clone());
        self.engine
            .read(
                Operation::FindToken,
                move |catalog| catalog.matching(&query),
                move |read| Ok(matching::find_one(&again, &read.whole()?)?.cloned()),
            )
            .await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let id = id.clone();
        self.engine
            .read(
                Operation::FindTokenById,
                move |catalog| one(catalog, &id),
                |read| Ok(read.whole()?.pop()),
            )
            .await
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
        let all = |catalog: &Catalog| catalog.ids().cloned().collect();
        self.engine.read(Operation::GetTokens, all, Read::whole).await
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

impl Read {
    /// The tokens; an error if one of them cannot be had.
    pub(crate) fn whole(self) -> Result<Vec<OAuthToken>, StoreError> {
        self.tokens.into_iter().collect()
    }
}

/// This token, if it is there.
pub(crate) fn one(catalog: &Catalog, id: &TokenId) -> Vec<TokenId> {
    catalog.secret(id).map(|_secret| id.clone()).into_iter().collect()
}
