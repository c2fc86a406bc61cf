//! [`Engine`]: reads and changes of a [`Catalog`] and the secrets it names.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokenkeep_core::{
    Catalog, Changes, Clock, Draft, OAuthToken, Operation, Outcome, StoreError, StoreErrorKind,
    TokenId,
};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    error::{Fault, Then},
    kv::{Kv, Read, Written},
    session::Deadline,
    turn::{self, Turn, Turns},
};

/// The secret that has the catalog.
pub(crate) const INDEX: &[&str] = &["index"];
/// Where the secrets with the tokens are.
pub(crate) const TOKENS: &str = "tokens";

/// How many requests of one operation are made at a time.
const AT_A_TIME: usize = 16;

/// After so many changes by others that were first, a process asks for its turn.
const LOSSES_BEFORE_TURN: u32 = 2;

/// What all clones of a store share.
pub(crate) struct Engine {
    pub(crate) kv: Kv,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timeout: Duration,
    /// Changes of this process are made one at a time.
    changing: AsyncMutex<()>,
    /// What was read last.
    known: Mutex<Option<Snapshot>>,
    /// Tokens by their secrets, which never change.
    tokens: Mutex<HashMap<String, OAuthToken>>,
    is_swept: AtomicBool,
    turns: Turns,
}

/// A version of the catalog.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// 0 if there is none.
    pub(crate) version: u64,
    pub(crate) catalog: Arc<Catalog>,
}

/// What became of writing a catalog.
enum Commit {
    Done,
    /// Somebody else has written one meanwhile.
    Lost,
}

