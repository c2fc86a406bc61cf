//! The six operations: what is meant by core's rules, and what is written.

use std::collections::BTreeSet;

use tokenkeep_core::{
    Field, OAuthToken, QueryKey, StoreError, StoreErrorKind, TokenId, TokenQuery,
    matching::{self, SavePlan},
};

use super::{
    directory::Snapshot,
    document::Document,
    index::{Index, Row},
    secrets::{Run, Written, busy},
    tokens::{Loaded, Tokens, View},
};

/// What a token is found by, beside its id and its user.
const VALUES: [Field; 3] = [Field::AccessToken, Field::GrantToken, Field::RefreshToken];

/// The token that `query` means: of a user those of that user are read, otherwise all.
pub(crate) async fn find(
    mut run: Run,
    query: TokenQuery,
) -> Result<Option<OAuthToken>, StoreError> {
    let pick = |index: &Index| match query.key() {
        QueryKey::User(name) => index.of_user(name),
        QueryKey::AccessToken(_) | QueryKey::GrantToken(_) | QueryKey::RefreshToken(_) | _ => {
            index.tokens.keys().cloned().collect()
        }
    };
    let View { tokens, .. } = run.view(pick).await?;
    let (mut found, mut damage) = (Vec::with_capacity(tokens.len()), None);
    for (_id, read) in tokens {
        match read {
            Ok(loaded) => found.push(loaded.document.token),
            Err(error) => damage = Some(error),
        }
    }
    match (matching::find_one(&query, &found)?, damage) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, None) => Ok(None),
        // It may be the one that is meant.
        (None, Some(damage)) => Err(damage),
    }
}

pub(crate) async fn find_by_id(
    mut run: Run,
    id: TokenId,
) -> Result<Option<OAuthToken>, StoreError> {
    let found = run.view(|_index| vec![id.clone()]).await?.one(&id)?;
    Ok(found.map(|loaded| loaded.document.token))
}

/// All tokens, as each is at the moment it is read.
pub(crate) async fn all(mut run: Run) -> Result<Vec<OAuthToken>, StoreError> {
    let View { tokens, .. } = run.view(|index| index.tokens.keys().cloned().collect()).await?;
    tokens.into_iter().map(|(_id, read)| Ok(read?.document.token)).collect()
}

/// A save under way.
struct Save {
    run: Run,
    token: OAuthToken,
    /// A secret that was made for it, as long as nobody names it.
    made: Option<(String, String)>,
    waited: u32,
}

/// What one round of a save came to.
enum Round {
    Done(Box<OAuthToken>),
    Again,
    /// The index has to be changed, which others of this process are doing.
    InTurn,
}

pub(crate) async fn save(run: Run, token: OAuthToken) -> Result<OAuthToken, StoreError> {
    let mut save = Save { run, token, made: None, waited: 0 };
    let mut turn = None;
    loop {
        match save.round(&mut turn).await? {
            Round::Done(saved) => return Ok(*saved),
            Round::InTurn => turn = Some(save.run.index_turn().await),
            Round::Again => save.run.again(busy()).await,
        }
    }
}

type Turn = Option<tokio::sync::OwnedMutexGuard<()>>;

impl Save {
    async fn round(&mut self, turn: &mut Turn) -> Result<Round, StoreError> {
        let token = self.token.clone();
        let View { snapshot, tokens } = self.run.view(|index| candidates(index, &token)).await?;
        let loaded = readable(&snapshot.index, tokens, &token)?;
        let tokens: Vec<&OAuthToken> = loaded.iter().map(|one| &one.document.token).collect();
        match matching::plan_save(&token, &tokens)? {
            SavePlan::Update { id, merged, absorbs } => {
                let stored = one(&loaded, &id)?;
                let absorbed = absorbs.map(|id| one(&loaded, &id)).transpose()?;
                let changes_index = absorbed.is_some() || Run::changes_index(stored, &merged);
                if changes_index && !self.takes(turn) {
                    return Ok(Round::InTurn);
                }
                self.update(&snapshot, stored, *merged, absorbed).await
            }
            SavePlan::Insert if !self.takes(turn) => Ok(Round::InTurn),
            SavePlan::Insert => self.insert(&snapshot).await,
            _ => Err(unsupported()),
        }
    }

