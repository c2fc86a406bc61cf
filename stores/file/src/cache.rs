//! [`Cache`]: what was read of the token file, for as long as the file is the same.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{OAuthToken, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenTable};

use crate::{
    document::Document,
    error::{damaged, io_error, not_a_file},
    lock::pause,
    stamp::{Stamp, Version, is_version},
};

/// One version of the token file.
pub(crate) struct Snapshot {
    path: PathBuf,
    pub(crate) version: Version,
    /// Whether a change of the file would change its version, too.
    settled: AtomicBool,
    pub(crate) document: Document,
    pub(crate) table: TokenTable,
}

impl Snapshot {
    /// The token that `query` means; an error if it may be in a row that cannot be read.
    pub(crate) fn find(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        match self.table.find(query)? {
            Some(found) => Ok(Some(found.clone())),
            None => self.whole().map(|()| None),
        }
    }

    /// The token with this id; an error if it may be in a row that cannot be read.
    pub(crate) fn find_by_id(&self, id: &TokenId) -> Result<Option<&OAuthToken>, StoreError> {
        match self.table.find_by_id(id)? {
            Some(found) => Ok(Some(found)),
            None => self.whole().map(|()| None),
        }
    }

    /// An error if some row cannot be read.
    pub(crate) fn whole(&self) -> Result<(), StoreError> {
        if self.document.is_damaged() {
            return Err(damaged(&self.path, &self.document.damage()));
        }
        Ok(())
    }

    /// Whether the file is this version, to the byte.
    pub(crate) fn is_current(&self) -> bool {
        let same = is_version(&self.path, &self.version);
        same && (self.settled.load(Ordering::Acquire)
            || self.version.is_none()
            || matches!(read(&self.path), Ok(Some((version, bytes)))
                if version == self.version && bytes == self.document.bytes()))
    }
}

/// What the file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To answer from: what another program has been writing for 50 ms is answered from as it is.
    Read,
    /// To write the next version: waits longer for another program, and then refuses.
    Write,
}

impl Purpose {
    fn patience(self) -> Duration {
        match self {
            Self::Read => Duration::from_millis(50),
            Self::Write => Duration::from_secs(1),
        }
    }

    /// Whether a file that changed just now may be one that an SDK is in the middle of rewriting:
    /// they write into the file that is there, where we put another one in its place.
    fn suspects(self, before: Option<&Snapshot>, now: &Version) -> bool {
        match (before.and_then(|before| before.version), now) {
            (Some(before), Some(now)) => before.same_file(now),
            (None, _) => self == Self::Write,
            (Some(_), None) => false,
        }
    }
}

/// The newest version of the token file that was read.
pub(crate) struct Cache {
    path: PathBuf,
    slot: RwLock<Option<Arc<Snapshot>>>,
    loading: Mutex<()>,
}