impl Engine {
    pub(crate) fn new(kv: Kv, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        Self {
            kv,
            clock,
            timeout,
            changing: AsyncMutex::new(()),
            known: Mutex::new(None),
            tokens: Mutex::new(HashMap::new()),
            is_swept: AtomicBool::new(false),
            turns: Turns::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }

    /// The catalog as it is now.
    pub(crate) async fn fresh(&self, deadline: Deadline) -> Result<Snapshot, StoreError> {
        let known = lock(&self.known).clone();
        if let Some(known) = known.filter(|known| known.version > 0)
            && self.kv.version(INDEX, deadline).await.map_err(Fault::harmless)?
                == Some(known.version)
        {
            return Ok(known);
        }
        let read = self.kv.read::<Value>(INDEX, None, deadline).await.map_err(Fault::harmless)?;
        let snapshot = match read {
            Some(Read { version, data }) => {
                Snapshot { version, catalog: Arc::new(Catalog::from_json(data)?) }
            }
            None => Snapshot { version: 0, catalog: Arc::default() },
        };
        self.learn(&snapshot);
        Ok(snapshot)
    }

    /// Reads the tokens that `pick` names in the catalog as it is now: each, or why it cannot be.
    pub(crate) async fn read(
        &self,
        deadline: Deadline,
        pick: impl Fn(&Catalog) -> Vec<TokenId>,
    ) -> Result<(Snapshot, Vec<Result<OAuthToken, StoreError>>), StoreError> {
        let mut before = None;
        loop {
            let snapshot = self.fresh(deadline).await?;
            let ids = pick(&snapshot.catalog);
            let catalog = &snapshot.catalog;
            let reads: Vec<_> =
                ids.into_iter().map(|id| self.load(catalog, id, deadline).boxed()).collect();
            let reads: Vec<_> = stream::iter(reads).buffered(AT_A_TIME).try_collect().await?;
            // What is not there was removed by a later change, if there is one.
            if reads.iter().all(Result::is_ok) || before == Some(snapshot.version) {
                return Ok((snapshot, reads));
            }
            before = Some(snapshot.version);
        }
    }

    /// The same, where each of the tokens must be had.
    pub(crate) async fn read_all(
        &self,
        deadline: Deadline,
        pick: impl Fn(&Catalog) -> Vec<TokenId>,
    ) -> Result<(Snapshot, Vec<OAuthToken>), StoreError> {
        let (snapshot, tokens) = self.read(deadline, pick).await?;
        let tokens = tokens.into_iter().collect::<Result<_, _>>()?;
        Ok((snapshot, tokens))
    }

    async fn load(
        &self,
        catalog: &Catalog,
        id: TokenId,
        deadline: Deadline,
    ) -> Result<Result<OAuthToken, StoreError>, StoreError> {
        let Some(secret) = catalog.secret(&id) else {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "the index names no such token"));
        };
        if let Some(token) = lock(&self.tokens).get(secret) {
            return Ok(Ok(token.clone()));
        }
        let name = [TOKENS, secret];
        let fields = match self.kv.read::<Value>(&name, None, deadline).await {
            Ok(read) => read.map(|read| read.data),
            Err(fault) if fault.error.kind() == StoreErrorKind::Corrupt => None,
            Err(fault) => return Err(fault.harmless()),
        };
        Ok(match Catalog::read_fields(&id, fields) {
            Ok(token) => {
                lock(&self.tokens).insert(secret.to_owned(), token.clone());
                Ok(token)
            }
            Err(damage) => Err(damage),
        })
    }

    /// Makes a change: reads the tokens that `pick` names, lets `plan` decide, writes.
    ///
    /// It is made by a task of its own, and so to its end, also if nobody waits for it.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        pick: impl Fn(&Catalog) -> Vec<TokenId> + Send + Sync + 'static,
        plan: impl Fn(&mut Draft) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let engine = Arc::clone(self);
        let change = tokio::spawn(async move { engine.make(&pick, &plan).await });
        let made = match change.await {
            Ok(made) => made,
            Err(error) => {
                let message = "the runtime ended in the middle of a change";
                Err(StoreError::new(StoreErrorKind::Other, message)
                    .with_outcome(Outcome::Unknown)
                    .with_source(error))
            }
        };
        made.map_err(|error| error.during(operation))
    }

    async fn make<T>(
        &self,
        pick: &(impl Fn(&Catalog) -> Vec<TokenId> + Sync),
        plan: &(impl Fn(&mut Draft) -> Result<T, StoreError> + Sync),
    ) -> Result<T, StoreError> {
        let deadline = self.deadline();
        let _alone = tokio::time::timeout(deadline.left(), self.changing.lock())
            .await
            .map_err(|_elapsed| turn::busy("this process"))?;
        let mut turn = self.turns.next(random()?);
        turn.give_way(&self.kv, deadline).await;
        let made = self.attempt(pick, plan, deadline, &mut turn).await;
        turn.end(&self.kv, self.deadline()).await;
        made
    }

    /// Tries until nobody else was first, or the time is over.
    async fn attempt<T>(
        &self,
        pick: &(impl Fn(&Catalog) -> Vec<TokenId> + Sync),
        plan: &(impl Fn(&mut Draft) -> Result<T, StoreError> + Sync),
        deadline: Deadline,
        turn: &mut Turn<'_>,
    ) -> Result<T, StoreError> {
        let mut pauses = deadline.pauses();
        let mut lost = 0;
        loop {
            let (snapshot, tokens) = self.read_all(deadline, pick).await?;
            let mut draft = snapshot.catalog.draft(tokens)?;
            let answer = plan(&mut draft)?;
            let base = snapshot.version;
            let Some(changes) = draft.finish(&format!("{base}.{}", random()?)) else {
                return Ok(answer);
            };
            if base == 0 {
                // Empty first: a mount that is not what it should be shows here, before it is
                // given a secret.
                self.commit(0, &Catalog::default(), deadline).await?;
                continue;
            }
            if let Commit::Done = self.carry_out(base, changes, deadline).await? {
                return Ok(answer);
            }
            // It is another one for certain: it need not be asked for its version first.
            *lock(&self.known) = None;
            lost += 1;
            if lost >= LOSSES_BEFORE_TURN {
                turn.take(&self.kv, deadline).await;
            }
            // In its turn it loses to those only who have begun already.
            let goes_on =
                if turn.is_ours() { !deadline.left().is_zero() } else { pauses.next(None).await };
            if !goes_on {
                return Err(turn::busy("another process"));
            }
        }
    }

    /// New secrets, then the catalog, then what is not named any more.
    async fn carry_out(
        &self,
        base: u64,
        changes: Changes,
        deadline: Deadline,
    ) -> Result<Commit, StoreError> {
        let Changes { catalog, writes, removes, .. } = changes;
        let adding: Vec<_> =
            writes.iter().map(|(name, token)| self.add(name, token, deadline).boxed()).collect();
        let written = stream::iter(adding).buffer_unordered(AT_A_TIME).try_collect::<()>().await;
        let committed = match written {
            Ok(()) => self.commit(base, &catalog, deadline).await,
            Err(error) => Err(error),
        };
        match &committed {
            Ok(Commit::Done) => {
                lock(&self.tokens).extend(writes);
                self.learn(&Snapshot { version: base + 1, catalog: Arc::new(catalog) });
                self.tidy(removes.iter().map(String::as_str)).await;
                if !self.is_swept.swap(true, Ordering::Relaxed) {
                    self.sweep(base + 1).await;
                }
            }
            // Nobody knows whether the catalog names the new ones.
            Err(error) if error.outcome() == Outcome::Unknown => {
                self.is_swept.store(false, Ordering::Relaxed);
            }
            Ok(Commit::Lost) | Err(_) => {
                self.tidy(writes.iter().map(|(name, _token)| name.as_str())).await;
            }
        }
        committed
    }

    /// Writes a secret under a name that nobody else uses.
    async fn add(
        &self,
        name: &str,
        token: &OAuthToken,
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let data = Catalog::expose_fields(token);
        let name = [TOKENS, name];
        let mut pauses = deadline.pauses();
        loop {
            let fault = match self.kv.write(&name, &data, 0, deadline).await {
                // It is at another version if an earlier try was made and not answered.
                Ok(Written::Version(_) | Written::Mismatch) => return Ok(()),
                Err(fault) if fault.error.kind() == StoreErrorKind::Full => {
                    let message = "the token is larger than Vault takes";
                    return Err(StoreError::new(StoreErrorKind::Invalid, message)
                        .with_hint("raise max_entry_size in Vault's storage"));
                }
                Err(fault) => fault,
            };
            pauses.again(fault).await.map_err(Fault::harmless)?;
        }
    }

    /// Writes the catalog over the version `base`; the moment a change is made.
    ///
    /// Where no answer came, the same is asked again: it is not done twice, and that it had been
    /// done is seen by the name of the change.
    async fn commit(
        &self,
        base: u64,
        catalog: &Catalog,
        deadline: Deadline,
    ) -> Result<Commit, StoreError> {
        let json = catalog.to_json()?;
        let unknown = |error: StoreError| error.with_outcome(Outcome::Unknown);
        let mut in_doubt = false;
        let mut pauses = deadline.pauses();
        loop {
            let fault = match self.kv.write(INDEX, &json, base, deadline).await {
                Ok(Written::Version(_)) => return Ok(Commit::Done),
                Ok(Written::Mismatch) if !in_doubt => return Ok(Commit::Lost),
                Ok(Written::Mismatch) => {
                    let winner = self.kv.read::<Value>(INDEX, Some(base + 1), deadline).await;
                    let winner = winner.map_err(|fault| unknown(fault.error))?;
                    return match winner {
                        Some(winner) if winner.data["change"] == catalog.change() => {
                            Ok(Commit::Done)
                        }
                        Some(_) => Ok(Commit::Lost),
                        None => Err(unknown(StoreError::new(
                            StoreErrorKind::Unavailable,
                            "Vault did not answer, and others have changed the store since",
                        ))),
                    };
                }
                Err(fault) => fault,
            };
            let at_least = match fault.then {
                Then::GiveUp if in_doubt => return Err(unknown(fault.error)),
                Then::GiveUp => return Err(fault.error),
                Then::TryAgain(at_least) => at_least,
                Then::Doubt => {
                    in_doubt = true;
                    None
                }
            };
            tracing::debug!(error = %fault.error, "writing the index again");
            if !pauses.next(at_least).await {
                return Err(if in_doubt { unknown(fault.error) } else { fault.harmless() });
            }
        }
    }

    /// Removes secrets that nobody names. What stays behind is swept later.
    async fn tidy(&self, names: impl Iterator<Item = &str>) {
        let deadline = self.deadline();
        let names: Vec<&str> = names.collect();
        for name in &names {
            lock(&self.tokens).remove(*name);
        }
        let removing: Vec<_> =
            names.into_iter().map(|name| self.remove(name, deadline).boxed()).collect();
        let removed = stream::iter(removing).buffer_unordered(AT_A_TIME);
        let removed: Vec<Result<(), Fault>> = removed.collect().await;
        if let Some(fault) = removed.into_iter().find_map(Result::err) {
            tracing::warn!(error = %fault.error, "old secrets stay in Vault until the next sweep");
            self.is_swept.store(false, Ordering::Relaxed);
        }
    }

    async fn remove(&self, name: &str, deadline: Deadline) -> Result<(), Fault> {
        self.kv.remove(&[TOKENS, name], deadline).await
    }

    /// Removes what crashed processes left. `version` is one that the catalog has had.
    async fn sweep(&self, version: u64) {
        match self.left_over(self.deadline()).await {
            Ok(names) => {
                if !names.is_empty() {
                    tracing::debug!(count = names.len(), version, "removing unused secrets");
                    self.tidy(names.iter().map(String::as_str)).await;
                }
            }
            Err(error) => tracing::debug!(%error, "cannot look for unused secrets"),
        }
    }

    /// Secrets that no catalog names or is going to name.
    ///
    /// The name of a secret says over which version of the catalog its own was to be written. Once
    /// there is a later one, that cannot be done any more.
    pub(crate) async fn left_over(&self, deadline: Deadline) -> Result<Vec<String>, StoreError> {
        let mut names = self.kv.list(&[TOKENS], deadline).await.map_err(Fault::harmless)?;
        let snapshot = self.fresh(deadline).await?;
        let used: HashSet<&str> = snapshot.catalog.secrets().collect();
        names.retain(|name| {
            !used.contains(name.as_str()) && base(name).is_some_and(|base| base < snapshot.version)
        });
        Ok(names)
    }

    /// Keeps what is newer, and forgets the tokens that are gone.
    fn learn(&self, snapshot: &Snapshot) {
        let mut known = lock(&self.known);
        let mut tokens = lock(&self.tokens);
        let used: HashSet<&str> = snapshot.catalog.secrets().collect();
        tokens.retain(|secret, _token| used.contains(secret.as_str()));
        *known = Some(snapshot.clone());
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("kv", &self.kv).finish_non_exhaustive()
    }
}

/// Nothing that is done under these locks can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The version of the catalog that is in a name.
fn base(name: &str) -> Option<u64> {
    name.rsplit('.').nth(1)?.parse().ok()
}

fn random() -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::new(StoreErrorKind::Other, "the system gives no random numbers")
            .with_source(error)
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_over_which_catalog_it_was_written() {
        assert_eq!(base("17.42.ab12-0"), Some(42));
        assert_eq!((base("somebody's"), base("a.b"), base("")), (None, None, None));
    }
}
