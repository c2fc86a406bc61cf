//! Where tokens wait that were issued and could not be stored: the spool of the command.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokenkeep::{
    Event, EventKind, FileSpool, Fingerprint, LiveToken, Spool, SpoolKey, SpoolListing, Spooled,
    StoreError, TokenId, oauth::async_trait,
};
use tokio::sync::OnceCell;

use crate::error::with_causes;

/// A spool whose directory is made when something has to go there, and not before.
#[derive(Clone)]
pub(crate) struct CommandSpool(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    key: Option<SpoolKey>,
    files: OnceCell<FileSpool>,
    /// What this process has put there, or why it could not, by the token's id.
    put: Mutex<BTreeMap<TokenId, Result<(), String>>>,
}

impl CommandSpool {
    pub(crate) fn new(directory: PathBuf, key: Option<SpoolKey>) -> Self {
        Self(Arc::new(Inner { directory, key, files: OnceCell::new(), put: Mutex::default() }))
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Whether the new token with this id is kept here since this process began: `None` if nobody
    /// has tried, otherwise why it is not.
    pub(crate) fn keeps(&self, id: &TokenId) -> Option<Result<(), String>> {
        self.put_here().get(id).cloned()
    }

    fn put_here(&self) -> MutexGuard<'_, BTreeMap<TokenId, Result<(), String>>> {
        self.0.put.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files, of a directory that is made where it is not there.
    async fn files(&self) -> Result<&FileSpool, StoreError> {
        let open = async || {
            let files = FileSpool::in_directory(&self.0.directory)?;
            Ok(match &self.0.key {
                Some(key) => files.sealed_with(key.clone()),
                None => files,
            })
        };
        self.0.files.get_or_try_init(open).await
    }

    /// The files; `None` if there is no directory yet, and so nothing in it.
    async fn files_if_any(&self) -> Result<Option<&FileSpool>, StoreError> {
        match fs::symlink_metadata(&self.0.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Whatever else is wrong with it is said by who opens it.
            Ok(_) | Err(_) => self.files().await.map(Some),
        }
    }
}

impl fmt::Debug for CommandSpool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSpool")
            .field("directory", &self.0.directory)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Spool for CommandSpool {
    async fn put(&self, entry: &Spooled) -> Result<(), StoreError> {
        let put = async { self.files().await?.put(entry).await }.await;
        let outcome = put.as_ref().copied().map_err(|error| with_causes(error));
        self.put_here().insert(entry.id.clone(), outcome);
        put
    }

    async fn get(&self, id: &TokenId, grant: &Fingerprint) -> Result<Option<Spooled>, StoreError> {
        match self.files_if_any().await? {
            Some(files) => {
                let found = files.get(id, grant).await?;
                if found.is_some() {
                    self.put_here().insert(id.clone(), Ok(()));
                }
                Ok(found)
            }
            None => Ok(None),
        }
    }

    async fn remove(&self, id: &TokenId, grant: &Fingerprint) -> Result<bool, StoreError> {
        let Some(files) = self.files_if_any().await? else { return Ok(false) };
        let removed = files.remove(id, grant).await?;
        self.put_here().remove(id);
        Ok(removed)
    }

    async fn list(&self) -> Result<SpoolListing, StoreError> {
        match self.files_if_any().await? {
            Some(files) => files.list().await,
            None => Ok(SpoolListing::default()),
        }
    }
}

/// Which tokens this process has got and could not store, and why; and which it could store after
/// all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsaved(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    unsaved: BTreeMap<TokenId, Option<String>>,
    recovered: Vec<TokenId>,
}

impl Unsaved {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from what happens in a manager.
    pub(crate) fn learn(&self, event: &Event) {
        let id = event.token_id.clone();
        #[expect(clippy::wildcard_enum_match_arm, reason = "the rest says nothing of this")]
        match &event.kind {
            EventKind::Unsaved { message, .. } => {
                self.seen().unsaved.insert(id, Some(message.clone()));
            }
            EventKind::Recovered { .. } => {
                let mut seen = self.seen();
                seen.unsaved.remove(&id);
                seen.recovered.push(id);
            }
            _ => {}
        }
    }

    /// Learns from a token that is used.
    pub(crate) fn look_at(&self, live: &LiveToken) {
        if !live.is_saved() {
            self.seen().unsaved.entry(live.id().clone()).or_default();
        }
    }

    /// What a person must know of it, and then what a person may want to know. What was said is
    /// forgotten.
    pub(crate) fn report(&self, spool: Option<&CommandSpool>) -> (Vec<String>, Vec<String>) {
        let Seen { unsaved, recovered } = std::mem::take(&mut *self.seen());
        let warnings = unsaved.iter().map(|(id, why)| warning(id, why.as_deref(), spool)).collect();
        let notes = recovered
            .iter()
            .map(|id| {
                format!("what an earlier command could not store of token {id} is stored now")
            })
            .collect();
        (warnings, notes)
    }
}

fn warning(id: &TokenId, why: Option<&str>, spool: Option<&CommandSpool>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let what = format!("the new token {id} could not be stored{why}");
    let kept = spool.and_then(|spool| Some((spool.directory().display(), spool.keeps(id)?)));
    match kept {
        Some((directory, Ok(()))) => format!(
            "{what}\nhint: it is kept in {directory}; make the store writable, and the next command \
             that uses the token stores it, or `tokenkeep recover`"
        ),
        Some((_, Err(error))) => format!(
            "{what}\nwarning: and it could not be kept elsewhere: {error}\nhint: make the store \
             writable and refresh the token; if the provider refuses that, its user must log in \
             again"
        ),
        None => format!(
            "{what}\nhint: it is not kept elsewhere, without a spool; make the store writable and \
             refresh the token; if the provider refuses that, its user must log in again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep::{OAuthToken, Timestamp};

    use super::*;

    fn entry() -> Spooled {
        let token =
            |text: &str| OAuthToken::builder().refresh_token(text).build().expect("a token");
        let grant = Fingerprint::of_grant(&token("test-refresh-1")).expect("a grant");
        let at = Timestamp::from_millis(1_764_000_000_000);
        Spooled::new(TokenId::from_number(1), grant, token("test-refresh-2"), at)
    }

    #[tokio::test]
    async fn a_directory_is_made_by_the_first_token_that_has_to_go_there() {
        let home = tempfile::tempdir().unwrap();
        let spool = CommandSpool::new(home.path().join("state/spool"), None);
        let Spooled { id, grant, .. } = &entry();
        assert_eq!(spool.get(id, grant).await.unwrap(), None);
        assert!(!spool.remove(id, grant).await.unwrap());
        assert_eq!(spool.list().await.unwrap(), SpoolListing::default());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);

        spool.put(&entry()).await.unwrap();
        assert_eq!(spool.keeps(id), Some(Ok(())));
        let another = CommandSpool::new(home.path().join("state/spool"), None);
        assert_eq!(another.get(id, grant).await.unwrap(), Some(entry()));
        assert!(another.remove(id, grant).await.unwrap());
        assert_eq!(spool.get(id, grant).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_could_not_be_kept_is_known_with_the_reason() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let spool = CommandSpool::new(home.path().join("spool"), None);
        assert!(spool.put(&entry()).await.is_err());
        let why = spool.keeps(&entry().id).unwrap().unwrap_err();
        assert!(why.contains("spool"), "{why}");
        let said = warning(&entry().id, Some("it is read-only"), Some(&spool));
        assert!(said.contains("it is read-only") && said.contains(&why), "{said}");
        assert!(!said.contains("it is kept"), "{said}");
    }
}
