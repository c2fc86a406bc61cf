//! [`Engine`]: reads and changes of a [`Catalog`] and the secrets it names.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_lock::Mutex as AsyncMutex;
use tokenkeep_core::{
    Catalog, Changes, Clock, Draft, OAuthToken, Operation, Outcome, StoreError, StoreErrorKind,
    TokenId,
};
use zeroize::Zeroizing;

use crate::{lock::Lock, secrets::Secrets};

/// The entry that has the catalog.
const INDEX: &str = "index";
/// How the names of the entries with tokens begin.
const TOKEN: &str = "token ";

/// The most tokens: the daemon writes its whole file at each change of an entry, so that each one
/// makes all changes slower, those of other programs too.
const MOST: usize = 500;

/// What all clones of a store share.
pub(crate) struct Engine {
    secrets: Secrets,
    lock: Lock,
    pub(crate) clock: Arc<dyn Clock>,
    /// The changes of this process take turns before they take the lock.
    changing: Arc<AsyncMutex<()>>,
    /// Tokens by their entries, which never change.
    tokens: Mutex<HashMap<String, OAuthToken>>,
    is_swept: AtomicBool,
}

/// What was read: the catalog, and tokens, or why they cannot be had.
pub(crate) struct Read {
    pub(crate) catalog: Catalog,
    pub(crate) tokens: Vec<Result<OAuthToken, StoreError>>,
}

impl Engine {
    pub(crate) fn new(secrets: Secrets, lock: Lock, clock: Arc<dyn Clock>) -> Self {
        Self {
            secrets,
            lock,
            clock,
            changing: Arc::default(),
            tokens: Mutex::default(),
            is_swept: AtomicBool::new(false),
        }
    }

    /// The catalog as it is now.
    pub(crate) fn catalog(&self) -> Result<Catalog, StoreError> {
        let Some(index) = self.secrets.get(INDEX)? else { return Ok(Catalog::default()) };
        let json = serde_json::from_slice(&index).map_err(|_may_repeat| {
            StoreError::new(StoreErrorKind::Corrupt, "the store's index cannot be read")
                .with_hint("another program uses this service's name; choose another one")
        })?;
        Catalog::from_json(json)
    }

