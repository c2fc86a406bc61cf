//! The PostgreSQL store beside the bare driver, on one server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join;
use tokenkeep_core::Clock;
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_postgres::{PostgresConfig, PostgresStore, Tls};
use tokio_postgres::{Client, NoTls, Row, Statement, types::ToSql};

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

/// Enough memory for all tokens. A commit is on the disk, as by default.
pub(crate) const SETTINGS: &[&str] = &["-c", "shared_buffers=256MB"];

/// How many connections write at once: as many as the store's.
const WRITERS: usize = 4;

/// All operations at each size.
pub(crate) async fn measure(
    timer: &Timer,
    options: &Options,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let address = &server.nodes()[0];
    for count in options.on_servers() {
        eprintln!("postgres, {count} tokens");
        let pair = pair(address, count, None).await?;
        weigh(address, count, report).await?;
        pair.measure(timer, options.users, report).await?;
    }
    eprintln!("postgres, refreshes");
    let clock = Arc::<Ahead>::default();
    let pair = pair(address, crate::STORED + 1, Some(Arc::<Ahead>::clone(&clock))).await?;
    let pair = Pair { count: crate::STORED, ..pair };
    fleet::refreshes(timer, &pair, &clock, report).await
}

async fn pair(
    address: &Address,
    count: usize,
    clock: Option<Arc<dyn Clock>>,
) -> Result<Pair<Bare>> {
    let database = format!("bench_{count}");
    connect(address, "postgres")
        .await?
        .batch_execute(&format!("create database {database}"))
        .await?;
    let config = PostgresConfig::new(&*address.host, &*database)
        .port(address.port)
        .user(&*address.user)
        .password(&address.password)
        .tls(Tls::Disable);
    let config = match clock {
        Some(clock) => config.clock(clock),
        None => config,
    };
    let store: PostgresStore = config.open().await?;
    let client = connect(address, &database).await?;
    // The same table with the same indices, and nothing that notifies anybody.
    client.batch_execute("create table bare (like oauthtoken including all)").await?;
    fill(&client, count).await?;
    client.batch_execute("insert into bare select * from oauthtoken").await?;
    for table in ["oauthtoken", "bare"] {
        client.batch_execute(&format!("vacuum analyze {table}")).await?;
    }
    let driver = Bare::new(address, &database).await?;
    Ok(Pair { name: "postgres", count, store: Arc::new(store), driver })
}

/// The driver with prepared statements, which sends without waiting for answers.
#[derive(Clone)]
struct Bare {
    /// Finds share one connection.
    reader: Arc<Session>,
    writers: Arc<[tokio::sync::Mutex<Session>]>,
    turn: Arc<AtomicUsize>,
}

struct Session {
    client: Client,
    by_user: Statement,
    by_id: Statement,
    upsert: Statement,
    lock: Statement,
    update: Statement,
}

impl Session {
    async fn new(address: &Address, database: &str) -> Result<Self> {
        let client = connect(address, database).await?;
        let select = |field| format!("select {COLUMNS} from bare where {field} = $1");
        let set: Vec<_> =
            COLUMNS.split(", ").skip(1).map(|name| format!("{name} = excluded.{name}")).collect();
        let upsert = format!(
            "insert into bare ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
             on conflict (id) do update set {}",
            set.join(", ")
        );
        let update = "update bare set access_token = $1, expiry_time = $2 where id = $3";
        Ok(Self {
            by_user: client.prepare(&select("user_name")).await?,
            by_id: client.prepare(&select("id")).await?,
            upsert: client.prepare(&upsert).await?,
            lock: client.prepare(&format!("{} for update", select("user_name"))).await?,
            update: client.prepare(update).await?,
            client,
        })
    }
}

