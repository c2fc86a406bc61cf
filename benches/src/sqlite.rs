//! The SQLite store beside bare statements through the same driver.

use std::{hint::black_box, path::Path};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, Row, TransactionBehavior, params_from_iter};
use tokenkeep_core::{TokenId, TokenQuery, TokenStore};
use tokenkeep_store_sqlite::SqliteStore;

use crate::{report::Report, timer::Timer, tokens};

pub(crate) const COLUMNS: &str = "id, user_name, client_id, client_secret, refresh_token, access_token, \
                       grant_token, expiry_time, redirect_url, api_domain";

const UPSERT: &str = "insert into oauthtoken (id, user_name, client_id, client_secret,
    refresh_token, access_token, grant_token, expiry_time, redirect_url, api_domain)
    values (?,?,?,?,?,?,?,?,?,?)
    on conflict(id) do update set user_name = excluded.user_name,
    client_id = excluded.client_id, client_secret = excluded.client_secret,
    refresh_token = excluded.refresh_token, access_token = excluded.access_token,
    grant_token = excluded.grant_token, expiry_time = excluded.expiry_time,
    redirect_url = excluded.redirect_url, api_domain = excluded.api_domain";

/// As much page cache for the limit as the store gives itself, in SQLite's measure: KiB, negative.
const CACHE: i32 = -65_536;

/// All operations on a database of `count` tokens.
pub(crate) async fn measure(
    timer: &Timer,
    count: usize,
    users: usize,
    report: &mut Report,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let ours_path = directory.path().join("ours.db");
    let limit_path = directory.path().join("limit.db");
    // Opened once for its tables and indices, filled by bare inserts as an official SDK would.
    drop(SqliteStore::open(&ours_path)?);
    fill(&ours_path, count)?;
    let limit = limit(&limit_path, &ours_path, count)?;
    let store = SqliteStore::open(&ours_path)?;

    let numbers = tokens::spread(count, users);
    finds(timer, &store, &limit, &numbers, count, report).await?;
    save(timer, &store, &limit_path, &numbers, count, report).await?;
    list(timer, &store, &limit, count, report).await
}

async fn finds(
    timer: &Timer,
    store: &SqliteStore,
    limit: &Connection,
    numbers: &[usize],
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let users: Vec<String> = numbers.iter().map(|number| tokens::user(*number)).collect();
    let queries: Vec<TokenQuery> = users.iter().map(TokenQuery::user).collect::<Result<_, _>>()?;
    let found = store.find_token(&queries[0]).await?.context("the store lost a token")?;
    ensure!(found.user_name() == Some(&users[0]), "the store found another token");

    let sql = format!("select {COLUMNS} from oauthtoken where user_name = ?");
    let mut select = limit.prepare(&sql)?;
    let medians = timer
        .compare(
            async |call| {
                let query = &queries[call % queries.len()];
                black_box(store.find_token(query).await.expect("the store works"));
            },
            |call| {
                let user = &users[call % users.len()];
                black_box(select.query_row([user], columns).expect("the statement works"));
            },
        )
        .await;
    report.add("find_by_user", "sqlite", count, medians);

    let ids: Vec<TokenId> =
        numbers.iter().map(|number| TokenId::from_number(*number as u64)).collect();
    let mut select = limit.prepare(&format!("select {COLUMNS} from oauthtoken where id = ?"))?;
    let medians = timer
        .compare(
            async |call| {
                let id = &ids[call % ids.len()];
                black_box(store.find_token_by_id(id).await.expect("the store works"));
            },
            |call| {
                let id = ids[call % ids.len()].as_str();
                black_box(select.query_row([id], columns).expect("the statement works"));
            },
        )
        .await;
    report.add("find_by_id", "sqlite", count, medians);
    Ok(())
}

/// A refreshed token of a known user; the limit knows the id already and writes the whole row.
async fn save(
    timer: &Timer,
    store: &SqliteStore,
    limit_path: &Path,
    numbers: &[usize],
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let mut limit = open(limit_path)?;
    let medians = timer
        .for_writes()
        .compare(
            async |call| {
                let number = numbers[call % numbers.len()];
                let token = tokens::token(number, call).expect("the token is valid");
                black_box(store.save_token(&token).await.expect("the store works"));
            },
            |call| {
                let values = tokens::columns(numbers[call % numbers.len()], call);
                upsert(&mut limit, &values).expect("the disk has room");
            },
        )
        .await;
    report.add("save", "sqlite", count, medians);
    let users = store.get_tokens().await?.len();
    ensure!(users == count, "{users} tokens after saves of {count} known users");
    Ok(())
}

async fn list(
    timer: &Timer,
    store: &SqliteStore,
    limit: &Connection,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let mut select = limit.prepare(&format!("select {COLUMNS} from oauthtoken"))?;
    let medians = timer
        .compare(
            async |_| {
                black_box(store.get_tokens().await.expect("the store works"));
            },
            |_| {
                let rows = select.query_map([], columns).expect("the statement works");
                black_box(rows.collect::<Result<Vec<_>, _>>().expect("the rows are text"));
            },
        )
        .await;
    report.add("list", "sqlite", count, medians);
    Ok(())
}

pub(crate) fn columns(row: &Row<'_>) -> rusqlite::Result<[Option<String>; 10]> {
    let mut values: [Option<String>; 10] = Default::default();
    for (index, value) in values.iter_mut().enumerate() {
        *value = row.get(index)?;
    }
    Ok(values)
}

/// A database at `path` with the same table, indices and tokens as the store's at `ours`.
pub(crate) fn limit(path: &Path, ours: &Path, count: usize) -> Result<Connection> {
    let limit = open(path)?;
    limit.pragma_update(None, "journal_mode", "wal")?;
    limit.execute_batch(&schema_of(ours)?)?;
    fill(path, count)?;
    Ok(limit)
}

/// A connection that is as durable as the store's and caches as much.
fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    Ok(connection)
}

/// Writes the whole row, in a transaction.
pub(crate) fn upsert(connection: &mut Connection, row: &[String; 10]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.prepare_cached(UPSERT)?.execute(params_from_iter(row))?;
    transaction.commit()
}

/// The token table and its indices as our store made them.
fn schema_of(path: &Path) -> Result<String> {
    let connection = Connection::open(path)?;
    let mut statements = connection.prepare(
        "select sql from sqlite_master where tbl_name = 'oauthtoken' and sql is not null
         and type in ('table', 'index') order by type desc",
    )?;
    let statements =
        statements.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    ensure!(!statements.is_empty(), "the store made no table");
    Ok(statements.join(";\n") + ";")
}

/// Puts in `count` tokens by bare inserts, as an official SDK would.
pub(crate) fn fill(path: &Path, count: usize) -> Result<()> {
    fill_with(path, count, |number| tokens::columns(number, 0))
}

/// The same with these rows.
pub(crate) fn fill_with(path: &Path, count: usize, row: fn(usize) -> [String; 10]) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    {
        let sql = format!("insert into oauthtoken ({COLUMNS}) values (?,?,?,?,?,?,?,?,?,?)");
        let mut insert = transaction.prepare(&sql)?;
        for number in 1..=count {
            insert.execute(params_from_iter(&row(number)))?;
        }
    }
    transaction.commit()?;
    Ok(())
}
