//! The changes of the six operations: each reads, plans by core's rules, and commits if what was
//! read still is so.

use std::collections::{HashMap, HashSet};

use tokenkeep_core::{
    Lease, OAuthToken, Replaced, StoreError, StoreErrorKind, TokenId, TokenQuery,
    matching::{self, KEYS, SavePlan},
    plan_replace,
};

use super::{
    commit::{Commit, Plan},
    items::{Item, Row, check_id, ids_of, key_pk, token_pk},
    table::Run,
};

/// How many tokens a save may have to choose from. A transaction has room for them and their keys.
const MANY: usize = 60;

/// Tokens that share keys, and the items that say so.
struct Candidates {
    rows: Vec<Row>,
    read: HashMap<String, Option<Item>>,
    gone: HashSet<TokenId>,
}

pub(crate) async fn save(mut run: Run, token: OAuthToken) -> Result<OAuthToken, StoreError> {
    if let Some(id) = token.id() {
        check_id(id)?;
    }
    let mut reserved = None;
    let mut careful = false;
    loop {
        let Candidates { rows, read, gone } = candidates(&mut run, &token).await?;
        let tokens: Vec<&OAuthToken> = rows.iter().map(|row| &row.token).collect();
        let (write, remove) = match matching::plan_save(&token, &tokens)? {
            SavePlan::Update { id, merged, absorbs } => {
                let stored = one(&rows, &id)?.clone();
                let absorbed = absorbs.as_ref().map(|id| one(&rows, id)).transpose()?;
                let mut row = stored.with_token(*merged, &token);
                if let Some(state) = absorbed.and_then(|absorbed| absorbed.state().ok().flatten())
                    && !row.has_state()
                {
                    row = row.with_state(&state)?;
                }
                (row, absorbs)
            }
            SavePlan::Insert => {
                let id = match (token.id(), reserved.take()) {
                    (Some(id), _) => {
                        run.remember_id(id).await?;
                        id.clone()
                    }
                    (None, Some(id)) => id,
                    (None, None) => run.next_id().await?,
                };
                reserved = Some(id.clone());
                (Row::new(id.clone(), OAuthToken::new_row(id, &token)), None)
            }
            _ => return Err(unsupported("this store does not know how to save that")),
        };
        let saved = write.token.clone();
        let plan = Plan { known: rows, read, gone, write: Some(write), remove };
        match run.commit(plan, careful).await? {
            Commit::Done => return Ok(saved),
            Commit::Conflict => {
                // An id that somebody else took meanwhile is not free any more.
                if let Some(id) = &reserved
                    && run.row(id).await?.is_some()
                {
                    reserved = None;
                }
            }
        }
        careful = true;
        run.again(busy()).await;
    }
}

/// All stored tokens that share a key with `token`.
async fn candidates(run: &mut Run, token: &OAuthToken) -> Result<Candidates, StoreError> {
    let columns = token.expose_columns();
    let keys: Vec<String> = KEYS
        .into_iter()
        .filter_map(|field| key_pk(field, columns[field as usize].as_deref()?))
        .collect();
    let own = token.id().map(token_pk);
    let mut items = run.items(keys.iter().cloned().chain(own.clone())).await?;
    let own = own.and_then(|pk| items.remove(&pk)).map(Row::parse).transpose()?;
    let read: HashMap<_, _> = keys.into_iter().map(|pk| (pk.clone(), items.remove(&pk))).collect();

    let mut listed = HashSet::new();
    for item in read.values().flatten() {
        listed.extend(ids_of(item)?);
    }
    if let Some(own) = &own {
        listed.remove(&own.id);
    }
    if listed.len() > MANY {
        return Err(StoreError::ambiguous(listed.into_iter().collect()));
    }
    let mut rows = rows(run, &listed).await?;
    let gone = listed.into_iter().filter(|id| rows.iter().all(|row| row.id != *id)).collect();
    rows.extend(own);
    Ok(Candidates { rows, read, gone })
}

