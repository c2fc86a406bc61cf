//! [`FileStore`]: the six operations over one token file.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokenkeep_core::{
    Clock, OAuthToken, Operation, SharedStore, Sidecar, StoreError, TokenId, TokenQuery, TokenStore,
};

use crate::{
    atomic::{AtomicWriter, Written},
    cache::{Cache, Purpose, Snapshot},
    config::FileConfig,
    dialect::Dialect,
    document::Edits,
    error::kept_busy,
    lock::{Lock, Locked},
    side_file::{Condition, SideFile, SideSnapshot},
};

/// Tokens in the CSV file of the official Zoho CRM SDKs.
///
/// A clone is the same store. See [the crate](crate) for what is guaranteed.
///
/// ```
/// use tokenkeep_core::{OAuthToken, TokenStore};
/// use tokenkeep_store_file::FileStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("tokens.csv");
/// # futures_lite(async {
/// let store = FileStore::open(path)?;
/// let token = OAuthToken::builder()
///     .user_name("alice@example.com")
///     .refresh_token("test-refresh-token")
///     .build()?;
/// let saved = store.save_token(&token).await?;
/// assert_eq!(store.get_tokens().await?, [saved]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # fn futures_lite<F: Future>(future: F) -> F::Output {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) { return output; }
/// #         std::thread::yield_now();
/// #     }
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FileStore {
    pub(crate) inner: Arc<Inner>,
}

impl FileStore {
    /// Opens the token file at `path` in the [shared dialect](Dialect::Shared).
    ///
    /// # Errors
    ///
    /// See [`FileConfig::open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        FileConfig::new(path).open()
    }

    /// The absolute path of the token file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// How values are written.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    pub(crate) fn with_config(config: FileConfig) -> Self {
        let FileConfig { path, dialect, clock, lock_timeout } = config;
        let inner = Inner {
            cache: Cache::new(path.clone()),
            side: SideFile::new(with_suffix(&path, ".tokenkeep")),
            lock: Lock::new(with_suffix(&path, ".lock"), lock_timeout),
            writer: AtomicWriter::beside(&path),
            cleaned: AtomicBool::new(false),
            path,
            dialect,
            clock,
        };
        inner.clean_after_a_crash();
        Self { inner: Arc::new(inner) }
    }

    /// Runs `work` on a thread that may block. It runs to its end even if the caller goes away.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking::unblock(move || work(&inner)).await.map_err(|error| error.during(operation))
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.inner.path)
            .field("dialect", &self.inner.dialect)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for FileStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        if let Some(answer) = self.inner.cache.if_fresh(|snapshot| snapshot.find(query)) {
            return answer.map_err(|error| error.during(Operation::FindToken));
        }
        let query = query.clone();
        self.run(Operation::FindToken, move |inner| inner.cache.load(Purpose::Read)?.find(&query))
            .await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let find =
            |snapshot: &Snapshot, id: &TokenId| snapshot.find_by_id(id).map(Option::<&_>::cloned);
        if let Some(answer) = self.inner.cache.if_fresh(|snapshot| find(snapshot, id)) {
            return answer.map_err(|error| error.during(Operation::FindTokenById));
        }
        let id = id.clone();
        self.run(Operation::FindTokenById, move |inner| {
            find(&*inner.cache.load(Purpose::Read)?, &id)
        })
        .await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let token = token.clone();
        self.run(Operation::SaveToken, move |inner| inner.save(&token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.run(Operation::GetTokens, |inner| {
            let snapshot = inner.cache.load(Purpose::Read)?;
            snapshot.whole()?;
            Ok(snapshot.table.sorted().into_iter().cloned().collect())
        })
        .await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.run(Operation::DeleteToken, move |inner| inner.delete(&id)).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.run(Operation::DeleteTokens, Inner::delete_all).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

/// What all clones of a store share.
pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) dialect: Dialect,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cache: Cache,
    pub(crate) side: SideFile,
    pub(crate) lock: Lock,
    pub(crate) writer: AtomicWriter,
    cleaned: AtomicBool,
}

