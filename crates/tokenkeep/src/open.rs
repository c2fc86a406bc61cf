//! Opening the store that a URL names.

use std::sync::Arc;

use tokenkeep_core::{BulkStore, ListStore, Operation, StoreError, StoreErrorKind, TokenStore};
#[cfg(feature = "aws")]
use tokenkeep_store_aws::{
    dynamodb::{DynamoDbConfig, DynamoDbStore},
    secretsmanager::{SecretsManagerConfig, SecretsManagerStore},
};
#[cfg(feature = "file")]
use tokenkeep_store_file::{Dialect, FileConfig, FileStore};
#[cfg(feature = "keyring")]
use tokenkeep_store_keyring::{KeyringConfig, KeyringStore};
#[cfg(feature = "mysql")]
use tokenkeep_store_mysql::{MysqlConfig, MysqlStore};
#[cfg(feature = "postgres")]
use tokenkeep_store_postgres::{PostgresConfig, PostgresStore};
#[cfg(feature = "redis")]
use tokenkeep_store_redis::{RedisConfig, RedisStore};
#[cfg(feature = "sqlite")]
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};
#[cfg(feature = "vault")]
use tokenkeep_store_vault::{VaultConfig, VaultStore};

#[cfg(feature = "file")]
use crate::FileDialect;
use crate::StoreUrl;
#[cfg(feature = "aws")]
use crate::migrate::OneByOne;

/// Opens the store that `url` names; makes it where there is none.
///
/// Use [`StoreUrl::open`] for more than the six operations of a [`TokenStore`].
///
/// # Errors
///
/// Invalid if it is not a store URL; Unsupported if the store's feature is off; otherwise what
/// keeps the store from opening. All are of the operation
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
    /// `mysql://…`
    #[cfg(feature = "mysql")]
    Mysql(Arc<MysqlStore>),
    /// `postgres://…`
    #[cfg(feature = "postgres")]
    Postgres(Arc<PostgresStore>),
    /// `redis://…`
    #[cfg(feature = "redis")]
    Redis(Arc<RedisStore>),
    /// `dynamodb:TABLE`
    #[cfg(feature = "aws")]
    DynamoDb(Arc<DynamoDbStore>),
    /// `aws-secretsmanager:NAME`
    #[cfg(feature = "aws")]
    SecretsManager(Arc<SecretsManagerStore>),
    /// `vault+https://…`
    #[cfg(feature = "vault")]
    Vault(Arc<VaultStore>),
    /// `keyring:SERVICE`
    #[cfg(feature = "keyring")]
    Keyring(Arc<KeyringStore>),
}

impl OpenedStore {
    /// The store as what every store is.
    #[must_use]
    pub fn into_store(self) -> Arc<dyn TokenStore> {
        match self {
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => store,
            #[cfg(feature = "aws")]
            Self::SecretsManager(store) => store,
            other => other.into_bulk_store(),
        }
    }

    /// The store as one whose tokens can be [moved](crate::migrate). One that has no operations for
    /// many tokens moves them [one by one](crate::migrate::OneByOne).
    #[must_use]
    pub fn into_bulk_store(self) -> Arc<dyn BulkStore> {
        match self {
            Self::List(store) => store,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(store) => store,
            #[cfg(feature = "file")]
            Self::File(store) => store,
            #[cfg(feature = "mysql")]
            Self::Mysql(store) => store,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store,
            #[cfg(feature = "redis")]
            Self::Redis(store) => store,
            #[cfg(feature = "aws")]
            Self::DynamoDb(store) => Arc::new(OneByOne::new(store)),
            #[cfg(feature = "aws")]
            Self::SecretsManager(store) => Arc::new(OneByOne::new(store)),
            #[cfg(feature = "vault")]
            Self::Vault(store) => store,
            #[cfg(feature = "keyring")]
            Self::Keyring(store) => store,
        }
    }
}

