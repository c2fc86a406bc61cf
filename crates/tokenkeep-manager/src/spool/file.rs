//! [`FileSpool`]: one file an entry, in a private directory.

use std::{
    fmt,
    fs::{self, DirEntry},
    io::{self, Write as _},
    path::{self, Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokenkeep_core::{
    Clock, Fingerprint, Outcome, StoreError, StoreErrorKind, SystemClock, Timestamp, TokenId,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use zeroize::Zeroizing;

use super::{
    Spool, SpoolKey, SpoolListing, Spooled,
    directory::{self, refused},
    entry,
    seal::unsealed,
};

const SUFFIX: &str = ".token";
const TEMPORARY: &str = ".tokenkeep-tmp";

/// How old a temporary file is when nobody can be writing it any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How many changes can be made at a time.
const LANES: usize = 16;

/// A spool in a directory: one file an entry, clear or [sealed](Self::sealed_with).
///
/// The directory has mode 0700 and its files 0600. A put writes a temporary file beside the entry,
/// syncs it, renames it over the old one, and syncs the directory: a kill at any moment leaves the
/// old entry or the new one. A directory that was removed is made anew by the next put.
///
/// File names come from a hash of the id and from the grant's fingerprint, and show neither users
/// nor secrets. Files are read and written on tokio's threads for blocking work.
///
/// ```
/// use tokenkeep_core::{Fingerprint, OAuthToken, Timestamp, TokenId};
/// use tokenkeep_manager::{FileSpool, Spool, SpoolKey, Spooled};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let home = tempfile::tempdir()?;
/// # let (directory, key) = (home.path().join("spool"), SpoolKey::new([7; 32]));
/// let spool = FileSpool::in_directory(directory)?.sealed_with(key);
///
/// let stored = OAuthToken::builder().refresh_token("test-refresh-1").build()?;
/// let (id, grant) = (TokenId::from_number(7), Fingerprint::of_grant(&stored).unwrap());
/// let issued = OAuthToken::builder().refresh_token("test-refresh-2").build()?;
/// let entry = Spooled::new(id.clone(), grant.clone(), issued, Timestamp::from_millis(0));
/// spool.put(&entry).await?;
/// assert_eq!(spool.get(&id, &grant).await?, Some(entry));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileSpool {
    files: Files,
    /// A change holds the lane of its entry to its end, even if its future is dropped: what comes
    /// later comes later on the disk too.
    lanes: [Arc<Mutex<()>>; LANES],
}

impl FileSpool {
    /// The spool in `directory`, which is made if it is not there. What is in it is not looked at.
    ///
    /// # Errors
    ///
    /// Permission denied if the directory is a symbolic link, belongs to another user, or others
    /// can write to it; unavailable if it is no directory; otherwise what keeps it from being made.
    pub fn in_directory(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let given = directory.as_ref();
        // The working directory may change, and a slash at the end would hide a symbolic link.
        let directory: PathBuf = path::absolute(given)
            .map_err(|error| refused("find", given, error))?
            .components()
            .collect();
        directory::prepare(&directory)?;
        let files = Files { directory: directory.into(), key: None, clock: Arc::new(SystemClock) };
        Ok(Self { files, lanes: std::array::from_fn(|_| Arc::default()) })
    }

    /// This spool, sealed: what is put is encrypted with `key`, and nothing else is read.
    ///
    /// An entry that is clear, or sealed with another key, is an error that says what to do. There
    /// is no way back to clear text but a spool without a key.
    #[must_use]
    pub fn sealed_with(mut self, key: SpoolKey) -> Self {
        self.files.key = Some(Arc::new(key));
        self
    }

    /// With another clock than the machine's. It tells how old a left-over file is.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.files.clock = clock;
        self
    }

    /// Waits until no earlier change of this entry is under way.
    async fn lane(&self, name: &Name) -> OwnedMutexGuard<()> {
        Arc::clone(&self.lanes[name.lane % LANES]).lock_owned().await
    }
}

impl fmt::Debug for FileSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSpool")
            .field("directory", &self.files.directory)
            .field("key", &self.files.key)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Spool for FileSpool {
    async fn put(&self, entry: &Spooled) -> Result<(), StoreError> {
        let name = Name::of(&entry.id, &entry.grant)?;
        let lane = self.lane(&name).await;
        let (files, entry) = (self.files.clone(), entry.clone());
        blocking(move || {
            let _until_done = lane;
            files.write(&name, &entry)
        })
        .await
    }

    async fn get(&self, id: &TokenId, grant: &Fingerprint) -> Result<Option<Spooled>, StoreError> {
        let name = Name::of(id, grant)?;
        let files = self.files.clone();
        blocking(move || files.read(&name.text)).await
    }

    async fn remove(&self, id: &TokenId, grant: &Fingerprint) -> Result<bool, StoreError> {
        let name = Name::of(id, grant)?;
        let lane = self.lane(&name).await;
        let files = self.files.clone();
        blocking(move || {
            let _until_done = lane;
            files.remove(&name)
        })
        .await
    }

    async fn list(&self) -> Result<SpoolListing, StoreError> {
        let files = self.files.clone();
        blocking(move || files.list()).await
    }
}

/// Runs `work` where it may block. If the future is dropped, the work is still done.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let why = if error.is_cancelled() { "the runtime shuts down" } else { "a task panicked" };
        Err(StoreError::new(StoreErrorKind::Other, format!("the spool was not asked: {why}"))
            .with_outcome(Outcome::Unknown))
    })
}

/// The name of an entry's file.
#[derive(Debug)]
struct Name {
    text: String,
    lane: usize,
}

