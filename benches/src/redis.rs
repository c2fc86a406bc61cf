//! The Redis store beside the bare driver, on one server.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, ensure};
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, Script,
    aio::MultiplexedConnection,
};
use tokenkeep_core::{BulkStore as _, Clock, Entry};
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_redis::{RedisConfig, RedisStore};

use crate::{
    ahead::Ahead,
    fleet,
    options::Options,
    report::{Report, Unit},
    servers::{Columns, Driver, Pair},
    sqlite::COLUMNS,
    timer::{Medians, Timer},
    tokens,
};

/// A write that was answered is on the disk, as in the other stores.
pub(crate) const DURABLE: &[&str] = &["--appendfsync", "always"];

/// How many tokens are filled in by one script or pipeline.
const AT_ONCE: usize = 1_000;

/// All operations at each size, on a server of either durability.
pub(crate) async fn measure(
    timer: &Timer,
    options: &Options,
    name: &'static str,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let address = &server.nodes()[0];
    for count in options.on_servers() {
        eprintln!("{name}, {count} tokens");
        let pair = pair(address, name, count, None, report).await?;
        pair.measure(timer, options.users, report).await?;
    }
    eprintln!("{name}, refreshes");
    let clock = Arc::<Ahead>::default();
    let pair =
        pair(address, name, crate::STORED + 1, Some(Arc::<Ahead>::clone(&clock)), report).await?;
    let pair = Pair { count: crate::STORED, ..pair };
    fleet::refreshes(timer, &pair, &clock, report).await
}

async fn pair(
    address: &Address,
    name: &'static str,
    count: usize,
    clock: Option<Arc<dyn Clock>>,
    report: &mut Report,
) -> Result<Pair<Bare>> {
    let config = RedisConfig::new(&*address.host)
        .port(address.port)
        .user(&*address.user)
        .password(&*address.password)
        .prefix(format!("bench-{count}"));
    let config = match clock {
        Some(clock) => config.clock(clock),
        None => config,
    };
    let store = config.open().await?;
    let driver = Bare::new(address, count).await?;
    let before = driver.memory().await?;
    fill(&store, count).await?;
    let bytes = driver.memory().await?.saturating_sub(before) as f64 / count as f64;
    if count != crate::STORED + 1 {
        let medians = Medians { ours: bytes, limit: tokens::bytes(count) };
        report.add_in(Unit::Bytes, "token_bytes", name, count, medians);
    }
    driver.fill(count).await?;
    Ok(Pair { name, count, store: Arc::new(store), driver })
}

/// Puts in `count` tokens under the ids that their numbers are.
pub(crate) async fn fill(store: &RedisStore, count: usize) -> Result<()> {
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(AT_ONCE) {
        let entry = |number: &usize| Ok(Entry::new(tokens::token(*number, 0)?));
        let entries: Vec<_> = some.iter().map(entry).collect::<Result<_>>()?;
        for saved in store.save_entries(&entries).await? {
            saved?;
        }
    }
    Ok(())
}

/// The driver with one connection, on which requests do not wait for each other's answers.
///
/// A token is a hash under its user's name, which is the least that a find by user can be; keys
/// under the id and the three tokens name the user.
#[derive(Clone, Debug)]
struct Bare {
    connection: MultiplexedConnection,
    prefix: String,
}

/// KEYS: the hash, then the keys that name the user: id, refresh, access, grant. ARGV: the user, how
/// the keys of access tokens begin, and the fields of the hash.
const WRITE: &str = "
    local old = redis.call('HGET', KEYS[1], 'access_token')
    redis.call('HSET', KEYS[1], unpack(ARGV, 3))
    for at = 2, #KEYS do redis.call('SET', KEYS[at], ARGV[1]) end
    if old and ARGV[2] .. old ~= KEYS[4] then redis.call('DEL', ARGV[2] .. old) end
    return 1";

/// KEYS: the key that leads to the hash. ARGV: how the keys of hashes begin.
const LOOK_UP: &str = "
    return redis.call('HGETALL', ARGV[1] .. redis.call('GET', KEYS[1]))";