    /// Whether it is this save's turn to change the index.
    fn takes(&self, turn: &mut Turn) -> bool {
        if turn.is_none() {
            *turn = self.run.try_index_turn();
        }
        turn.is_some()
    }

    async fn update(
        &mut self,
        over: &Snapshot,
        stored: &Loaded,
        merged: OAuthToken,
        absorbed: Option<&Loaded>,
    ) -> Result<Round, StoreError> {
        let changes = absorbed.is_some() || merged != stored.document.token;
        if changes {
            for one in [Some(stored), absorbed].into_iter().flatten() {
                if !self.run.is_settled(one, &mut self.waited).await? {
                    return Ok(Round::Again);
                }
            }
            let mut document = stored.document.clone().with_token(merged.clone());
            if let Some(absorbed) = absorbed {
                document = document.with_state_of(absorbed.document.clone());
            }
            let put = self.run.put(over, stored, document, absorbed).await?;
            if put == Written::Conflict {
                return Ok(Round::Again);
            }
            // Beside an update of this token's secret somebody may have stored the same login
            // without its user. Whoever of the two looks last sees the other.
            if absorbed.is_none()
                && merged.user_name().is_some()
                && new_values(&stored.document.token, &merged)
            {
                self.run.begun();
                if self.has_new_nameless(over).await? {
                    return Ok(Round::Again);
                }
            }
        }
        Ok(Round::Done(Box::new(merged)))
    }

    async fn has_new_nameless(&mut self, over: &Snapshot) -> Result<bool, StoreError> {
        let known = &over.index.tokens;
        let now = self.run.index().await?.index;
        Ok(now.nameless().iter().any(|id| now.tokens.get(id) != known.get(id)))
    }

    async fn insert(&mut self, over: &Snapshot) -> Result<Round, StoreError> {
        let index = &over.index;
        let id = self.token.id().cloned().map_or_else(|| index.next_id(), Ok)?;
        let saved = OAuthToken::new_row(id.clone(), &self.token);
        let text = Document::new(saved.clone()).to_text()?;
        // The secret of an earlier round serves, for it does not say the id.
        let end = match self.made.take().filter(|(_end, made)| *made == text) {
            Some((end, _text)) => end,
            None => {
                let mut larger = index.clone();
                larger.put(id.clone(), Row::new("abcdefghijkl", &saved));
                larger.to_text()?;
                self.run.create_aside("token", &text).await?
            }
        };
        let mut index = index.clone();
        index.put(id.clone(), Row::new(&end, &saved));
        if self.run.commit(over, index).await? == Written::Conflict {
            self.made = Some((end, text));
            return Ok(Round::Again);
        }
        self.run.keep(&self.run.token_name(&end));
        if saved.user_name().is_none() {
            self.run.begun();
            return self.fold(id, saved).await;
        }
        Ok(Round::Done(Box::new(saved)))
    }

    /// Somebody may have given a user's token one of the values of `saved` while that was stored
    /// without its user: then they are one. (See [`update`](Self::update).)
    async fn fold(&mut self, id: TokenId, saved: OAuthToken) -> Result<Round, StoreError> {
        let token = self.token.clone().without_id();
        loop {
            let all = |index: &Index| index.tokens.keys().cloned().collect();
            let View { snapshot, tokens } = self.run.view(all).await?;
            let loaded = readable(&snapshot.index, tokens, &token)?;
            let (own, others): (Vec<&Loaded>, Vec<&Loaded>) =
                loaded.iter().partition(|one| one.id == id);
            let named = others.iter().filter(|one| one.document.token.user_name().is_some());
            let named: Vec<&OAuthToken> = named.map(|one| &one.document.token).collect();
            let Some(own) = own.first() else {
                // Somebody else has seen it.
                return Ok(Round::Again);
            };
            let Ok(SavePlan::Update { id, merged, .. }) = matching::plan_save(&token, &named)
            else {
                return Ok(Round::Done(Box::new(saved)));
            };
            let stored = one(&loaded, &id)?;
            if let Round::Done(merged) = self.update(&snapshot, stored, *merged, Some(own)).await? {
                return Ok(Round::Done(merged));
            }
            self.run.again(busy()).await;
        }
    }
}

