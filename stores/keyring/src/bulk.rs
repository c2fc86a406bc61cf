//! Many tokens at once: one change, however many there are.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Catalog, Entries, Entry, OAuthToken, Operation, StoreError, TokenId,
};

use crate::KeyringStore;

/// Some tokens of a catalog, and where the next ones begin.
pub(crate) struct Listed {
    pub(crate) catalog: Catalog,
    pub(crate) tokens: Vec<OAuthToken>,
    pub(crate) next: Option<TokenId>,
    pub(crate) damage: Vec<String>,
}

impl KeyringStore {
    /// The next at most `limit` tokens after `after`. Who begins is told what cannot be read of
    /// all that is stored, for which all of it is read.
    pub(crate) async fn list(
        &self,
        operation: Operation,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Listed, StoreError> {
        let (from, after) = (after.cloned(), after.cloned());
        let pick = move |catalog: &Catalog| {
            let limit = if from.is_none() { usize::MAX } else { limit };
            catalog.page(from.as_ref(), limit).0
        };
        self.engine
            .read(operation, pick, move |read| {
                let (ids, next) = read.catalog.page(after.as_ref(), limit);
                let (mut tokens, mut damage) = (Vec::with_capacity(ids.len()), Vec::new());
                for token in read.tokens {
                    match token {
                        Ok(token) if token.id() <= ids.last() => tokens.push(token),
                        Ok(_later) => {}
                        Err(error) if after.is_none() => damage.push(error.to_string()),
                        Err(_told_before) => {}
                    }
                }
                Ok(Listed { catalog: read.catalog, tokens, next, damage })
            })
            .await
    }
}

#[async_trait]
impl BulkStore for KeyringStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let listed = self.list(Operation::GetTokens, after, limit.max(1)).await?;
        let Listed { catalog, tokens, next, damage } = listed;
        let entry = |token: OAuthToken| {
            let state = catalog.state(&token).unwrap_or_default();
            Entry::new(token).with_state(state)
        };
        Ok(Entries::new(tokens.into_iter().map(entry).collect(), next).with_damage(damage))
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let (entries, again) = (entries.to_vec(), entries.to_vec());
        let pick = move |catalog: &Catalog| {
            let tokens = entries.iter().flat_map(|entry| catalog.candidates(&entry.token));
            tokens.collect::<BTreeSet<_>>().into_iter().collect()
        };
        self.engine
            .change(Operation::SaveToken, pick, move |draft| {
                let save = |entry| {
                    draft.save_entry(entry).map_err(|error| error.during(Operation::SaveToken))
                };
                Ok(again.iter().map(save).collect())
            })
            .await
    }
}