impl Name {
    /// Ids are any text of any length, so the name has a hash of it.
    fn of(id: &TokenId, grant: &Fingerprint) -> Result<Self, StoreError> {
        let grant = grant.as_str();
        // A fingerprint may have been read from somewhere; it must not lead to another directory.
        if !is_digits(grant, 16) {
            return Err(StoreError::new(
                StoreErrorKind::Invalid,
                format!("what token {id} was issued to is not a fingerprint"),
            )
            .with_hint("it has 16 hexadecimal digits; its state may be damaged"));
        }
        let mut hash = Sha256::new();
        hash.update(b"tokenkeep spool id\0");
        hash.update(id.as_str());
        let hash = hash.finalize();
        let id: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { text: format!("{id}-{grant}{SUFFIX}"), lane: usize::from(hash[0]) })
    }
}

/// Whether a file of this name can be an entry's.
fn is_name(text: &str) -> bool {
    text.strip_suffix(SUFFIX)
        .and_then(|stem| stem.split_once('-'))
        .is_some_and(|(id, grant)| is_digits(id, 32) && is_digits(grant, 16))
}

fn is_digits(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The file `name` is there and is not an entry any more.
pub(super) fn damaged(name: &str, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        format!("the spooled token {name} cannot be read: {what}"),
    )
    .with_hint("restore the file, or remove it: its token is lost then, and its user logs in again")
}

/// What is done in the directory, by threads that may block.
#[derive(Clone)]
struct Files {
    directory: Arc<Path>,
    key: Option<Arc<SpoolKey>>,
    clock: Arc<dyn Clock>,
}

impl Files {
    fn write(&self, name: &Name, spooled: &Spooled) -> Result<(), StoreError> {
        directory::prepare(&self.directory)?;
        let mut content = entry::write(spooled)?;
        if let Some(key) = &self.key {
            content = Zeroizing::new(key.seal(&name.text, &mut content)?);
        }
        let path = self.directory.join(&name.text);
        let failed = |error| refused("write", &path, error);
        let file = self.temporary(name, &content).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        directory::sync(&self.directory)
            .map_err(|error| failed(error).with_outcome(Outcome::Unknown))
    }

    /// A file with this content that is on the disk, under a name of its own.
    fn temporary(&self, name: &Name, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        let prefix = format!(".{}.", name.text);
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(TEMPORARY);
        #[cfg(unix)]
        let private: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        #[cfg(unix)]
        builder.permissions(private.clone());
        let mut file = builder.tempfile_in(&self.directory)?;
        // The umask can have taken away more than it should.
        #[cfg(unix)]
        file.as_file().set_permissions(private)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        Ok(file)
    }

    fn read(&self, name: &str) -> Result<Option<Spooled>, StoreError> {
        let path = self.directory.join(name);
        let content = match fs::read(&path) {
            Ok(content) => Zeroizing::new(content),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Without its directory the spool has not said that there is no entry.
                return directory::look_at(&self.directory).map(|()| None);
            }
            Err(error) => return Err(refused("read", &path, error)),
        };
        let text = unsealed(self.key.as_deref(), name, content)?;
        let spooled = entry::read(name, &text)?;
        if Name::of(&spooled.id, &spooled.grant).map(|own| own.text).ok().as_deref() != Some(name) {
            return Err(damaged(name, "what it holds belongs under another name"));
        }
        Ok(Some(spooled))
    }

    fn remove(&self, name: &Name) -> Result<bool, StoreError> {
        let path = self.directory.join(&name.text);
        let failed = |error| refused("remove", &path, error);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return directory::look_at(&self.directory).map(|()| false);
            }
            Err(error) => return Err(failed(error)),
        }
        directory::sync(&self.directory)
            .map_err(|error| failed(error).with_outcome(Outcome::Unknown))?;
        Ok(true)
    }

    fn list(&self) -> Result<SpoolListing, StoreError> {
        directory::look_at(&self.directory)?;
        let failed = |error| refused("list", &self.directory, error);
        let mut listing = SpoolListing::default();
        for found in fs::read_dir(&self.directory).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = found.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(TEMPORARY) {
                self.remove_if_abandoned(&found);
            } else if name.ends_with(SUFFIX) {
                match self.look_into(&found, &name) {
                    Ok(Some(spooled)) => listing.entries.push((spooled.id, spooled.grant)),
                    // It was removed meanwhile.
                    Ok(None) => {}
                    Err(error) => {
                        let hint = error.hint().map(|hint| format!("; {hint}"));
                        listing.damage.push(format!("{error}{}", hint.unwrap_or_default()));
                    }
                }
            }
        }
        listing.entries.sort();
        listing.damage.sort();
        Ok(listing)
    }

    fn look_into(&self, found: &DirEntry, name: &str) -> Result<Option<Spooled>, StoreError> {
        if !is_name(name) {
            let name = name.escape_debug().to_string();
            return Err(damaged(&name, "an entry is never named so"));
        }
        match found.file_type() {
            Ok(kind) if !kind.is_file() => Err(damaged(name, "it is not a regular file")),
            Ok(_file) => self.read(name),
            Err(error) => Err(refused("look at", &found.path(), error)),
        }
    }

    /// Removes the temporary file of a process that was killed a while ago.
    fn remove_if_abandoned(&self, found: &DirEntry) {
        let Ok(written) = found.metadata().and_then(|metadata| metadata.modified()) else { return };
        let since_epoch = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        let written = Timestamp::from_millis(0).plus(since_epoch);
        if written.until(self.clock.now()) <= ABANDONED {
            return;
        }
        match fs::remove_file(found.path()) {
            Ok(()) => tracing::debug!("removed the temporary file of a process that was killed"),
            Err(error) => tracing::debug!(%error, "cannot remove a temporary file"),
        }
    }
}
