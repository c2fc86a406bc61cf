//! [`Cache`]: what was read of the token file, for as long as the file is the same.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{
    Clock as _, OAuthToken, StoreError, SystemClock, Timestamp, TokenId, TokenQuery, TokenTable,
};

use zeroize::Zeroizing;

use crate::{
    document::Document,
    error::{damaged, io_error, kept_busy, not_a_file, not_a_token_file},
    lock::pause,
    stamp::{RACY, Stamp, Version, is_version},
};

/// One version of the token file.
pub(crate) struct Snapshot {
    path: PathBuf,
    /// Which of all that were read or written it is.
    pub(crate) number: u64,
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
        self.ours()?;
        if self.document.is_damaged() {
            return Err(damaged(&self.path, &self.document.damage()));
        }
        Ok(())
    }

    /// An error if the file is something else than a token file.
    pub(crate) fn ours(&self) -> Result<(), StoreError> {
        if self.document.is_foreign() { Err(not_a_token_file(&self.path)) } else { Ok(()) }
    }

    /// Whether the file is this version, to the byte.
    pub(crate) fn is_current(&self) -> bool {
        let same = is_version(&self.path, &self.version);
        same && (self.settled.load(Ordering::Acquire)
            || self.version.is_none()
            || matches!(read(&self.path), Ok(Some((version, bytes)))
                if version == self.version && *bytes == self.document.bytes()))
    }
}

/// What the file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To answer from: as long as another program is in the middle of writing, from what was there
    /// before.
    Read,
    /// To write the next version: waits longer for another program, and then refuses.
    Write,
}

/// For how long a file that looks cut off, or has become shorter, must not have changed to be taken
/// as it is.
///
/// The official SDKs cut the file and write it anew, and may be interrupted in between.
const CUT: Duration = Duration::from_secs(1);
const SHORTER: Duration = Duration::from_millis(250);

/// For how long a file must have been seen empty to be taken as it is: while it is being cut, its
/// size is zero already and its times are still the old ones.
const EMPTY: Duration = Duration::from_millis(100);

/// After this long, a find that has another answer than a cut file does not wait any more.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// After this long, nobody does.
const LONG_WAIT: Duration = Duration::from_secs(2);

/// For how long this file must not have changed to be taken as it is.
fn caution(before: Option<&Snapshot>, stamp: &Stamp, bytes: &[u8]) -> Duration {
    let rewritten = match before.and_then(|before| before.version) {
        Some(before) => before.same_file(stamp),
        None => stamp.may_be_rewritten(),
    };
    // What we write is never empty: an empty file may be one of ours that is being written anew
    // so soon that its times do not tell.
    if !rewritten && bytes.ends_with(b"\n") {
        Duration::ZERO
    } else if is_cut(bytes) {
        CUT
    } else if before.is_none_or(|before| is_shorter(before, bytes)) {
        SHORTER
    } else {
        RACY
    }
}

/// Whether the file is empty or ends inside a row. Some SDKs end it without a line break.
fn is_cut(bytes: &[u8]) -> bool {
    let start = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let last = &bytes[start..];
    bytes.is_empty() || !last.is_empty() && last.iter().filter(|byte| **byte == b',').count() < 9
}

fn is_shorter(before: &Snapshot, bytes: &[u8]) -> bool {
    bytes.len() < before.document.bytes().len()
}

/// A file's bytes, and which version of it they are.
type Content = (Version, Zeroizing<Vec<u8>>);

/// The newest version of the token file that was read.
pub(crate) struct Cache {
    path: PathBuf,
    slot: RwLock<Option<Arc<Snapshot>>>,
    loading: Mutex<()>,
    /// How many snapshots there have been.
    taken: AtomicU64,
    /// The empty file that was seen last, and since when.
    seen_empty: Mutex<Option<(Stamp, Timestamp)>>,
}

