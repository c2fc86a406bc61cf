//! [`VaultStore`] and the six operations of a store.

use std::sync::Arc;

use async_trait::async_trait;
use tokenkeep_core::{
    Catalog, OAuthToken, Operation, SharedStore, StoreError, TokenId, TokenQuery, TokenStore,
    matching,
};

use crate::{
    config::VaultConfig,
    engine::{Engine, Snapshot},
};

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

    /// The next at most `limit` tokens after `after`. Who begins is told what cannot be read of
    /// all that is stored, for which all of it is read.
    pub(crate) async fn list(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Listed, StoreError> {
        let pick = |catalog: &Catalog| {
            let limit = if after.is_none() { usize::MAX } else { limit };
            catalog.page(after, limit).0
        };
        let (snapshot, read) = self.engine.read(self.engine.deadline(), pick).await?;
        let (ids, next) = snapshot.catalog.page(after, limit);
        let (mut tokens, mut damage) = (Vec::with_capacity(ids.len()), Vec::new());
        for token in read {
            match token {
                Ok(token) if token.id() <= ids.last() => tokens.push(token),
                Ok(_later) => {}
                Err(error) if after.is_none() => damage.push(error.to_string()),
                Err(_told_before) => {}
            }
        }
        Ok(Listed { snapshot, tokens, next, damage })
    }
}

/// A page of tokens.
pub(crate) struct Listed {
    pub(crate) snapshot: Snapshot,
    pub(crate) tokens: Vec<OAuthToken>,
    pub(crate) next: Option<TokenId>,
    pub(crate) damage: Vec<String>,
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
