#![expect(clippy::unwrap_used, reason = "a store for tests")]

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    Clock, Lease, LeaseAttempt, OAuthToken, Page, Replaced, SharedStore, Sidecar, StoreError,
    StoreErrorKind, TokenId, TokenMeta, TokenQuery, TokenState, TokenStore, TokenTable, matching,
    next_id,
};
use tokenkeep_testkit::conformance::{Capabilities, Fixture, SetupError, Space};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LetsGo,
    LetsGoOfTheId,
    TextIds,
    GivesIdsAgain,
    FoldsCase,
    Trims,
    ChangesLineBreaks,
    Cuts,
    FirstRow,
    AnyRowById,
    LosesAbsentFields,
    ErrorIsAbsence,
    DoesNotFold,
    ReplacesBlindly,
    ComparesOneField,
    IgnoresTheFence,
    RestartsGenerations,
    KeepsState,
    ListsByText,
    ShowsSecrets,
    HidesShared,
}

pub(crate) struct BrokenStores(pub(crate) Option<Fault>);

#[async_trait]
impl Fixture for BrokenStores {
    fn name(&self) -> &str {
        "broken"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(BrokenSpace(self.0, OnceLock::new())))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().shared().bulk(200, 200)
    }
}

struct BrokenSpace(Option<Fault>, OnceLock<Arc<BrokenStore>>);

#[async_trait]
impl Space for BrokenSpace {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        let store = self.1.get_or_init(|| {
            Arc::new(BrokenStore { fault: self.0, clock, contents: Mutex::default() })
        });
        Ok(Arc::clone(store) as _)
    }
}

struct BrokenStore {
    fault: Option<Fault>,
    clock: Arc<dyn Clock>,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    table: TokenTable,
    sidecar: Sidecar,
}

impl fmt::Debug for BrokenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.has(Fault::ShowsSecrets) {
            for token in self.contents().table.iter() {
                write!(f, "{:?}", token.expose_columns())?;
            }
        }
        f.write_str("BrokenStore")
    }
}

impl BrokenStore {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }

    /// What the store makes of a text that it is given.
    fn text(&self, text: &str) -> String {
        match self.fault {
            Some(Fault::Trims) if !text.trim().is_empty() => text.trim_end().to_owned(),
            Some(Fault::ChangesLineBreaks) => text.replace("\r\n", "\n").replace('\r', "\n"),
            Some(Fault::Cuts) => text.chars().take(255).collect(),
            _ => text.to_owned(),
        }
    }

    /// What the store makes of a token that it is given.
    fn taken(&self, contents: &Contents, token: &OAuthToken) -> OAuthToken {
        let mut taken = token.clone();
        if matches!(self.fault, Some(Fault::Trims | Fault::ChangesLineBreaks | Fault::Cuts)) {
            let columns = token.expose_columns().map(|column| column.map(|c| self.text(&c)));
            taken = OAuthToken::from_columns(columns).unwrap();
        }
        if self.has(Fault::FoldsCase)
            && let Some(name) = token.user_name()
            && let Some(known) = folded(contents, name)
        {
            taken = taken.with_user_name(known).unwrap();
        }
        taken
    }

    fn find(
        &self,
        contents: &Contents,
        query: &TokenQuery,
    ) -> Result<Option<OAuthToken>, StoreError> {
        if self.has(Fault::FirstRow) {
            return Ok(contents
                .table
                .iter()
                .find(|token| matching::matches(query, token))
                .cloned());
        }
        let mut query = query.clone();
        if self.has(Fault::FoldsCase)
            && let tokenkeep_core::QueryKey::User(name) = query.key()
            && let Some(known) = folded(contents, name)
        {
            query = TokenQuery::user(known)?;
        }
        match contents.table.find(&query) {
            Err(_swallowed) if self.has(Fault::ErrorIsAbsence) => Ok(None),
            found => found.map(Option::<&OAuthToken>::cloned),
        }
    }

    fn insert(
        &self,
        contents: &mut Contents,
        token: &OAuthToken,
    ) -> Result<OAuthToken, StoreError> {
        let table = &mut contents.table;
        let given = token.id().cloned();
        let id = match self.fault {
            _ if given.is_some() => given.unwrap(),
            Some(Fault::TextIds) => {
                let largest = table.iter().filter_map(|t| t.id()).map(TokenId::as_str).max();
                let number = largest.unwrap_or("0").parse::<u64>().map_err(|_text| {
                    StoreError::new(StoreErrorKind::Other, "the largest id is not a number")
                })?;
                TokenId::from_number(number + 1)
            }
            Some(Fault::GivesIdsAgain) => {
                let largest = table.iter().filter_map(|t| t.id()?.number()).max();
                next_id(largest.unwrap_or(0))?
            }
            _ => next_id(table.last_id())?,
        };
        if table.find_by_id(&id)?.is_some() {
            return Err(StoreError::new(StoreErrorKind::Other, "duplicate id"));
        }
        let stored = OAuthToken::new_row(id.clone(), token);
        table.put(&id, stored.clone());
        Ok(stored)
    }

    fn save(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let token = &self.taken(&self.contents(), token);
        if matches!(self.fault, Some(Fault::LetsGo | Fault::LetsGoOfTheId)) {
            let (saved, last_id) = {
                let table = &self.contents().table;
                (table.plan(token, 0)?, TokenId::from_number(table.last_id()))
            };
            let contents = &mut *self.contents();
            let new = saved.token.id() > Some(&last_id);
            if new && self.has(Fault::LetsGo) {
                return self.insert(contents, token);
            }
            contents.table.apply(&saved);
            return Ok(saved.token);
        }
        let contents = &mut *self.contents();
        if self.has(Fault::DoesNotFold) && token.user_name().is_some() && token.id().is_none() {
            let query = TokenQuery::user(token.user_name().unwrap())?;
            return match contents.table.find(&query)?.cloned() {
                Some(stored) => {
                    let merged = stored.merged_with(token);
                    contents.table.put(stored.id().unwrap(), merged.clone());
                    Ok(merged)
                }
                None => self.insert(contents, token),
            };
        }
        let saved = match contents.table.plan(token, 0) {
            Err(_swallowed) if self.has(Fault::ErrorIsAbsence) => {
                return Ok(token.clone().with_id(TokenId::from_number(1)));
            }
            saved => saved?,
        };
        let id = saved.token.id().unwrap().clone();
        if contents.table.find_by_id(&id)?.is_none() {
            return self.insert(contents, token);
        }
        if self.has(Fault::LosesAbsentFields) {
            let stored = OAuthToken::new_row(id.clone(), token);
            contents.table.put(&id, stored.clone());
            return Ok(stored);
        }
        contents.table.apply(&saved);
        if let Some(absorbed) = &saved.absorbed {
            contents.sidecar.absorb(absorbed, &saved.token);
        }
        Ok(saved.token)
    }

    fn replace(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let fence = fence.filter(|_| !self.has(Fault::IgnoresTheFence));
        if self.has(Fault::LetsGo) {
            let replaced = {
                let Contents { table, sidecar } = &*self.contents();
                sidecar.plan_replace(table, expected, token, fence)?
            };
            if let Replaced::Saved(merged) = &replaced {
                self.contents().table.put(merged.id().unwrap(), merged.clone());
            }
            return Ok(replaced);
        }
        let Contents { table, sidecar } = &mut *self.contents();
        let stored = expected.id().and_then(|id| table.find_by_id(id).ok().flatten()).cloned();
        let expected = match stored {
            Some(stored)
                if self.has(Fault::ReplacesBlindly)
                    || (self.has(Fault::ComparesOneField)
                        && stored.access_token() == expected.access_token()) =>
            {
                stored
            }
            _ => expected.clone(),
        };
        sidecar.replace(table, &expected, token, fence)
    }
}

