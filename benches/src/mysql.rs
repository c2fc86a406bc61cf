//! The MySQL store beside the bare driver, and beside the official SDK's `DBStore`, on one MariaDB.

use std::sync::Arc;

use anyhow::{Context, Result};
use mysql_async::{
    Conn, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, Row, TxOpts, Value,
    prelude::Queryable,
};
use tokenkeep_core::Clock;
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_mysql::{MysqlConfig, MysqlStore, Tls};

use crate::{
    ahead::Ahead,
    fleet,
    options::Options,
    peer,
    report::{Report, Unit},
    servers::{Columns, Driver, Pair, TASKS},
    sqlite::COLUMNS,
    timer::{Medians, Timer},
    tokens,
};

/// Enough memory for all tokens. A commit is on the disk, as by default.
pub(crate) const SETTINGS: &[&str] = &["--innodb-buffer-pool-size=256M"];

/// The token table as the README of the official SDKs has it.
const OFFICIAL: &str = "id varchar(10) not null, user_name varchar(255), client_id varchar(255), \
     client_secret varchar(255), refresh_token varchar(255), access_token varchar(255), \
     grant_token varchar(255), expiry_time varchar(20), redirect_url varchar(255), \
     api_domain varchar(255), primary key (id)";

/// How many rows are filled in by one statement.
const AT_ONCE: usize = 1_000;

/// All operations at each size, and what the peer does.
pub(crate) async fn measure(
    timer: &Timer,
    options: &Options,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let address = &server.nodes()[0];
    for count in options.on_servers() {
        eprintln!("mysql, {count} tokens");
        let ours = database(address, "ours", count).await?;
        let bare = database(address, "bare", count).await?;
        let store = open(address, &ours, None).await?;
        // For its table and indices.
        drop(open(address, &bare, None).await?);
        fill(address, &ours, count).await?;
        copy(address, &ours, &format!("{bare}.oauthtoken"), count).await?;
        weigh(address, "mysql", &ours, count, report).await?;
        let driver = Bare { pool: pool(address, &bare) };
        let pair = Pair { name: "mysql", count, store: Arc::new(store), driver };
        pair.measure(timer, options.users, report).await?;
        if options.peer {
            let official = database(address, "official", count).await?;
            let table = format!("{official}.oauthtoken");
            let mut conn = connect(address, "mysql").await?;
            conn.query_drop(format!("create table {table} ({OFFICIAL})")).await?;
            copy(address, &ours, &table, count).await?;
            let measured = peer::measure_mysql(options, address, &official, count, report);
            if let Err(error) = measured {
                eprintln!("LEFT OUT: the SDK's DBStore: {error:#}");
            }
        }
    }
    eprintln!("mysql, refreshes");
    let count = crate::STORED;
    let ours = database(address, "refresh", count).await?;
    let bare = database(address, "refresh_bare", count).await?;
    let clock = Arc::<Ahead>::default();
    let store = open(address, &ours, Some(Arc::<Ahead>::clone(&clock))).await?;
    drop(open(address, &bare, None).await?);
    fill(address, &ours, count).await?;
    copy(address, &ours, &format!("{bare}.oauthtoken"), count).await?;
    let driver = Bare { pool: pool(address, &bare) };
    let pair = Pair { name: "mysql", count, store: Arc::new(store), driver };
    fleet::refreshes(timer, &pair, &clock, report).await
}

/// The driver with what the other side of the comparison has: prepared statements, as many
/// connections, which are not reset in between, and no TLS.
#[derive(Clone, Debug)]
struct Bare {
    pool: Pool,
}

impl Bare {
    async fn one(&self, sql: &str, value: &str) -> Result<Columns> {
        let mut conn = self.pool.get_conn().await?;
        let row: Row = conn.exec_first(sql, (value,)).await?.context("the row is gone")?;
        columns(row)
    }
}

impl Driver for Bare {
    async fn by_user(&self, user: &str) -> Result<Columns> {
        self.one(&format!("select {COLUMNS} from oauthtoken where user_name = ?"), user).await
    }

    async fn by_id(&self, id: &str) -> Result<Columns> {
        self.one(&format!("select {COLUMNS} from oauthtoken where id = ?"), id).await
    }

    /// One statement, which commits by itself.
    async fn upsert(&self, row: &[String; 10]) -> Result<()> {
        const UPSERT: &str = "insert into oauthtoken (id, user_name, client_id, client_secret, \
             refresh_token, access_token, grant_token, expiry_time, redirect_url, api_domain) \
             values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on duplicate key update \
             user_name = values(user_name), client_id = values(client_id), \
             client_secret = values(client_secret), refresh_token = values(refresh_token), \
             access_token = values(access_token), grant_token = values(grant_token), \
             expiry_time = values(expiry_time), redirect_url = values(redirect_url), \
             api_domain = values(api_domain)";
        let mut conn = self.pool.get_conn().await?;
        Ok(conn.exec_drop(UPSERT, Params::Positional(values(row))).await?)
    }