impl Bare {
    async fn new(address: &Address, count: usize) -> Result<Self> {
        let to = ConnectionAddr::Tcp(address.host.clone(), address.port);
        let login = RedisConnectionInfo::default()
            .set_username(&address.user)
            .set_password(&address.password);
        let client = Client::open(to.into_connection_info()?.set_redis_settings(login))?;
        let connection = client.get_multiplexed_async_connection().await?;
        Ok(Self { connection, prefix: format!("bare-{count}") })
    }

    async fn memory(&self) -> Result<u64> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.context("the server does not say how much memory it uses")?.trim().parse()?)
    }

    fn key(&self, kind: &str, value: &str) -> String {
        format!("{}:{kind}:{value}", self.prefix)
    }

    async fn fill(&self, count: usize) -> Result<()> {
        let mut connection = self.connection.clone();
        let numbers: Vec<usize> = (1..=count).collect();
        for some in numbers.chunks(AT_ONCE) {
            let mut pipeline = redis::pipe();
            for number in some {
                let row = tokens::columns(*number, 0);
                let fields: Vec<_> = COLUMNS.split(", ").zip(&row).collect();
                pipeline.hset_multiple(self.key("user", &row[1]), &fields).ignore();
                for (kind, at) in [("id", 0), ("refresh", 4), ("access", 5), ("grant", 6)] {
                    pipeline.set(self.key(kind, &row[at]), &row[1]).ignore();
                }
            }
            pipeline.query_async::<()>(&mut connection).await?;
        }
        Ok(())
    }
}

impl Driver for Bare {
    async fn by_user(&self, user: &str) -> Result<Columns> {
        let mut connection = self.connection.clone();
        let fields: Vec<(String, String)> =
            redis::cmd("HGETALL").arg(self.key("user", user)).query_async(&mut connection).await?;
        columns(fields)
    }

    /// In two round trips: the user, and then the hash.
    async fn by_id(&self, id: &str) -> Result<Columns> {
        let mut connection = self.connection.clone();
        let user: String =
            redis::cmd("GET").arg(self.key("id", id)).query_async(&mut connection).await?;
        self.by_user(&user).await
    }

    /// In one script, as a store has to that has a token under its id, for a user may have several.
    async fn look_up(&self, id: &str) -> Result<Option<Columns>> {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(LOOK_UP));
        let mut connection = self.connection.clone();
        let mut call = SCRIPT.key(self.key("id", id));
        let fields: Vec<(String, String)> =
            call.arg(self.key("user", "")).invoke_async(&mut connection).await?;
        columns(fields).map(Some)
    }

    async fn upsert(&self, row: &[String; 10]) -> Result<()> {
        let mut connection = self.connection.clone();
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(WRITE));
        let mut call = SCRIPT.prepare_invoke();
        call.key(self.key("user", &row[1]));
        for (kind, at) in [("id", 0), ("refresh", 4), ("access", 5), ("grant", 6)] {
            call.key(self.key(kind, &row[at]));
        }
        call.arg(&row[1]).arg(self.key("access", ""));
        for (name, value) in COLUMNS.split(", ").zip(row) {
            call.arg(name).arg(value);
        }
        let written: i64 = call.invoke_async(&mut connection).await?;
        ensure!(written == 1, "the script did not write");
        Ok(())
    }

    /// Reads the hash, and then writes. That nobody else has changed it meanwhile is not looked at.
    async fn decide(&self, row: &[String; 10]) -> Result<()> {
        let stored = self.by_user(&row[1]).await?;
        ensure!(stored[0].as_ref() == Some(&row[0]), "the row is another one");
        self.upsert(row).await
    }
}

fn columns(fields: Vec<(String, String)>) -> Result<Columns> {
    ensure!(!fields.is_empty(), "the token is gone");
    let mut columns = Columns::default();
    for (name, value) in fields {
        let at =
            COLUMNS.split(", ").position(|column| column == name).context("a strange field")?;
        columns[at] = Some(value);
    }
    Ok(columns)
}
