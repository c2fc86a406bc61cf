//! Many tokens at once: pages of the file, and batches that are one rewrite of it.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Entries, Entry, Look, OAuthToken, Operation, Sidecar, StoreError, TokenId,
    TokenTable,
};

use crate::{
    FileStore,
    cache::Snapshot,
    dialect::Dialect,
    side_file::{Condition, SideSnapshot},
    store::{Change, Inner, Rows},
};

#[async_trait]
impl BulkStore for FileStore {
    /// The file is written anew each time.
    fn page_size(&self) -> usize {
        20_000
    }

    async fn scan(&self, mut look: Look) -> Result<Vec<String>, StoreError> {
        self.run(Operation::GetTokens, move |inner| {
            let (snapshot, side) = inner.both()?;
            snapshot.ours()?;
            side.sidecar.scan(&snapshot.table, &mut look);
            Ok(inner.damage(&snapshot, &side))
        })
        .await
    }

    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let after = after.cloned();
        self.run(Operation::GetTokens, move |inner| inner.read_entries(after.as_ref(), limit)).await
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let entries = entries.to_vec();
        self.run(Operation::SaveToken, move |inner| inner.save_entries(&entries)).await
    }
}

impl Inner {
    fn read_entries(&self, after: Option<&TokenId>, limit: usize) -> Result<Entries, StoreError> {
        let (snapshot, side) = self.both()?;
        snapshot.ours()?;
        let page = side.sidecar.entries(&snapshot.table, after, limit);
        if after.is_some() {
            return Ok(page);
        }
        Ok(page.with_damage(self.damage(&snapshot, &side)))
    }

    /// What cannot be read.
    fn damage(&self, snapshot: &Snapshot, side: &SideSnapshot) -> Vec<String> {
        let mut damage = snapshot.document.damage();
        if side.condition == Condition::Newer {
            damage.push(self.side.newer().to_string());
        }
        damage
    }

    fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.change(|snapshot, side| {
            if entries.iter().any(|entry| entry.state.is_some()) {
                self.known(side)?;
            }
            let mut batch = Batch::new(snapshot, side, self.dialect)?;
            let save = |entry| batch.save(entry).map_err(|e| e.during(Operation::SaveToken));
            let answers = entries.iter().map(save).collect();
            Ok(batch.into_change(answers))
        })
    }
}

/// What saving one entry after the other leaves, before anything is written.
struct Batch<'a> {
    base: &'a Snapshot,
    side: &'a Sidecar,
    dialect: Dialect,
    rows: HashMap<Cow<'a, [u8]>, &'a [u8]>,
    table: TokenTable,
    sidecar: Sidecar,
    /// The ids of which something was saved or removed, in the order of the first time.
    touched: Vec<TokenId>,
    known: HashSet<TokenId>,
}

impl<'a> Batch<'a> {
    fn new(
        base: &'a Snapshot,
        side: &'a SideSnapshot,
        dialect: Dialect,
    ) -> Result<Self, StoreError> {
        let mut table = TokenTable::new();
        for token in base.table.iter() {
            table.load(token.clone())?;
        }
        table.reserve_ids(base.table.last_id());
        Ok(Self {
            base,
            side: &side.sidecar,
            dialect,
            rows: base.document.rows(),
            table,
            sidecar: side.sidecar.clone(),
            touched: Vec::new(),
            known: HashSet::new(),
        })
    }

    fn save(&mut self, entry: &Entry) -> Result<OAuthToken, StoreError> {
        let saved = self.table.plan(&entry.token, self.sidecar.last_id)?;
        let id = saved.token.id().cloned().ok_or_else(no_id)?;
        let stored = self.base.table.find_by_id(&id)?;
        let raw = self.rows.get(id.as_str().as_bytes()).copied();
        self.base.document.check_put(raw, &saved.token, stored, self.dialect)?;
        self.sidecar.apply_entry(&mut self.table, entry, &saved);
        for id in saved.absorbed.into_iter().chain([id]) {
            if self.known.insert(id.clone()) {
                self.touched.push(id);
            }
        }
        Ok(saved.token)
    }

    fn into_change<T>(mut self, answer: T) -> Change<T> {
        let mut rows = Rows::default();
        for id in self.touched {
            match self.table.find_by_id(&id) {
                Ok(Some(token)) => rows.put.push(token.clone()),
                Ok(None) | Err(_) => {
                    // Its number is not given again, though no row of the file may ever have had it.
                    self.sidecar.last_id = self.sidecar.last_id.max(self.table.last_id());
                    rows.remove.push(id);
                }
            }
        }
        let side = (self.sidecar != *self.side).then_some(self.sidecar);
        let changed = !rows.put.is_empty() || !rows.remove.is_empty();
        Change { rows: changed.then_some(rows), side, answer }
    }
}

fn no_id() -> StoreError {
    StoreError::new(tokenkeep_core::StoreErrorKind::Other, "a token was saved without an id")
}