fn folded(contents: &Contents, name: &str) -> Option<String> {
    contents
        .table
        .iter()
        .filter_map(OAuthToken::user_name)
        .find(|known| known.to_lowercase() == name.to_lowercase())
        .map(str::to_owned)
}

#[async_trait]
impl TokenStore for BrokenStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.find(&self.contents(), query)
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let contents = self.contents();
        let found = contents.table.find_by_id(id)?;
        let other = contents.table.iter().next().filter(|_| self.has(Fault::AnyRowById));
        Ok(found.or(other).cloned())
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.save(token)
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let contents = self.contents();
        let mut tokens: Vec<_> = contents.table.sorted().into_iter().cloned().collect();
        if self.has(Fault::ListsByText) {
            tokens.sort_by_key(|token| token.id().map(|id| id.as_str().to_owned()));
        }
        Ok(tokens)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let Contents { table, sidecar } = &mut *self.contents();
        if !self.has(Fault::KeepsState) {
            sidecar.remove(id);
        }
        Ok(table.remove(id))
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let Contents { table, sidecar } = &mut *self.contents();
        sidecar.tokens.clear();
        Ok(table.clear())
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        (!self.has(Fault::HidesShared)).then_some(self)
    }
}

#[async_trait]
impl SharedStore for BrokenStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        self.replace(expected, token, fence)
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let now = self.clock.now();
        if self.has(Fault::LetsGo) {
            let (token, mut looked_at) = {
                let Contents { table, sidecar } = &*self.contents();
                (table.find_by_id(id)?.cloned(), sidecar.clone())
            };
            let Some(token) = token else { return Ok(LeaseAttempt::NoToken) };
            let attempt = looked_at.try_lease(&token, holder, ttl, now);
            if matches!(attempt, LeaseAttempt::Granted(_)) {
                self.contents().sidecar = looked_at;
            }
            return Ok(attempt);
        }
        let Contents { table, sidecar } = &mut *self.contents();
        let token = table.find_by_id(id)?;
        Ok(token.map_or(LeaseAttempt::NoToken, |token| sidecar.try_lease(token, holder, ttl, now)))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let now = self.clock.now();
        Ok(self.contents().sidecar.renew_lease(lease, ttl, now))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let sidecar = &mut self.contents().sidecar;
        let released = sidecar.release_lease(lease);
        if self.has(Fault::RestartsGenerations) {
            sidecar.remove(&lease.token_id);
        }
        Ok(released)
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let Contents { table, sidecar } = &*self.contents();
        let token = table.find_by_id(id)?;
        Ok(token.and_then(|token| sidecar.state(token).cloned()))
    }

    async fn write_state(&self, id: &TokenId, state: &TokenState) -> Result<bool, StoreError> {
        let Contents { table, sidecar } = &mut *self.contents();
        let token = table.find_by_id(id)?;
        if let Some(token) = token {
            sidecar.write_state(token, state);
        }
        Ok(token.is_some())
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let Contents { table, sidecar } = &*self.contents();
        if self.has(Fault::ListsByText) {
            let mut tokens: Vec<_> =
                table.iter().filter_map(|token| TokenMeta::of(token, None)).collect();
            tokens.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
            tokens.retain(|meta| after.is_none_or(|after| meta.id.as_str() > after.as_str()));
            let more = tokens.len() > limit;
            tokens.truncate(limit);
            let next = tokens.last().filter(|_| more).map(|meta| meta.id.clone());
            return Ok(Page::new(tokens, next));
        }
        Ok(sidecar.page(table, after, limit))
    }
}
