//! The SQLite store passes the conformance suite: in a file, in memory, and in a table that a v2
//! SDK has made.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use rusqlite::Connection;
use tempfile::TempDir;
use tokenkeep_core::{BulkStore, Clock, OAuthToken, StoreError, TokenStore};
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

fn main() -> ExitCode {
    conformance::main(vec![
        Box::new(File { name: "sqlite", ddl: OFFICIAL }),
        Box::new(File { name: "sqlite_v2_table", ddl: V2 }),
        Box::new(Memory),
    ])
}

const OFFICIAL: &str = "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255), \
     client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
     access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
     redirect_url varchar(255), api_domain varchar(255), primary key (id))";
const V2: &str = "create table oauthtoken (id varchar(255) NOT NULL, \
     user_mail varchar(255) NOT NULL, client_id varchar(255), client_secret varchar(255), \
     refresh_token varchar(255), access_token varchar(255), grant_token varchar(255), \
     expiry_time varchar(20), redirect_url varchar(255), primary key (id))";

struct File {
    name: &'static str,
    ddl: &'static str,
}

#[async_trait]
impl Fixture for File {
    fn name(&self) -> &str {
        self.name
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let directory = tempfile::tempdir()?;
        if self.ddl == V2 {
            Connection::open(directory.path().join(NAME))?.execute_batch(V2)?;
        }
        Ok(Box::new(Directory { directory, ddl: self.ddl }))
    }

    fn capabilities(&self) -> Capabilities {
        let bulk = if self.ddl == V2 { 1_000 } else { 10_000 };
        Capabilities::new()
            .persistent()
            .processes()
            .shared()
            .bulk_store()
            .bulk(bulk, bulk.min(1_000))
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(SqliteConfig::new(address).clock(clock).open()?))
    }
}

const NAME: &str = "zohooauth.db";

struct Directory {
    directory: TempDir,
    ddl: &'static str,
}

#[async_trait]
impl Space for Directory {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        let path = self.directory.path().join(NAME);
        Ok(Arc::new(SqliteConfig::new(path).clock(clock).open()?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        let path = self.directory.path().join(NAME);
        Ok(Some(Arc::new(SqliteConfig::new(path).clock(clock).open()?)))
    }

    fn address(&self) -> Option<String> {
        self.directory.path().join(NAME).into_os_string().into_string().ok()
    }

    /// As an official SDK would write them.
    async fn preload(&self, tokens: &[OAuthToken]) -> Result<bool, SetupError> {
        if self.ddl == V2 {
            return Ok(false);
        }
        let mut connection = Connection::open(self.directory.path().join(NAME))?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(self.ddl)?;
        for token in tokens {
            transaction
                .prepare_cached("insert into oauthtoken values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
                .execute(rusqlite::params_from_iter(token.expose_columns()))?;
        }
        transaction.commit()?;
        Ok(true)
    }
}

struct Memory;

#[async_trait]
impl Fixture for Memory {
    fn name(&self) -> &'static str {
        "sqlite_memory"
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        Ok(Box::new(OneStore(std::sync::OnceLock::new())))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new().shared().bulk_store()
    }
}

struct OneStore(std::sync::OnceLock<SqliteStore>);

#[async_trait]
impl Space for OneStore {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.store(clock)?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(self.store(clock)?)))
    }
}

impl OneStore {
    fn store(&self, clock: Arc<dyn Clock>) -> Result<SqliteStore, StoreError> {
        match self.0.get() {
            Some(store) => Ok(store.clone()),
            None => {
                let store = SqliteConfig::memory().clock(clock).open()?;
                Ok(self.0.get_or_init(|| store).clone())
            }
        }
    }
}