impl Cache {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, slot: RwLock::default(), loading: Mutex::default() }
    }

    /// Answers from memory, if the file is what was read. Costs one `stat`.
    pub(crate) fn if_fresh<T>(&self, answer: impl FnOnce(&Snapshot) -> T) -> Option<T> {
        let now = crate::stamp::version(&self.path).ok()?;
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let snapshot = slot.as_ref()?;
        let fresh = snapshot.version == now && snapshot.settled.load(Ordering::Acquire);
        fresh.then(|| answer(snapshot))
    }

    /// The file as it is now. Only for threads that may block.
    pub(crate) fn load(&self, purpose: Purpose) -> Result<Arc<Snapshot>, StoreError> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.newest();
        if let Some(before) = &before
            && before.settled.load(Ordering::Acquire)
            && is_version(&self.path, &before.version)
        {
            return Ok(Arc::clone(before));
        }
        let step = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        let mut last = None;
        let mut last_whole = None;
        loop {
            if let Some((version, bytes)) = self.read()? {
                if let Some(before) = &before
                    && before.version == version
                    && before.document.bytes() == bytes
                {
                    before.settled.store(is_settled(&version), Ordering::Release);
                    return Ok(Arc::clone(before));
                }
                let settled = is_settled(&version);
                let torn = !bytes.ends_with(b"\n");
                if settled || !(torn || purpose.suspects(before.as_deref(), &version)) {
                    let snapshot = self.snapshot(version, bytes, settled);
                    if settled || !snapshot.document.looks_torn() {
                        return Ok(self.accept(before.as_deref(), snapshot));
                    }
                    last = Some(snapshot);
                } else if torn {
                    last = Some(self.snapshot(version, bytes, settled));
                } else {
                    last_whole = Some((version, bytes));
                }
            }
            if waited >= purpose.patience() {
                break;
            }
            pause(step);
            waited += step;
        }
        let read = last_whole.map(|(version, bytes)| self.snapshot(version, bytes, false)).or(last);
        match (purpose, read) {
            (Purpose::Read, Some(snapshot)) => Ok(self.accept(before.as_deref(), snapshot)),
            (Purpose::Read, None) | (Purpose::Write, _) => Err(StoreError::new(
                StoreErrorKind::Busy,
                format!("another program keeps writing {}", self.path.display()),
            )
            .with_hint(
                "try again; an official SDK that saves to this file does not take our lock",
            )),
        }
    }

    /// Remembers the version that was just written over `base`.
    pub(crate) fn advance(
        &self,
        base: Arc<Snapshot>,
        version: Version,
        document: Document,
        change: impl FnOnce(&mut TokenTable),
    ) {
        let (base_version, last_id) = (base.version, base.table.last_id());
        drop(base);
        // What is replaced is dropped, and with it wiped, after the lock is given back.
        let mut document = document;
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = slot.as_mut().and_then(Arc::get_mut)
            && snapshot.version == base_version
        {
            change(&mut snapshot.table);
            snapshot.version = version;
            snapshot.settled = AtomicBool::new(false);
            std::mem::swap(&mut snapshot.document, &mut document);
            drop(slot);
            return;
        }
        drop(slot);
        // Somebody is still reading the old version.
        let mut snapshot = self.snapshot(version, document.bytes().to_vec(), false);
        snapshot.table.reserve_ids(last_id);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let _old = slot.replace(Arc::new(snapshot));
        drop(slot);
    }

    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self) -> Result<Option<(Version, Vec<u8>)>, StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => Err(not_a_file(&self.path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("read", &self.path, error))
            }
            _ => read(&self.path).map_err(|error| io_error("read", &self.path, error)),
        }
    }

    fn snapshot(&self, version: Version, bytes: Vec<u8>, settled: bool) -> Snapshot {
        let (document, table) = Document::parse(bytes);
        let path = self.path.clone();
        Snapshot { path, version, settled: AtomicBool::new(settled), document, table }
    }

    fn accept(&self, before: Option<&Snapshot>, mut snapshot: Snapshot) -> Arc<Snapshot> {
        if let Some(before) = before {
            snapshot.table.reserve_ids(before.table.last_id());
            if !before.table.is_empty() && snapshot.document.bytes().is_empty() {
                let had = before.table.len();
                let what = if snapshot.version.is_some() { "is empty" } else { "was removed" };
                tracing::warn!(path = %self.path.display(), had, "the token file {what}");
            }
        }
        let snapshot = Arc::new(snapshot);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let _old = slot.replace(Arc::clone(&snapshot));
        drop(slot);
        snapshot
    }
}

fn is_settled(version: &Version) -> bool {
    version.is_none_or(|stamp| stamp.is_settled())
}

/// Reads a file; `None` if it changed while it was read.
fn read(path: &Path) -> io::Result<Option<(Version, Vec<u8>)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some((None, Vec::new())));
        }
        Err(error) => return Err(error),
    };
    let before = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    #[expect(clippy::verbose_file_reads, reason = "the file is looked at before and after")]
    file.read_to_end(&mut bytes)?;
    let after = Stamp::of(&file.metadata()?);
    Ok((before == after).then_some((Some(after), bytes)))
}