impl Bare {
    async fn new(address: &Address, database: &str) -> Result<Self> {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(tokio::sync::Mutex::new(Session::new(address, database).await?));
        }
        Ok(Self {
            reader: Arc::new(Session::new(address, database).await?),
            writers: writers.into(),
            turn: Arc::default(),
        })
    }

    fn writer(&self) -> &tokio::sync::Mutex<Session> {
        &self.writers[self.turn.fetch_add(1, Ordering::Relaxed) % WRITERS]
    }
}

impl Driver for Bare {
    async fn by_user(&self, user: &str) -> Result<Columns> {
        let session = &self.reader;
        Ok(columns(&session.client.query_one(&session.by_user, &[&user]).await?)?)
    }

    async fn by_id(&self, id: &str) -> Result<Columns> {
        let session = &self.reader;
        Ok(columns(&session.client.query_one(&session.by_id, &[&id]).await?)?)
    }

    /// One statement, which commits by itself.
    async fn upsert(&self, row: &[String; 10]) -> Result<()> {
        let session = self.writer().lock().await;
        session.client.execute(&session.upsert, &parameters(row)).await?;
        Ok(())
    }

    /// In two round trips, as many as there have to be.
    async fn decide(&self, row: &[String; 10]) -> Result<()> {
        let session = self.writer().lock().await;
        let client = &session.client;
        let user = &row[1];
        let ((), found) =
            try_join(client.batch_execute("begin"), client.query_one(&session.lock, &[user]))
                .await?;
        let stored = columns(&found)?;
        let id = stored[0].as_deref().context("a row has no id")?;
        let values: [&(dyn ToSql + Sync); 3] = [&row[5], &row[7], &id];
        let (written, ()) =
            try_join(client.execute(&session.update, &values), client.batch_execute("commit"))
                .await?;
        ensure!(written == 1, "the row is gone");
        Ok(())
    }
}

fn columns(row: &Row) -> Result<Columns, tokio_postgres::Error> {
    let mut columns = Columns::default();
    for (at, column) in columns.iter_mut().enumerate() {
        *column = row.try_get(at)?;
    }
    Ok(columns)
}

fn parameters(row: &[String; 10]) -> [&(dyn ToSql + Sync); 10] {
    row.each_ref().map(|value| {
        let value: &(dyn ToSql + Sync) = value;
        value
    })
}

pub(crate) async fn connect(address: &Address, database: &str) -> Result<Client> {
    let url = format!("{}/{database}", address.url());
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection to PostgreSQL ended: {error}");
        }
    });
    Ok(client)
}

/// Puts in `count` tokens by bare inserts, as an official SDK would.
async fn fill(client: &Client, count: usize) -> Result<()> {
    const AT_ONCE: usize = 1_000;
    let arrays = (1..=10).map(|at| format!("${at}::text[]")).collect::<Vec<_>>().join(", ");
    let sql = format!("insert into oauthtoken ({COLUMNS}) select * from unnest({arrays})");
    let insert = client.prepare(&sql).await?;
    let numbers: Vec<usize> = (1..=count).collect();
    for some in numbers.chunks(AT_ONCE) {
        let mut columns: [Vec<String>; 10] = Default::default();
        for number in some {
            for (column, value) in columns.iter_mut().zip(tokens::columns(*number, 0)) {
                column.push(value);
            }
        }
        let columns = columns.each_ref().map(|column| {
            let column: &(dyn ToSql + Sync) = column;
            column
        });
        client.execute(&insert, &columns).await?;
    }
    Ok(())
}

/// How much a token takes in table and indices. The limit: its ten values.
async fn weigh(address: &Address, count: usize, report: &mut Report) -> Result<()> {
    let client = connect(address, &format!("bench_{count}")).await?;
    let row = client.query_one("select pg_total_relation_size('oauthtoken')", &[]).await?;
    let bytes: i64 = row.try_get(0)?;
    let medians = Medians { ours: bytes as f64 / count as f64, limit: tokens::bytes(count) };
    report.add_in(Unit::Bytes, "token_bytes", "postgres", count, medians);
    Ok(())
}
