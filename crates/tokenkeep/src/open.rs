//! Opening the store that a URL names.

use std::sync::Arc;

use tokenkeep_core::{ListStore, Operation, StoreError, TokenStore};
#[cfg(feature = "file")]
use tokenkeep_store_file::{Dialect, FileConfig, FileStore};
#[cfg(feature = "sqlite")]
use tokenkeep_store_sqlite::SqliteStore;

#[cfg(feature = "file")]
use crate::FileDialect;
use crate::StoreUrl;

/// Opens the store that `url` names; makes it where there is none.
///
/// Use [`StoreUrl::open`] for more than the six operations of a [`TokenStore`].
///
/// # Errors
///
/// Invalid if it is not a store URL; Unsupported if the store is one of a later version, or its
/// feature is off; otherwise what keeps the store from opening. All are of the operation
/// [`Open`](Operation::Open).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tokenkeep::StoreError> {
/// let store = tokenkeep::open_store("list:").await?;
/// assert!(store.get_tokens().await?.is_empty());
/// # Ok(())
/// # }
/// ```
pub async fn open_store(url: &str) -> Result<Arc<dyn TokenStore>, StoreError> {
    let url: StoreUrl =
        url.parse().map_err(|error| StoreError::from(error).during(Operation::Open))?;
    Ok(url.open().await?.into_store())
}

/// A store that is open, by its own type.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OpenedStore {
    /// `list:`
    List(Arc<ListStore>),
    /// `sqlite:PATH` and `sqlite::memory:`
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<SqliteStore>),
    /// `file:PATH`
    #[cfg(feature = "file")]
    File(Arc<FileStore>),
}

impl OpenedStore {
    /// The store as what every store is.
    #[must_use]
    pub fn into_store(self) -> Arc<dyn TokenStore> {
        match self {
            Self::List(store) => store,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store,
            #[cfg(feature = "file")]
            Self::File(store) => store,
        }
    }
}

impl StoreUrl {
    /// Opens the store; makes it where there is none.
    ///
    /// # Errors
    ///
    /// Unsupported if the store's feature is off; otherwise what keeps the store from opening.
    #[expect(clippy::unused_async, reason = "a store behind a network connects here")]
    pub async fn open(&self) -> Result<OpenedStore, StoreError> {
        match self {
            Self::List => Ok(OpenedStore::List(Arc::new(ListStore::new()))),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => SqliteStore::open(path).map(Arc::new).map(OpenedStore::Sqlite),
            #[cfg(feature = "sqlite")]
            Self::SqliteMemory => SqliteStore::in_memory().map(Arc::new).map(OpenedStore::Sqlite),
            #[cfg(feature = "file")]
            Self::File { path, dialect } => {
                let dialect = match dialect {
                    FileDialect::Shared => Dialect::Shared,
                    FileDialect::Quoted => Dialect::Quoted,
                };
                let opened = FileConfig::new(path).dialect(dialect).open();
                opened.map(Arc::new).map(OpenedStore::File)
            }
            #[cfg(not(feature = "sqlite"))]
            Self::Sqlite(_) | Self::SqliteMemory => Err(not_built("sqlite")),
            #[cfg(not(feature = "file"))]
            Self::File { .. } => Err(not_built("file")),
        }
        .map_err(|error: StoreError| error.during(Operation::Open))
    }
}

#[cfg(not(all(feature = "file", feature = "sqlite")))]
fn not_built(scheme: &str) -> StoreError {
    StoreError::new(
        tokenkeep_core::StoreErrorKind::Unsupported,
        format!("the store `{scheme}:` is not in this build"),
    )
    .with_hint(format!("build tokenkeep with its feature `{scheme}`"))
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::{OAuthToken, StoreErrorKind};

    use super::*;

    async fn saves_and_reopens(url: &str, lasts: bool) {
        let token = OAuthToken::builder()
            .user_name("alice@example.com")
            .refresh_token("test-refresh-token")
            .build()
            .unwrap();
        open_store(url).await.unwrap().save_token(&token).await.unwrap();
        let left = open_store(url).await.unwrap().get_tokens().await.unwrap();
        assert_eq!(left.len(), usize::from(lasts), "{url}");
    }

    #[tokio::test]
    async fn every_store_opens_from_its_url() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().display();
        saves_and_reopens("list:", false).await;
        if cfg!(feature = "sqlite") {
            saves_and_reopens("sqlite::memory:", false).await;
            saves_and_reopens(&format!("sqlite:{dir}/t.db"), true).await;
        }
        if cfg!(feature = "file") {
            saves_and_reopens(&format!("file:{dir}/t.txt"), true).await;
            saves_and_reopens(&format!("file:{dir}/q.txt?dialect=quoted"), true).await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_so() {
        let kind = async |url: &str| open_store(url).await.unwrap_err().kind();
        assert_eq!(kind("tokens.db").await, StoreErrorKind::Invalid);
        assert_eq!(kind("mysql://h/d").await, StoreErrorKind::Unsupported);
        let error = open_store("ftp:x").await.unwrap_err();
        assert_eq!(error.operation(), Some(Operation::Open));
        assert_eq!(error.to_string(), "could not open the store: there is no store `ftp:`");
    }
}
