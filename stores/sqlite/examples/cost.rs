//! What an operation costs, beside a bare prepared statement through the same driver on the same
//! database: `cargo run --release -p tokenkeep-store-sqlite --example cost`.
#![expect(clippy::print_stdout, reason = "it reports to a person")]

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokenkeep_core::{AccessToken, OAuthToken, Timestamp, TokenQuery, TokenStore};
use tokenkeep_store_sqlite::SqliteStore;

const ROUNDS: usize = 9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:>8} {:>12} {:>12} {:>6}", "tokens", "bare", "store", "ratio");
    for tokens in [1_000, 100_000] {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("zohooauth.db");
        let store = SqliteStore::open(&path)?;
        fill(&path, tokens)?;
        for spread in [1, tokens] {
            let users: Vec<String> =
                (0..2_000).map(|at| user((at * 7_919) % spread.min(tokens))).collect();
            let queries: Vec<TokenQuery> =
                users.iter().map(TokenQuery::user).collect::<Result<_, _>>()?;
            let mut bare = Vec::new();
            let mut ours = Vec::new();
            for _ in 0..ROUNDS {
                bare.push(bare_select(&path, &users)?);
                let began = now();
                for query in &queries {
                    black_box(store.find_token(query).await?);
                }
                ours.push(began.elapsed() / 2_000);
            }
            report(&format!("find, {spread} users"), tokens, bare, ours);
        }
        let mut bare = Vec::new();
        let mut ours = Vec::new();
        for round in 0..ROUNDS {
            bare.push(bare_upsert(&path, tokens, round)?);
            ours.push(saves(&store, tokens, round).await?);
        }
        report("save", tokens, bare, ours);
    }
    Ok(())
}

fn user(number: usize) -> String {
    format!("user{number}@example.com")
}

fn token(number: usize, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(user(number))
        .client("1000.TESTCLIENT0000000000000000000", "test-client-secret-0000000000000000000000")
        .refresh_token(format!("test-refresh-token-{number:050}"))
        .access_token(format!("test-access-token-{access}-{number:050}"))
        .expiry_time(Timestamp::from_millis(1_764_000_000_000))
        .redirect_url("https://example.com/callback")
        .api_domain("https://www.zohoapis.eu")
        .build()
        .expect("none of these is empty")
}

fn fill(path: &Path, tokens: usize) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    for number in 0..tokens {
        transaction.prepare_cached(INSERT)?.execute(rusqlite::params_from_iter(
            token(number, "0").with_id_number(number).expose_columns().iter(),
        ))?;
    }
    transaction.commit()
}

trait WithIdNumber {
    fn with_id_number(self, number: usize) -> Self;
}

impl WithIdNumber for OAuthToken {
    fn with_id_number(self, number: usize) -> Self {
        self.with_id(tokenkeep_core::TokenId::from_number(number as u64 + 1))
    }
}

const INSERT: &str = "insert into oauthtoken values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const UPSERT: &str = "insert into oauthtoken values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
     on conflict (id) do update set user_name = ?2, client_id = ?3, client_secret = ?4, \
     refresh_token = ?5, access_token = ?6, grant_token = ?7, expiry_time = ?8, \
     redirect_url = ?9, api_domain = ?10";

fn bare_select(path: &Path, users: &[String]) -> rusqlite::Result<Duration> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    let mut statement = connection.prepare("select * from oauthtoken where user_name = ?1")?;
    let mut select = |user: &String| {
        statement.query_row([user], |row| {
            let mut columns: [Option<String>; 10] = Default::default();
            for (at, column) in columns.iter_mut().enumerate() {
                *column = row.get(at)?;
            }
            Ok(columns)
        })
    };
    for user in users {
        black_box(select(user)?);
    }
    let began = now();
    for user in users {
        black_box(select(user)?);
    }
    Ok(began.elapsed() / users.len() as u32)
}

fn bare_upsert(path: &Path, tokens: usize, round: usize) -> rusqlite::Result<Duration> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    let mut upsert = connection.prepare(UPSERT)?;
    let mut begin = connection.prepare("begin immediate")?;
    let mut commit = connection.prepare("commit")?;
    let mut run = |at: usize| -> rusqlite::Result<()> {
        let number = (at * 7_919) % tokens;
        let token = token(number, &format!("bare{round}{at}")).with_id_number(number);
        begin.execute([])?;
        upsert.execute(rusqlite::params_from_iter(token.expose_columns().iter()))?;
        commit.execute([])?;
        Ok(())
    };
    for at in 0..20 {
        run(at)?;
    }
    let began = now();
    for at in 0..500 {
        run(at)?;
    }
    Ok(began.elapsed() / 500)
}

async fn saves(
    store: &SqliteStore,
    tokens: usize,
    round: usize,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut began = now();
    for at in 0..520 {
        if at == 20 {
            began = now();
        }
        let access = AccessToken::new(format!("test-access-ours-{round}-{at}"))?;
        let token = token((at * 7_919) % tokens, "0");
        let token = token.with_access_token(access, Timestamp::from_millis(1_764_000_000_000));
        black_box(store.save_token(&token).await?);
    }
    Ok(began.elapsed() / 500)
}

fn report(what: &str, tokens: usize, mut bare: Vec<Duration>, mut ours: Vec<Duration>) {
    bare.sort();
    ours.sort();
    let (bare, ours) = (bare[ROUNDS / 2], ours[ROUNDS / 2]);
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    println!("{tokens:>8} {bare:>12.2?} {ours:>12.2?} {ratio:>6.2}  {what}");
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Instant {
    Instant::now()
}