    async fn decide(&self, row: &[String; 10]) -> Result<()> {
        let select = format!("select {COLUMNS} from oauthtoken where user_name = ? for update");
        let mut transaction = self.pool.start_transaction(TxOpts::default()).await?;
        let stored: Row =
            transaction.exec_first(select, (&row[1],)).await?.context("the row is gone")?;
        let stored = columns(stored)?;
        let update = "update oauthtoken set access_token = ?, expiry_time = ? where id = ?";
        transaction.exec_drop(update, (&row[5], &row[7], &stored[0])).await?;
        Ok(transaction.commit().await?)
    }
}

fn columns(row: Row) -> Result<Columns> {
    let mut columns = Columns::default();
    for (column, value) in columns.iter_mut().zip(row.unwrap()) {
        *column = mysql_async::from_value_opt(value)?;
    }
    Ok(columns)
}

fn values(row: &[String; 10]) -> Vec<Value> {
    row.iter().map(|value| Value::from(value.as_str())).collect()
}

pub(crate) async fn open(
    address: &Address,
    database: &str,
    clock: Option<Arc<dyn Clock>>,
) -> Result<MysqlStore> {
    let config = MysqlConfig::new()
        .host(&address.host)
        .port(address.port)
        .user(&address.user)
        .password(&address.password)
        .database(database)
        .tls(Tls::Disable);
    let config = match clock {
        Some(clock) => config.clock(clock),
        None => config,
    };
    Ok(config.open().await?)
}

fn opts(address: &Address, database: &str) -> OptsBuilder {
    OptsBuilder::default()
        .ip_or_hostname(&address.host)
        .tcp_port(address.port)
        .user(Some(&address.user))
        .pass(Some(&address.password))
        .db_name(Some(database))
        .prefer_socket(false)
}

fn pool(address: &Address, database: &str) -> Pool {
    let limits = PoolConstraints::new(1, TASKS).expect("one is not more than sixteen");
    let ttl = std::time::Duration::from_secs(60);
    let options = PoolOpts::new()
        .with_constraints(limits)
        .with_reset_connection(false)
        .with_inactive_connection_ttl(ttl);
    Pool::new(opts(address, database).pool_opts(options))
}

async fn connect(address: &Address, database: &str) -> Result<Conn> {
    Ok(Conn::new(opts(address, database)).await?)
}

/// A database of its own.
pub(crate) async fn database(address: &Address, name: &str, count: usize) -> Result<String> {
    let name = format!("{name}_{count}");
    let mut conn = connect(address, "mysql").await?;
    conn.query_drop(format!("create database {name} character set utf8mb4")).await?;
    Ok(name)
}

/// Puts in `count` tokens by bare inserts, as an official SDK would.
pub(crate) async fn fill(address: &Address, database: &str, count: usize) -> Result<()> {
    let mut conn = connect(address, database).await?;
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(AT_ONCE) {
        let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; some.len()].join(", ");
        let sql = format!("insert into oauthtoken ({COLUMNS}) values {rows}");
        let values = some.iter().flat_map(|number| values(&tokens::columns(*number, 0)));
        conn.exec_drop(sql, Params::Positional(values.collect())).await?;
    }
    settle(&mut conn, "oauthtoken").await
}

/// Puts the tokens of a database into a table, too.
async fn copy(address: &Address, from: &str, to: &str, count: usize) -> Result<()> {
    let mut conn = connect(address, from).await?;
    conn.query_drop(format!("insert into {to} select * from oauthtoken")).await?;
    anyhow::ensure!(conn.affected_rows() == count as u64, "not all was copied");
    settle(&mut conn, to).await
}

/// What the server knows of the table is as it will be.
async fn settle(conn: &mut Conn, table: &str) -> Result<()> {
    Ok(conn.query_drop(format!("analyze table {table}")).await?)
}

/// How much a token takes in table and indices. The limit: its ten values.
pub(crate) async fn weigh(
    address: &Address,
    name: &'static str,
    database: &str,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let mut conn = connect(address, database).await?;
    let sql = "select cast(data_length + index_length as unsigned) from information_schema.tables \
               where table_schema = ? and table_name = 'oauthtoken'";
    let bytes: u64 = conn.exec_first(sql, (database,)).await?.context("there is no table")?;
    let medians = Medians { ours: bytes as f64 / count as f64, limit: tokens::bytes(count) };
    report.add_in(Unit::Bytes, "token_bytes", name, count, medians);
    Ok(())
}
