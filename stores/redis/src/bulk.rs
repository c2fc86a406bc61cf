//! Many tokens at once.

use std::collections::HashSet;

use async_trait::async_trait;
use tokenkeep_core::{
    BulkStore, Entries, Entry, OAuthToken, Operation, Sidecar, SidecarEntry, StoreError, TokenId,
    TokenTable,
};

use crate::{
    batch::Batch,
    change::{Decision, Look},
    rows::{Row, Seen},
    shared::readable,
    store::RedisStore,
};

#[async_trait]
impl BulkStore for RedisStore {
    async fn read_entries(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Entries, StoreError> {
        let read = self.link.rows(after, limit).await;
        let rows = read.map_err(|error| error.during(Operation::Page))?;
        let (mut entries, mut damage) = (Vec::with_capacity(rows.rows.len()), Vec::new());
        for row in rows.rows {
            let (token, state, wrong) = readable(row);
            entries.extend(token.map(|token| Entry::new(token).with_state(state)));
            damage.extend(wrong);
        }
        Ok(Entries::new(entries, rows.next).with_damage(damage))
    }

    async fn save_entries(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Result<OAuthToken, StoreError>>, StoreError> {
        let mut look = Look::default();
        for entry in entries {
            let Look { names, ids } = Look::of(&entry.token);
            look.names.extend(names);
            look.ids.extend(ids);
        }
        look.names.sort_unstable();
        look.names.dedup();
        let decide = |seen: &Seen| save(&look, seen, entries);
        let (saved, _) = self.link.change(Operation::SaveToken, &look, decide).await?;
        Ok(saved
            .into_iter()
            .map(|saved| saved.map_err(|error| error.during(Operation::SaveToken)))
            .collect())
    }
}

type Saved = Vec<Result<OAuthToken, StoreError>>;

/// Saves to what was seen, in memory, and writes what has become another by it.
fn save(look: &Look, seen: &Seen, entries: &[Entry]) -> Result<Decision<Saved>, StoreError> {
    let mut table = TokenTable::new();
    let mut sidecar = Sidecar::default();
    sidecar.last_id = seen.last_id;
    table.reserve_ids(seen.last_id);
    let mut before = Vec::new();
    for row in &seen.rows {
        let Some(token) = row.token()? else { continue };
        table.load(token.clone())?;
        if let Some(entry) = row.entry().filter(|entry| entry.belongs_to(&token)) {
            sidecar.tokens.insert(row.id.clone(), entry);
        }
        before.push((row, token));
    }
    let entry = |entry| sidecar.save_entry(&mut table, entry).map(|saved| saved.token);
    let saved: Saved = entries.iter().map(entry).collect();
    if saved.iter().all(Result::is_err) {
        return Ok(Decision::Answer(saved));
    }

    let mut batch = Batch::on(&look.names, seen)?;
    batch.give_ids(seen.last_id, table.last_id());
    for (row, token) in &before {
        match table.find_by_id(&row.id)? {
            Some(now) if now == token => {}
            Some(now) => batch.update(now, token.fields_to_write(now, now)),
            None => {
                batch.drop(row);
                continue;
            }
        }
        write_beside(&mut batch, row, token, sidecar.tokens.get(&row.id))?;
    }
    let known: HashSet<_> = before.iter().map(|(row, _)| &row.id).collect();
    for token in table.sorted() {
        let Some(id) = token.id().filter(|id| !known.contains(id)) else { continue };
        batch.insert(token);
        if let Some(entry) = sidecar.tokens.get(id) {
            batch.beside(id, entry, true, entry.state.as_ref())?;
        }
    }
    Ok(Decision::Write(batch, saved))
}

/// Writes what has become known of a token that was there before.
fn write_beside(
    batch: &mut Batch,
    row: &Row,
    token: &OAuthToken,
    now: Option<&SidecarEntry>,
) -> Result<(), StoreError> {
    let before = row.entry().filter(|entry| entry.belongs_to(token));
    match now {
        Some(now) if before.as_ref() != Some(now) => {
            let was = before.as_ref().and_then(|entry| entry.state.as_ref());
            let state = now.state.as_ref().filter(|state| was != Some(state));
            batch.watch_beside(row);
            batch.beside(&row.id, now, before.is_some(), state)
        }
        _ => Ok(()),
    }
}