/// What an operation is going to write, and what it answers then.
pub(crate) struct Change<T> {
    pub(crate) rows: Option<Rows>,
    /// The side file to be written after the rows.
    pub(crate) side: Option<Sidecar>,
    pub(crate) answer: T,
}

/// A change of the token file.
#[derive(Default)]
pub(crate) struct Rows {
    /// The tokens to put in the place of those with their ids, or to add.
    pub(crate) put: Vec<OAuthToken>,
    pub(crate) remove: Vec<TokenId>,
    pub(crate) clear: bool,
}

impl<T> Change<T> {
    /// Nothing is written.
    pub(crate) fn none(answer: T) -> Self {
        Self { rows: None, side: None, answer }
    }
}

/// How often a change is planned anew because somebody changed the file under it.
const ATTEMPTS: usize = 8;

impl Inner {
    fn save(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.change(|snapshot, side| {
            let saved = snapshot.table.plan(token, side.sidecar.last_id)?;
            let side = saved.absorbed.as_ref().and_then(|absorbed| {
                let mut sidecar = side.sidecar.clone();
                sidecar.tokens.contains_key(absorbed).then(|| {
                    sidecar.absorb(absorbed, &saved.token);
                    sidecar
                })
            });
            let put = vec![saved.token.clone()];
            let remove = saved.absorbed.into_iter().collect();
            let rows = Rows { put, remove, clear: false };
            Ok(Change { rows: Some(rows), side, answer: saved.token })
        })
    }

    fn delete(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.change(|snapshot, side| {
            if !matches!(snapshot.table.find_by_id(id), Ok(None)) {
                let side = side.sidecar.tokens.contains_key(id).then(|| {
                    let mut sidecar = side.sidecar.clone();
                    sidecar.remove(id);
                    sidecar
                });
                let rows = Rows { remove: vec![id.clone()], ..Rows::default() };
                return Ok(Change { rows: Some(rows), side, answer: true });
            }
            snapshot.whole().map(|()| Change::none(false))
        })
    }

    fn delete_all(&self) -> Result<u64, StoreError> {
        self.change(|snapshot, side| {
            let had = snapshot.table.len() as u64;
            let mut sidecar = side.sidecar.clone();
            sidecar.tokens.clear();
            let side = (sidecar != side.sidecar).then_some(sidecar);
            let empty = had == 0 && !snapshot.document.is_damaged();
            let rows = (!empty).then(|| Rows { clear: true, ..Rows::default() });
            Ok(Change { rows, side, answer: had })
        })
    }

    /// Makes a change under the lock: reads what is there now, plans, writes.
    ///
    /// The order of the writes: first the side file, if the highest id is about to go or a state
    /// is about to move, so that neither can be lost; then the rows; then the side file again, if
    /// something in it belonged to a row that is gone. A crash in between leaves an id unused, or
    /// a state without a token, which the next write of the side file removes.
    pub(crate) fn change<T>(
        &self,
        plan: impl Fn(&Snapshot, &SideSnapshot) -> Result<Change<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let _locked = self.locked()?;
        for _ in 0..ATTEMPTS {
            let base = self.cache.load(Purpose::Write)?;
            let side = self.side.load()?;
            let Change { rows, side: new_side, answer } = plan(&base, &side)?;
            let Some(rows) = rows else {
                if let Some(sidecar) = new_side {
                    self.write_side(&base, &side, sidecar)?;
                }
                return Ok(answer);
            };
            if self.write_rows(base, &side, rows, new_side)? {
                return Ok(answer);
            }
            tracing::debug!("another program changed the token file meanwhile: planning anew");
        }
        Err(kept_busy(&self.path))
    }