impl StoreUrl {
    /// Opens the store; makes it where there is none.
    ///
    /// # Errors
    ///
    /// Unsupported if the store's feature is off; otherwise what keeps the store from opening.
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
            other => Box::pin(other.connect()).await,
        }
        .map_err(|error: StoreError| error.during(Operation::Open))
    }

    /// Opens the store to read from it. A file, a database or a MySQL table that is not there is an
    /// error and is not made; a SQLite database and a MySQL table are opened read-only, and nothing
    /// is made beside them.
    ///
    /// # Errors
    ///
    /// Unavailable if there is no such file or table; otherwise those of [`open`](Self::open).
    pub async fn open_to_read(&self) -> Result<OpenedStore, StoreError> {
        if let Self::Sqlite(path) | Self::File { path, .. } = self
            && !path.exists()
        {
            let missing = format!("{} is not there", path.display());
            return Err(StoreError::new(StoreErrorKind::Unavailable, missing)
                .with_hint("correct the path")
                .during(Operation::Open));
        }
        #[cfg(feature = "sqlite")]
        if let Self::Sqlite(path) = self {
            let opened = SqliteConfig::new(path).read_only(true).open();
            return opened.map(Arc::new).map(OpenedStore::Sqlite);
        }
        #[cfg(feature = "mysql")]
        if let Self::Mysql(url) = self {
            let config = MysqlConfig::from_url(url.expose_url())?;
            let opened = config.read_only(true).open().await;
            return opened.map(Arc::new).map(OpenedStore::Mysql);
        }
        self.open().await
    }

    /// Whether there is anything at this place yet: a file, a MySQL table. Other stores are there
    /// as soon as they can be reached. Nothing is made.
    ///
    /// # Errors
    ///
    /// What keeps a server from answering.
    #[cfg_attr(not(feature = "mysql"), expect(clippy::unused_async, reason = "a server is asked"))]
    pub async fn is_there(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite(path) | Self::File { path, .. } => Ok(path.exists()),
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => MysqlConfig::from_url(url.expose_url())?.is_there().await,
            _ => Ok(true),
        }
    }

    /// Whether a store that reads its URL itself can; true of all others, and where it is left out.
    pub(crate) fn check_server(&self) -> Result<(), StoreError> {
        match self {
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => MysqlConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => PostgresConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "redis")]
            Self::Redis(url) => RedisConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "aws")]
            Self::DynamoDb(url) => DynamoDbConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "aws")]
            Self::SecretsManager(url) => SecretsManagerConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "vault")]
            Self::Vault(url) => VaultConfig::from_url(url.expose_url()).map(drop),
            #[cfg(feature = "keyring")]
            Self::Keyring(url) => KeyringConfig::from_url(url.expose_url()).map(drop),
            _ => Ok(()),
        }
    }

    #[cfg_attr(
        not(any(
            feature = "aws",
            feature = "keyring",
            feature = "mysql",
            feature = "postgres",
            feature = "redis",
            feature = "vault"
        )),
        expect(clippy::unused_async, reason = "a store that is not a file connects here")
    )]
    async fn connect(&self) -> Result<OpenedStore, StoreError> {
        match self {
            #[cfg(feature = "mysql")]
            Self::Mysql(url) => {
                let opened = MysqlConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::Mysql)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                let opened = PostgresConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::Postgres)
            }
            #[cfg(feature = "redis")]
            Self::Redis(url) => {
                let opened = RedisConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::Redis)
            }
            #[cfg(feature = "aws")]
            Self::DynamoDb(url) => {
                let opened = DynamoDbConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::DynamoDb)
            }
            #[cfg(feature = "aws")]
            Self::SecretsManager(url) => {
                let opened = SecretsManagerConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::SecretsManager)
            }
            #[cfg(feature = "vault")]
            Self::Vault(url) => {
                let opened = VaultConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::Vault)
            }
            #[cfg(feature = "keyring")]
            Self::Keyring(url) => {
                let opened = KeyringConfig::from_url(url.expose_url())?.open().await;
                opened.map(Arc::new).map(OpenedStore::Keyring)
            }
            left_out => Err(not_built(left_out)),
        }
    }
}

fn not_built(url: &StoreUrl) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        format!("the store `{}:` is not in this build", url.scheme()),
    )
    .with_hint(format!("build tokenkeep with its feature `{}`", url.feature().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::OAuthToken;

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
    async fn what_is_opened_to_read_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        for url in ["sqlite:DIR/t.db", "file:DIR/t.csv"] {
            let url: StoreUrl = url.replace("DIR", dir.path().to_str().unwrap()).parse().unwrap();
            let error = url.open_to_read().await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{url}");
            assert_eq!(error.operation(), Some(Operation::Open));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_cannot_be_opened_says_so() {
        let error = open_store("tokens.db").await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        let error = open_store("ftp:x").await.unwrap_err();
        assert_eq!(error.operation(), Some(Operation::Open));
        assert_eq!(error.to_string(), "could not open the store: there is no store `ftp:`");
    }

    #[tokio::test]
    async fn a_store_that_is_left_out_says_by_which_feature_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t").display().to_string();
        for (url, scheme, feature, is_built) in [
            (&*format!("sqlite:{path}"), "sqlite", "sqlite", cfg!(feature = "sqlite")),
            ("sqlite::memory:", "sqlite", "sqlite", cfg!(feature = "sqlite")),
            (&*format!("file:{path}"), "file", "file", cfg!(feature = "file")),
            ("mysql://h/d", "mysql", "mysql", cfg!(feature = "mysql")),
            ("mariadb://h/d", "mysql", "mysql", cfg!(feature = "mysql")),
            ("postgres://h/d", "postgres", "postgres", cfg!(feature = "postgres")),
            ("postgresql://h/d", "postgres", "postgres", cfg!(feature = "postgres")),
            ("redis://h", "redis", "redis", cfg!(feature = "redis")),
            ("rediss://h", "redis", "redis", cfg!(feature = "redis")),
            ("dynamodb:t", "dynamodb", "aws", cfg!(feature = "aws")),
            ("aws-dynamodb:t", "dynamodb", "aws", cfg!(feature = "aws")),
            ("aws-secretsmanager:t", "aws-secretsmanager", "aws", cfg!(feature = "aws")),
            ("vault+https://h/kv/t?token-file=x", "vault", "vault", cfg!(feature = "vault")),
            ("vault+http://localhost/kv/t?token-file=x", "vault", "vault", cfg!(feature = "vault")),
            ("keyring:x", "keyring", "keyring", cfg!(feature = "keyring")),
        ] {
            let parsed: StoreUrl = url.parse().unwrap();
            assert_eq!((parsed.scheme(), parsed.feature()), (scheme, Some(feature)), "{url}");
            if !is_built {
                let error = open_store(url).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Unsupported, "{url}");
                assert_eq!(error.operation(), Some(Operation::Open));
                assert!(error.to_string().contains(&format!("`{scheme}:` is not in this build")));
                let hint = format!("build tokenkeep with its feature `{feature}`");
                assert_eq!(error.hint(), Some(&*hint));
            }
        }
    }
}
