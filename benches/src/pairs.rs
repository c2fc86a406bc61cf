//! All tokens moved from each store to each other: how many a second.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
};

use anyhow::{Context, Result, ensure};
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;
use tokenkeep::migrate::Migration;
#[cfg(feature = "slow-stores")]
use tokenkeep::migrate::OneByOne;
use tokenkeep_core::{BulkStore, Entry, ListStore, OAuthToken};
use tokenkeep_servers::{Kind, Server};
use tokenkeep_store_file::FileConfig;
use tokenkeep_store_mysql::MysqlConfig;
use tokenkeep_store_postgres::PostgresConfig;
use tokenkeep_store_redis::RedisConfig;
use tokenkeep_store_sqlite::SqliteStore;

use crate::{postgres, report::Report, timer::now, tokens};

/// How many tokens are moved where that takes no more than a few seconds; and where it does.
const FAST: usize = 20_000;
const SLOW: usize = 100;

/// Every pair once. What is not here is said and left out.
pub(crate) async fn measure(quick: bool, report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let stores = stores();
    for from in &stores {
        let sizes = |store: &Store| if quick { store.count.min(SLOW * 20) } else { store.count };
        let counts: BTreeSet<_> = stores.iter().map(|to| sizes(from).min(sizes(to))).collect();
        for count in counts {
            let source = from.open(directory.path()).await?;
            fill(&*source, count).await?;
            for to in stores.iter().filter(|to| sizes(from).min(sizes(to)) == count) {
                let target = to.open(directory.path()).await?;
                let begun = now();
                let moved = Migration::new(&*source, &*target).run().await?;
                let rate = count as f64 / begun.elapsed().as_secs_f64();
                ensure!(
                    moved.is_complete() && moved.moved == count as u64,
                    "{} to {}: not all was moved",
                    from.name,
                    to.name
                );
                eprintln!("{} to {}, {count} tokens: {rate:.0} a second", from.name, to.name);
                report.add_pair(from.name, to.name, count, rate);
            }
        }
    }
    Ok(())
}

/// A kind of store, of which any number can be made.
struct Store {
    name: &'static str,
    count: usize,
    place: Place,
    made: AtomicUsize,
}

enum Place {
    List,
    Sqlite,
    File,
    Mysql(Server),
    Postgres(Server),
    Redis(Server),
    #[cfg(feature = "slow-stores")]
    DynamoDb(Server),
    #[cfg(feature = "slow-stores")]
    Vault(tokenkeep_testkit::VaultServer),
}

fn stores() -> Vec<Store> {
    let store = |name, count, place| Store { name, count, place, made: AtomicUsize::new(0) };
    let mut stores = vec![
        store("list", FAST, Place::List),
        store("sqlite", FAST, Place::Sqlite),
        store("file", FAST, Place::File),
    ];
    let mut add = |name, count, kind, settings: &[&str], place: fn(Server) -> Place| match started(
        kind, settings,
    ) {
        Ok(server) => stores.push(store(name, count, place(server))),
        Err(missing) => eprintln!("LEFT OUT: {name}: {missing:#}"),
    };
    // A commit that was answered is on the disk, in all of them.
    add("mysql", FAST, Kind::MariaDb, &["--innodb-buffer-pool-size=256M"], Place::Mysql);
    add("postgres", FAST, Kind::Postgres, &["-c", "shared_buffers=256MB"], Place::Postgres);
    add("redis", FAST, Kind::Redis, &["--appendfsync", "always"], Place::Redis);
    #[cfg(feature = "slow-stores")]
    {
        add("dynamodb", SLOW, Kind::Moto, &[], Place::DynamoDb);
        match tokenkeep_testkit::VaultServer::start() {
            Ok(server) => stores.push(store("vault", SLOW, Place::Vault(server))),
            Err(missing) => eprintln!("LEFT OUT: vault: {missing}"),
        }
    }
    #[cfg(not(feature = "slow-stores"))]
    eprintln!("LEFT OUT: dynamodb, vault: built without the feature slow-stores");
    eprintln!("LEFT OUT: keyring: it is for the few tokens of one person");
    stores
}

fn started(kind: Kind, settings: &[&str]) -> Result<Server> {
    if tokenkeep_servers::missing(kind).is_some() {
        tokenkeep_servers::fetch(&[kind])?;
    }
    Ok(tokenkeep_servers::start_with(kind, settings)?)
}

impl Store {
    /// An empty one.
    async fn open(&self, directory: &Path) -> Result<Arc<dyn BulkStore>> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench_{number}");
        Ok(match &self.place {
            Place::List => Arc::new(ListStore::new()),
            Place::Sqlite => Arc::new(SqliteStore::open(directory.join(format!("{name}.db")))?),
            Place::File => Arc::new(FileConfig::new(directory.join(format!("{name}.csv"))).open()?),
            Place::Mysql(server) => {
                let address = &server.nodes()[0];
                let config = MysqlConfig::new().host(&address.host).port(address.port);
                let config = config.user(&address.user).password(&address.password);
                let mut conn =
                    mysql_async::Conn::from_url(format!("{}/mysql", address.url())).await?;
                conn.query_drop(format!("create database {name}")).await?;
                conn.disconnect().await?;
                Arc::new(config.database(&name).open().await?)
            }
            Place::Postgres(server) => {
                let address = &server.nodes()[0];
                let making = postgres::connect(address, "postgres").await?;
                making.batch_execute(&format!("create database {name}")).await?;
                let config = PostgresConfig::new(&*address.host, &*name).port(address.port);
                let config = config.user(&*address.user).password(&address.password);
                Arc::new(config.open().await?)
            }
            Place::Redis(server) => {
                let address = &server.nodes()[0];
                let config = RedisConfig::new(&*address.host).port(address.port);
                let config = config.user(&*address.user).password(&*address.password);
                Arc::new(config.prefix(&name).open().await?)
            }
            #[cfg(feature = "slow-stores")]
            Place::DynamoDb(server) => {
                use tokenkeep_store_aws::{AwsAccess, dynamodb::DynamoDbConfig};
                let access = AwsAccess::new().region("eu-central-1");
                let access = access.endpoint(server.nodes()[0].url());
                let config = DynamoDbConfig::new(&name);
                let config = config.access(access.keys("test-key-id", "test-secret-key"));
                config.create_table().await?;
                Arc::new(OneByOne::new(config.open().await?))
            }
            #[cfg(feature = "slow-stores")]
            Place::Vault(server) => {
                use tokenkeep_store_vault::VaultConfig;
                let url = format!("vault+{}/secret/{name}?token-file=/dev/null", server.url());
                let config = VaultConfig::from_url(&url)?;
                let config = config.token(tokenkeep_testkit::VaultServer::ROOT);
                Arc::new(config.open().await?)
            }
        })
    }
}

async fn fill(store: &dyn BulkStore, count: usize) -> Result<()> {
    let numbers: Vec<_> = (1..=count).collect();
    for page in numbers.chunks(store.page_size()) {
        let entries: Vec<_> = page
            .iter()
            .map(|number| {
                Ok(Entry::new(OAuthToken::from_columns(tokens::random(*number).map(Some))?))
            })
            .collect::<Result<_>>()?;
        for answer in store.save_entries(&entries).await? {
            answer.context("a token was refused")?;
        }
    }
    Ok(())
}
