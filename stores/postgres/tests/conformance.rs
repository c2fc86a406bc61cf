//! The PostgreSQL store passes the conformance suite: in tables of its own, in one as the official
//! SDKs' layout says, and in tables that an administrator has made, of which it may only use the rows.

#[path = "servers/support/mod.rs"]
mod support;

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use support::Database;
use tokenkeep_core::{BulkStore, Clock, Field, OAuthToken, StoreError, TokenStore};
use tokenkeep_servers::{Kind, shared};
use tokenkeep_store_postgres::PostgresConfig;
use tokenkeep_testkit::conformance::{self, Capabilities, Fixture, SetupError, Space};
use tokio_postgres::types::ToSql;

fn main() -> ExitCode {
    conformance::main(vec![
        Box::new(Tables { name: "postgres", kind: Made::ByTheStore }),
        Box::new(Tables { name: "postgres_official_table", kind: Made::AsOfficial }),
        Box::new(Tables { name: "postgres_given_tables", kind: Made::ByTheAdministrator }),
    ])
}

const OFFICIAL: &str = "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255), \
     client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
     access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
     redirect_url varchar(255), api_domain varchar(255), primary key (id))";

/// What an administrator makes for a user who may not.
const GIVEN: &str = "create table oauthtoken (id text primary key, user_name text, client_id text, \
     client_secret text, refresh_token text, access_token text, grant_token text, \
     expiry_time text, redirect_url text, api_domain text); \
     create table tokenkeep_state (token_id text collate \"C\" not null primary key, \
     user_name text, client_id text, state text, lease_holder text, lease_generation bigint, \
     lease_until bigint, lease_ttl bigint); \
     create table tokenkeep_meta (token_table text collate \"C\" not null primary key, \
     version integer not null, last_id bigint not null); \
     grant select, insert, update, delete on oauthtoken, tokenkeep_state, tokenkeep_meta \
     to tokenkeep; \
     create function tokenkeep_changed() returns trigger language plpgsql as $$ begin \
     perform pg_catalog.pg_notify('tokenkeep_changed', tg_table_schema || '.' || tg_table_name); \
     return null; end $$; \
     create trigger tokenkeep_changed after insert or update or delete or truncate on oauthtoken \
     for each statement execute procedure tokenkeep_changed(); \
     create trigger tokenkeep_changed after insert or update or delete or truncate \
     on tokenkeep_state for each statement execute procedure tokenkeep_changed(); \
     alter table oauthtoken enable always trigger tokenkeep_changed; \
     alter table tokenkeep_state enable always trigger tokenkeep_changed";

#[derive(Clone, Copy, PartialEq)]
enum Made {
    ByTheStore,
    AsOfficial,
    ByTheAdministrator,
}

struct Tables {
    name: &'static str,
    kind: Made,
}

#[async_trait]
impl Fixture for Tables {
    fn name(&self) -> &str {
        self.name
    }

    fn missing(&self) -> Option<String> {
        shared(Kind::Postgres).err().filter(|missing| !missing.is_fault()).map(|m| m.to_string())
    }

    async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
        let database = Database::new(&shared(Kind::Postgres)?[0]).await;
        match self.kind {
            Made::ByTheStore => {}
            Made::AsOfficial => database.client().await.batch_execute(OFFICIAL).await?,
            Made::ByTheAdministrator => database.admin().await.batch_execute(GIVEN).await?,
        }
        Ok(Box::new(Place { database, kind: self.kind }))
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = match self.kind {
            Made::ByTheStore | Made::ByTheAdministrator => {
                Capabilities::new().refusing(|field, value| {
                    value.contains('\0') || field == Field::Id && value.len() > 2_600
                })
            }
            Made::AsOfficial => Capabilities::new().refusing(|field, value| {
                let limit = if field == Field::Id { 10 } else { 255 };
                value.contains('\0') || value.chars().count() > limit
            }),
        };
        let bulk = if self.kind == Made::ByTheStore { 10_000 } else { 1_000 };
        capabilities.persistent().processes().shared().bulk_store().bulk(bulk, 500)
    }

    async fn open_address(
        &self,
        address: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(PostgresConfig::from_url(address)?.clock(clock).open().await?))
    }
}

struct Place {
    database: Database,
    kind: Made,
}

#[async_trait]
impl Space for Place {
    async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn TokenStore>, StoreError> {
        Ok(Arc::new(self.database.config().clock(clock).open().await?))
    }

    async fn open_bulk(
        &self,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<Arc<dyn BulkStore>>, StoreError> {
        Ok(Some(Arc::new(self.database.config().clock(clock).open().await?)))
    }

    fn address(&self) -> Option<String> {
        Some(self.database.url())
    }

    /// As another program would write them.
    async fn preload(&self, tokens: &[OAuthToken]) -> Result<bool, SetupError> {
        let mut client = self.database.client().await;
        if self.kind == Made::ByTheStore {
            client.batch_execute(OFFICIAL).await?;
        }
        let transaction = client.transaction().await?;
        let insert = transaction
            .prepare("insert into oauthtoken values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)")
            .await?;
        for token in tokens {
            let columns = token.expose_columns();
            let columns: Vec<_> =
                columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
            transaction.execute(&insert, &columns).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }
}
