#![expect(clippy::unwrap_used, reason = "a store for tests")]

mod coordination;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use async_trait::async_trait;
use tokenkeep_core::{
    Clock, OAuthToken, SharedStore, Sidecar, StoreError, StoreErrorKind, TokenId, TokenQuery,
    TokenStore, TokenTable, matching, next_id,
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
    GrantsTwice,
    IgnoresTheClockSetBack,
    KeepsTheFirstTtl,
    RenewsLostLeases,
    ForgetsWhoseLease,
    FencesByTheClock,
    ReplacesStateBlindly,
    ComparesStatusOnly,
    DropsTheUnknown,
    ForgetsEmptyState,
    KeepsState,
    MarkStays,
    MarkWanders,
    MarkIsOfTheContent,
    MarkComesFirst,
    MarkIsBlindToState,
    MarkIsBlindToLeases,
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
    changes: Changes,
}

/// How often something was changed.
#[derive(Default)]
struct Changes {
    tokens: u64,
    states: u64,
    leases: u64,
    /// How often anything was read.
    reads: u64,
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
        if self.has(Fault::MarkComesFirst) {
            self.contents().changes.tokens += 1;
            // Others get their turn here, as while a store waits for its disk.
            std::thread::yield_now();
            return self.save(token);
        }
        let saved = self.save(token);
        self.contents().changes.tokens += 1;
        saved
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let mut contents = self.contents();
        contents.changes.reads += 1;
        let mut tokens: Vec<_> = contents.table.sorted().into_iter().cloned().collect();
        if self.has(Fault::ListsByText) {
            tokens.sort_by_key(|token| token.id().map(|id| id.as_str().to_owned()));
        }
        Ok(tokens)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let Contents { table, sidecar, changes } = &mut *self.contents();
        changes.tokens += 1;
        if !self.has(Fault::KeepsState) {
            sidecar.remove(id);
        }
        Ok(table.remove(id))
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let Contents { table, sidecar, changes } = &mut *self.contents();
        changes.tokens += 1;
        sidecar.tokens.clear();
        Ok(table.clear())
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        (!self.has(Fault::HidesShared)).then_some(self)
    }
}