/// The tokens of these ids, as far as they are there.
pub(crate) async fn rows(
    run: &mut Run,
    ids: impl IntoIterator<Item = &TokenId>,
) -> Result<Vec<Row>, StoreError> {
    let pks: Vec<String> = ids.into_iter().map(token_pk).collect();
    if pks.is_empty() {
        return Ok(Vec::new());
    }
    run.items(pks).await?.into_values().map(Row::parse).collect()
}

fn one<'a>(rows: &'a [Row], id: &TokenId) -> Result<&'a Row, StoreError> {
    let found = rows.iter().find(|row| row.id == *id);
    found.ok_or_else(|| StoreError::new(StoreErrorKind::Other, "the plan means a token not read"))
}

/// The token that `query` means.
pub(crate) async fn find(
    mut run: Run,
    query: TokenQuery,
) -> Result<Option<OAuthToken>, StoreError> {
    let key = query.key();
    let Some(pk) = key_pk(key.field(), key.expose_value()) else {
        return Err(unsupported("this store does not know how to look for that"));
    };
    let mut before = None;
    loop {
        let Some(item) = run.item(&pk).await? else { return Ok(None) };
        let ids = ids_of(&item)?;
        let rows = match &ids[..] {
            [id] => run.row(id).await?.into_iter().collect(),
            ids => rows(&mut run, ids).await?,
        };
        // Between the two reads somebody may have moved the value to another token. Once they agree,
        // or the list stays as it is, that is what is stored.
        let agree = rows.len() == ids.len() && rows.iter().all(|row| key.matches(&row.token));
        if agree || before.as_ref() == Some(&ids) {
            let tokens: Vec<OAuthToken> = rows.into_iter().map(|row| row.token).collect();
            return Ok(matching::find_one(&query, &tokens)?.cloned());
        }
        before = Some(ids);
    }
}

pub(crate) async fn delete(mut run: Run, id: TokenId) -> Result<bool, StoreError> {
    let mut careful = false;
    loop {
        let Some(row) = run.row(&id).await? else { return Ok(false) };
        let plan = Plan {
            known: vec![row],
            read: HashMap::new(),
            gone: HashSet::new(),
            write: None,
            remove: Some(id.clone()),
        };
        if run.commit(plan, careful).await? == Commit::Done {
            return Ok(true);
        }
        careful = true;
        run.again(busy()).await;
    }
}

pub(crate) async fn replace(
    mut run: Run,
    expected: OAuthToken,
    token: OAuthToken,
    fence: Option<Lease>,
) -> Result<Replaced, StoreError> {
    let mut careful = false;
    loop {
        let row = match expected.id() {
            Some(id) => run.row(id).await?,
            None => None,
        };
        let entry = row.as_ref().map(Row::entry).transpose()?;
        let stored = row.as_ref().map(|row| row.token.clone());
        let replaced = plan_replace(stored, entry.as_ref(), &expected, &token, fence.as_ref())?;
        let (Replaced::Saved(merged), Some(row)) = (&replaced, row) else { return Ok(replaced) };
        let write = row.clone().with_token(merged.clone(), &token);
        if change(&mut run, row, write, careful).await? {
            return Ok(replaced);
        }
        careful = true;
    }
}

/// Writes a token in the place of itself. `false` if it has been changed meanwhile: the caller
/// reads again.
pub(crate) async fn change(
    run: &mut Run,
    was: Row,
    write: Row,
    careful: bool,
) -> Result<bool, StoreError> {
    let plan = Plan {
        known: vec![was],
        read: HashMap::new(),
        gone: HashSet::new(),
        write: Some(write),
        remove: None,
    };
    let done = run.commit(plan, careful).await? == Commit::Done;
    if !done {
        run.again(busy()).await;
    }
    Ok(done)
}

fn busy() -> StoreError {
    StoreError::new(StoreErrorKind::Busy, "others are writing the same tokens")
        .with_hint("try again")
}

fn unsupported(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, message)
}