impl Cache {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            slot: RwLock::default(),
            loading: Mutex::default(),
            taken: AtomicU64::new(0),
            seen_empty: Mutex::default(),
        }
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
        // Who writes has the lock of the store, and may have to wait long for another program.
        let _one_reader = (purpose == Purpose::Read)
            .then(|| self.loading.lock().unwrap_or_else(PoisonError::into_inner));
        let before = self.newest();
        if let Some(before) = &before
            && before.settled.load(Ordering::Acquire)
            && is_version(&self.path, &before.version)
        {
            return Ok(Arc::clone(before));
        }
        let step = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        let mut whole = None;
        loop {
            if let Some(content) = self.read()? {
                let version = content.0;
                if let Some(before) = &before
                    && before.version == version
                    && before.document.bytes() == *content.1
                {
                    before.settled.store(is_settled(&version), Ordering::Release);
                    return Ok(Arc::clone(before));
                }
                if self.is_to_be_believed(before.as_deref(), &content) {
                    return Ok(self.accept(before.as_deref(), content));
                }
                let shorter = before.as_ref().is_some_and(|before| is_shorter(before, &content.1));
                if content.1.ends_with(b"\n") && !shorter {
                    whole = Some(content);
                }
            }
            if purpose == Purpose::Read && waited >= SHORT_WAIT {
                if let Some(whole) = whole {
                    return Ok(self.accept(before.as_deref(), whole));
                }
                if let Some(before) = before {
                    return Ok(before);
                }
            }
            if waited >= LONG_WAIT {
                return Err(kept_busy(&self.path));
            }
            pause(step);
            waited += step;
        }
    }

    fn is_to_be_believed(&self, before: Option<&Snapshot>, content: &Content) -> bool {
        let Some(stamp) = content.0 else { return true };
        let caution = caution(before, &stamp, &content.1);
        caution.is_zero()
            || (stamp.is_older_than(caution)
                && (!content.1.is_empty() || self.has_been_empty(stamp)))
    }

    fn has_been_empty(&self, stamp: Stamp) -> bool {
        let now = SystemClock.now();
        let mut seen = self.seen_empty.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((before, since)) if before == stamp => since.until(now) > EMPTY,
            _ => {
                *seen = Some((stamp, now));
                false
            }
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
            snapshot.number = self.next_number();
            snapshot.version = version;
            snapshot.settled = AtomicBool::new(false);
            std::mem::swap(&mut snapshot.document, &mut document);
            drop(slot);
            return;
        }
        drop(slot);
        // Somebody is still reading the old version.
        let mut snapshot = self.snapshot((version, document.bytes().to_vec().into()));
        snapshot.table.reserve_ids(last_id);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let _old = slot.replace(Arc::new(snapshot));
        drop(slot);
    }

    fn newest(&self) -> Option<Arc<Snapshot>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self) -> Result<Option<Content>, StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) if !metadata.is_file() => Err(not_a_file(&self.path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("read", &self.path, error))
            }
            _ => read(&self.path).map_err(|error| io_error("read", &self.path, error)),
        }
    }

    fn snapshot(&self, (version, bytes): Content) -> Snapshot {
        let settled = is_settled(&version);
        let (document, table) = Document::parse(bytes);
        let path = self.path.clone();
        let number = self.next_number();
        Snapshot { path, number, version, settled: AtomicBool::new(settled), document, table }
    }

    fn next_number(&self) -> u64 {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    fn accept(&self, before: Option<&Snapshot>, content: Content) -> Arc<Snapshot> {
        let mut snapshot = self.snapshot(content);
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
fn read(path: &Path) -> io::Result<Option<Content>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some((None, Zeroizing::default())));
        }
        Err(error) => return Err(error),
    };
    let before = Stamp::of(&file.metadata()?);
    let mut bytes = Zeroizing::new(Vec::new());
    #[expect(clippy::verbose_file_reads, reason = "the file is looked at before and after")]
    file.read_to_end(&mut bytes)?;
    let after = Stamp::of(&file.metadata()?);
    Ok((before == after).then_some((Some(after), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_not_believed_at_once_however_new_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = Stamp::of(&file.as_file().metadata().unwrap());
        assert!(!stamp.may_be_rewritten());
        assert_eq!(caution(None, &stamp, b""), CUT);
        assert_eq!(caution(None, &stamp, b"1,alice"), CUT);
        assert_eq!(caution(None, &stamp, b"id,user_name\n"), Duration::ZERO);
    }

    #[test]
    fn a_rewrite_that_neither_size_nor_times_tell_of_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.csv");
        #[expect(clippy::disallowed_methods, reason = "this is how other programs write")]
        let write = |access: &str| {
            std::fs::write(&path, format!("1,alice,,,test-r,{access},,,,\n")).unwrap();
        };
        write("test-1");
        let cache = Cache::new(path.clone());
        let first = cache.load(Purpose::Read).unwrap().number;
        write("test-2");
        // Many kernels would have stamped both alike.
        let mut slot = cache.slot.write().unwrap();
        let snapshot = slot.as_mut().and_then(Arc::get_mut).unwrap();
        snapshot.version = crate::stamp::version(&path).unwrap();
        snapshot.settled = AtomicBool::new(false);
        drop(slot);
        assert_eq!(cache.if_fresh(|snapshot| snapshot.number), None);
        let second = cache.load(Purpose::Read).unwrap();
        let found = second.find_by_id(&TokenId::from_number(1)).unwrap().unwrap();
        assert_eq!(found.access_token().unwrap().expose_secret(), "test-2");
        assert_ne!(second.number, first);
        // What has not changed keeps its number when its times have become old enough to tell.
        assert_eq!(cache.load(Purpose::Read).unwrap().number, second.number);
    }
}