    /// Writes the next version of the token file; `false` if somebody else has written one.
    fn write_rows(
        &self,
        base: Arc<Snapshot>,
        side: &Arc<SideSnapshot>,
        rows: Rows,
        new_side: Option<Sidecar>,
    ) -> Result<bool, StoreError> {
        base.ours()?;
        let mut put = Vec::with_capacity(rows.put.len());
        for token in &rows.put {
            let stored = match token.id() {
                Some(id) => base.table.find_by_id(id)?,
                None => None,
            };
            put.push((token, stored));
        }
        let edits = Edits { put, remove: &rows.remove, clear: rows.clear };
        let document = base.document.rewrite(&edits, self.dialect)?;
        let prepared = self.prepare_side(&base, side, &rows, new_side.as_ref())?;
        let is_current = || base.is_current();
        let Written::Done(version) =
            self.writer.replace(&self.path, document.bytes(), &self.path, is_current)?
        else {
            return Ok(false);
        };
        self.cache.advance(base, version, document, |table| {
            if rows.clear {
                table.clear();
            }
            for id in &rows.remove {
                table.remove(id);
            }
            for token in rows.put {
                if let Some(id) = token.id().cloned() {
                    table.put(&id, token);
                }
            }
        });
        if let Some(sidecar) = new_side {
            self.tidy_side(&prepared, sidecar);
        }
        Ok(true)
    }

    /// Writes to the side file what must not be lost when the rows have changed: the highest id
    /// ever given, and a state that moves to another token.
    fn prepare_side(
        &self,
        base: &Snapshot,
        side: &Arc<SideSnapshot>,
        rows: &Rows,
        new_side: Option<&Sidecar>,
    ) -> Result<Arc<SideSnapshot>, StoreError> {
        let highest = base.table.last_id();
        let highest_goes = rows.clear || rows.remove.iter().any(|id| id.number() == Some(highest));
        let given = new_side.map_or(0, |new_side| new_side.last_id);
        let last_id = if highest_goes { highest.max(given) } else { given };
        let raise = last_id > side.sidecar.last_id;
        let moves = !rows.put.is_empty() && new_side.is_some();
        if !raise && !moves {
            return Ok(Arc::clone(side));
        }
        if side.condition == Condition::Newer {
            tracing::warn!("a newer version wrote the side file: a deleted id may be given again");
            return Ok(Arc::clone(side));
        }
        let mut sidecar = side.sidecar.clone();
        if raise {
            sidecar.last_id = last_id;
        }
        for id in rows.put.iter().filter_map(OAuthToken::id) {
            if let Some(entry) = new_side.and_then(|new_side| new_side.tokens.get(id)) {
                sidecar.tokens.insert(id.clone(), entry.clone());
            }
        }
        self.side.write(side, sidecar, &self.writer, &self.path)?;
        self.side.load()
    }

    /// Removes from the side file what belonged to a row that is gone. The change itself is made:
    /// a failure is no failure of it.
    fn tidy_side(&self, side: &SideSnapshot, mut sidecar: Sidecar) {
        sidecar.last_id = sidecar.last_id.max(side.sidecar.last_id);
        if sidecar == side.sidecar {
            return;
        }
        if let Err(error) = self.side.write(side, sidecar, &self.writer, &self.path) {
            tracing::warn!(%error, "the state of a removed token stays in the side file");
        }
    }

    fn write_side(
        &self,
        base: &Snapshot,
        side: &SideSnapshot,
        mut sidecar: Sidecar,
    ) -> Result<(), StoreError> {
        if !base.document.is_damaged() {
            sidecar.retain(&base.table);
        }
        self.side.write(side, sidecar, &self.writer, &self.path)
    }

    /// Removes what a crashed process left, if nobody is at work now.
    fn clean_after_a_crash(&self) {
        if self.lock.has_been_used()
            && let Some(_locked) = self.lock.try_take(&self.path)
        {
            self.writer.clean();
            self.cleaned.store(true, Ordering::Relaxed);
        }
    }

    fn locked(&self) -> Result<Locked<'_>, StoreError> {
        let locked = self.lock.take(&self.path)?;
        if !self.cleaned.swap(true, Ordering::Relaxed) {
            self.writer.clean();
        }
        Ok(locked)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