/// The tokens that have to be at hand to save `token`.
///
/// A save that names its user has to do with that user's tokens and with those whose user is not
/// known; one that does not may mean any token with one of its values, unless it says which.
fn candidates(index: &Index, token: &OAuthToken) -> Vec<TokenId> {
    let own = token.id().filter(|id| index.tokens.contains_key(*id)).cloned();
    match (token.user_name(), own) {
        (Some(name), own) => {
            let ids = index.of_user(name).into_iter().chain(index.nameless()).chain(own);
            ids.collect::<BTreeSet<_>>().into_iter().collect()
        }
        (None, Some(own)) => vec![own],
        (None, None) => index.tokens.keys().cloned().collect(),
    }
}

/// Those that can be read. What cannot be is passed over, unless it may be what is meant.
fn readable(index: &Index, tokens: Tokens, token: &OAuthToken) -> Result<Vec<Loaded>, StoreError> {
    let of_user = token.user_name().map(|name| index.of_user(name)).unwrap_or_default();
    let mut loaded = Vec::with_capacity(tokens.len());
    for (id, read) in tokens {
        match read {
            Ok(one) => loaded.push(one),
            Err(error) if token.id() == Some(&id) || of_user.contains(&id) => return Err(error),
            Err(error) => tracing::warn!(%error, "a token is passed over"),
        }
    }
    Ok(loaded)
}

fn one<'a>(loaded: &'a [Loaded], id: &TokenId) -> Result<&'a Loaded, StoreError> {
    let found = loaded.iter().find(|one| one.id == *id);
    found.ok_or_else(|| StoreError::new(StoreErrorKind::Other, "the plan means a token not read"))
}

/// Whether `after` is found by a value that `before` did not have.
fn new_values(before: &OAuthToken, after: &OAuthToken) -> bool {
    let (before, after) = (before.expose_columns(), after.expose_columns());
    VALUES.into_iter().any(|field| {
        let value = &after[field as usize];
        value.is_some() && *value != before[field as usize]
    })
}

pub(crate) async fn delete(mut run: Run, id: TokenId) -> Result<bool, StoreError> {
    let _turn = run.index_turn().await;
    loop {
        let snapshot = run.index().await?;
        let mut index = snapshot.index.clone();
        let Some(row) = index.tokens.remove(&id) else { return Ok(false) };
        if run.commit(&snapshot, index).await? == Written::Done {
            let name = run.token_name(row.secret());
            run.after().unused.push(name);
            return Ok(true);
        }
        run.again(busy()).await;
    }
}

pub(crate) async fn delete_all(mut run: Run) -> Result<u64, StoreError> {
    let _turn = run.index_turn().await;
    loop {
        let snapshot = run.index().await?;
        let mut index = snapshot.index.clone();
        let rows = std::mem::take(&mut index.tokens);
        if rows.is_empty() {
            return Ok(0);
        }
        if run.commit(&snapshot, index).await? == Written::Done {
            let names = rows.values().map(|row| run.token_name(row.secret()));
            let names: Vec<String> = names.collect();
            run.after().unused.extend(names);
            return Ok(rows.len() as u64);
        }
        run.again(busy()).await;
    }
}

fn unsupported() -> StoreError {
    let message = "this store does not know how to save that";
    StoreError::new(StoreErrorKind::Unsupported, message)
}
