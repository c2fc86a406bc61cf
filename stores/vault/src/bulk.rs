//! Many tokens at once: one change, however many there are.

use std::collections::BTreeSet;

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Catalog, Entries, Entry, OAuthToken, Operation, StoreError, TokenId,
};

use crate::store::{Listed, VaultStore};

#[async_trait]
impl BulkStore for VaultStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let read = async {
            let listed = self.list(after, limit.max(1)).await?;
            let Listed { snapshot, tokens, next, damage } = listed;
            let entry = |token: OAuthToken| {
                let state = snapshot.catalog.state(&token).unwrap_or_default();
                Entry::new(token).with_state(state)
            };
            Ok(Entries::new(tokens.into_iter().map(entry).collect(), next).with_damage(damage))
        };
        read.await.map_err(|error: StoreError| error.during(Operation::GetTokens))
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