    /// Reads on a thread that may block the tokens that `pick` names.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        pick: impl Fn(&Catalog) -> Vec<TokenId> + Send + 'static,
        answer: impl FnOnce(Read) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = Arc::clone(self);
        let answer = blocking::unblock(move || answer(engine.load(&pick)?)).await;
        answer.map_err(|error| error.during(operation))
    }

    /// All that is there while nobody changes it, and how many entries the catalog does not name.
    pub(crate) async fn survey(self: &Arc<Self>) -> Result<(Read, usize), StoreError> {
        let engine = Arc::clone(self);
        blocking::unblock(move || {
            let _locked = engine.lock.take()?;
            let read = engine.load(&|catalog: &Catalog| catalog.ids().cloned().collect())?;
            let left_over = engine.left_over(&read.catalog)?.len();
            Ok((read, left_over))
        })
        .await
    }

    fn load(&self, pick: &impl Fn(&Catalog) -> Vec<TokenId>) -> Result<Read, StoreError> {
        let mut catalog = self.catalog()?;
        let used: HashSet<&str> = catalog.secrets().collect();
        self.known().retain(|name, _token| used.contains(name.as_str()));
        loop {
            let ids = pick(&catalog);
            let tokens = ids.iter().map(|id| self.token(&catalog, id));
            let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
            if tokens.iter().all(Result::is_ok) {
                return Ok(Read { catalog, tokens });
            }
            // What is not there was removed by a later change, if there is one.
            let now = self.catalog()?;
            if now.change() == catalog.change() {
                return Ok(Read { catalog, tokens });
            }
            catalog = now;
        }
    }

    /// The outer error is one of the keyring, the inner one says that this token is damaged.
    fn token(
        &self,
        catalog: &Catalog,
        id: &TokenId,
    ) -> Result<Result<OAuthToken, StoreError>, StoreError> {
        let Some(name) = catalog.secret(id) else { return Ok(Catalog::read_fields(id, None)) };
        if let Some(token) = self.known().get(name) {
            return Ok(Ok(token.clone()));
        }
        let secret = self.secrets.get(&entry(name))?;
        let fields = secret.and_then(|secret| serde_json::from_slice(&secret).ok());
        let token = Catalog::read_fields(id, fields);
        if let Ok(token) = &token {
            self.known().insert(name.to_owned(), token.clone());
        }
        Ok(token)
    }

    /// What is done under this lock cannot be left half done.
    fn known(&self) -> MutexGuard<'_, HashMap<String, OAuthToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change on a thread that may block: reads the tokens that `pick` names, lets `plan`
    /// decide, writes. Once begun, it runs to its end, also if nobody waits for it.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        pick: impl Fn(&Catalog) -> Vec<TokenId> + Send + 'static,
        plan: impl FnOnce(&mut Draft) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = self.changing.lock_arc().await;
        let engine = Arc::clone(self);
        let changed = blocking::unblock(move || {
            let _turn = turn;
            let _locked = engine.lock.take()?;
            let Read { catalog, tokens } = engine.load(&pick)?;
            let mut draft = catalog.draft(tokens.into_iter().collect::<Result<Vec<_>, _>>()?)?;
            let answer = plan(&mut draft)?;
            if let Some(changes) = draft.finish(&random()?) {
                if changes.catalog.len() > catalog.len().max(MOST) {
                    return Err(full());
                }
                engine.carry_out(&catalog, changes)?;
            }
            Ok(answer)
        });
        changed.await.map_err(|error: StoreError| error.during(operation))
    }

    /// New entries, then the catalog, then what is not named any more.
    fn carry_out(&self, before: &Catalog, changes: Changes) -> Result<(), StoreError> {
        let Changes { catalog, writes, removes, .. } = changes;
        let add = || {
            for (name, token) in &writes {
                let fields = Zeroizing::new(Catalog::expose_fields(token).to_string());
                self.secrets.set(&entry(name), fields.as_bytes())?;
            }
            Ok(catalog.to_json()?.to_string())
        };
        let committed = add()
            .map_err(|error: StoreError| not_applied(error))
            .and_then(|index| self.commit(before, &catalog, index.as_bytes()));
        match &committed {
            Ok(()) => {
                self.known().extend(writes);
                self.tidy(removes.iter().map(String::as_str));
                if !self.is_swept.swap(true, Ordering::Relaxed) {
                    self.sweep(&catalog);
                }
            }
            // Nobody knows whether the catalog names the new ones.
            Err(error) if error.outcome() == Outcome::Unknown => {
                self.is_swept.store(false, Ordering::Relaxed);
            }
            Err(_) => self.tidy(writes.iter().map(|(name, _token)| name.as_str())),
        }
        committed
    }

    /// Writes the catalog: the moment a change is made. Where that fails, it is looked at whether
    /// it was made.
    fn commit(&self, before: &Catalog, after: &Catalog, index: &[u8]) -> Result<(), StoreError> {
        let Err(error) = self.secrets.set(INDEX, index) else { return Ok(()) };
        match self.catalog() {
            Ok(now) if now.change() == after.change() => Ok(()),
            Ok(now) if now.change() == before.change() => Err(not_applied(error)),
            Ok(_) | Err(_) => Err(error.with_outcome(Outcome::Unknown)),
        }
    }

    /// Removes entries that nobody names. What stays behind is swept later.
    fn tidy<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            self.known().remove(name);
            if let Err(error) = self.secrets.remove(&entry(name)) {
                tracing::warn!(%error, "an old entry stays in the keyring until the next sweep");
                self.is_swept.store(false, Ordering::Relaxed);
            }
        }
    }

    /// Removes what crashed processes left.
    fn sweep(&self, catalog: &Catalog) {
        match self.left_over(catalog) {
            Ok(names) => self.tidy(names.iter().map(String::as_str)),
            Err(error) => tracing::debug!(%error, "cannot look for unused entries"),
        }
    }

    /// Tokens that the catalog does not name. Under the lock nobody is about to name any of them.
    fn left_over(&self, catalog: &Catalog) -> Result<Vec<String>, StoreError> {
        let used: HashSet<&str> = catalog.secrets().collect();
        let names = self.secrets.names()?;
        let tokens = names.iter().filter_map(|name| name.strip_prefix(TOKEN));
        Ok(tokens.filter(|name| !used.contains(name)).map(str::to_owned).collect())
    }

    pub(crate) fn service(&self) -> &str {
        self.secrets.service()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// The keyring was not asked to do what decides.
fn not_applied(error: StoreError) -> StoreError {
    if error.kind() == StoreErrorKind::Unavailable {
        return error.with_outcome(Outcome::NotApplied);
    }
    error
}

fn full() -> StoreError {
    let message = format!("the keyring store takes at most {MOST} tokens");
    StoreError::new(StoreErrorKind::Full, message)
        .with_hint("keep so many in a file or a database: sqlite:PATH, say")
}

/// The entry of a secret that the catalog names.
fn entry(name: &str) -> String {
    format!("{TOKEN}{name}")
}

fn random() -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Other, "the system gives no random numbers")
            .with_source(error)
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
