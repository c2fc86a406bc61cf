//! The store passes the conformance suite: in a table as it makes it, in one of the official
//! definition and another collation, and in a wider one.
//!
//! The official columns are narrower than what the suite tries, so that it is told what is refused.

#[path = "mysql/support.rs"]
mod support;

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use mysql_async::{Params, prelude::Queryable};
use tokenkeep_core::{BulkStore, Clock, Field, OAuthToken, StoreError, TokenStore};
use tokenkeep_servers::{Kind, shared};
use tokenkeep_store_mysql::MysqlConfig;
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};

use support::{Database, OFFICIAL};

fn main() -> ExitCode {
    let wide = OFFICIAL
        .replace("id varchar(10)", "id varchar(700)")
        .replace("varchar(255)", "text")
        .replace("client_id text", "client_id varchar(4096)");
    conformance::main(vec![
        Box::new(Tables { name: "mysql", ddl: None, refuses: narrow }),
        Box::new(Tables {
            name: "mysql_unicode_ci",
            ddl: Some(format!("{OFFICIAL} character set utf8mb4 collate utf8mb4_unicode_ci")),
            refuses: narrow,
        }),
        Box::new(Tables { name: "mysql_wide", ddl: Some(wide), refuses: long_id }),
    ])
}

fn narrow(field: Field, value: &str) -> bool {
    let characters = if field == Field::Id { 10 } else { 255 };
    value.chars().count() > characters
}

/// Our table beside it has shorter ids.
fn long_id(field: Field, value: &str) -> bool {
    field == Field::Id && value.chars().count() > 255
}

struct Tables {
    name: &'static str,
    /// What an SDK's user made; the store makes the table if there is none.
    ddl: Option<String>,
    refuses: fn(Field, &str) -> bool,
}

#[async_trait]
impl Fixture for Tables {
    fn name(&self) -> &str {
        self.name
    }

    fn missing(&self) -> Option<String> {
        shared(Kind::MariaDb).err().map(|missing| missing.to_string())
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let addresses = shared(Kind::MariaDb).map_err(|missing| missing.to_string())?;
        let database = Database::new(&addresses[0]).await;
        if let Some(ddl) = &self.ddl {
            database.run(ddl).await;
        }
        Ok(Box::new(database))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new()
            .persistent()
            .processes()
            .shared()
            .bulk_store()
            .marks_differ()
            .refusing(self.refuses)
            .bulk(10_000, 500)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(MysqlConfig::from_url(address)?.clock(clock).open().await?))
    }
}

#[async_trait]
impl Space for Database {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.config().clock(clock).open().await?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(self.config().clock(clock).open().await?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.url())
    }

    /// As an official SDK would write them.
    async fn preload(&self, tokens: &[OAuthToken]) -> Result<bool, SetupError> {
        let mut conn = self.connect().await;
        conn.query_drop(OFFICIAL.replace("create table", "create table if not exists")).await?;
        conn.query_drop("start transaction").await?;
        let rows = tokens.iter().map(|token| {
            let columns = token.expose_columns();
            Params::Positional(columns.into_iter().map(|c| c.map(String::from).into()).collect())
        });
        let insert = "insert into oauthtoken values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        conn.exec_batch(insert, rows).await?;
        conn.query_drop("commit").await?;
        conn.disconnect().await?;
        Ok(true)
    }
}
