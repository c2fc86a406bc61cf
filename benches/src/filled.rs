//! The three stores with the same tokens in them, each beside the bare driver on the same data.

use std::{
    collections::HashMap,
    fs,
    hint::black_box,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokenkeep_core::{Clock, ListStore, OAuthToken, TokenId, TokenStore};
use tokenkeep_store_file::FileConfig;
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};

use crate::{ahead::Ahead, file, sqlite, tokens};

/// A store and what there is without it.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn TokenStore>,
    pub(crate) bare: Bare,
    // It goes last.
    _directory: TempDir,
}

/// The driver without a store, on the store's data or, to write, on the same data elsewhere.
#[derive(Debug)]
pub(crate) enum Bare {
    List { tokens: RwLock<HashMap<TokenId, OAuthToken>>, changes: AtomicI64 },
    Sqlite(Box<Connections>),
    File { path: PathBuf, side: PathBuf, count: usize, elsewhere: TempDir, bytes: Vec<u8> },
}

#[derive(Debug)]
pub(crate) struct Connections {
    reader: Connection,
    /// Changes the store's data as another process would, without waiting for the disk.
    other: Connection,
    writer: Connection,
}

impl Filled {
    /// Each of the three with `count` tokens.
    pub(crate) async fn each(count: usize, clock: &Arc<Ahead>) -> Result<[Self; 3]> {
        Ok([
            Self::list(count, Arc::<Ahead>::clone(clock)).await?,
            Self::sqlite(count, Arc::<Ahead>::clone(clock))?,
            Self::file(count, Arc::<Ahead>::clone(clock))?,
        ])
    }

    async fn list(count: usize, clock: Arc<dyn Clock>) -> Result<Self> {
        let store = ListStore::with_clock(clock);
        let mut tokens = HashMap::new();
        for number in 1..=count {
            let stored = store.save_token(&tokens::token(number, 0)?).await?;
            let id = stored.id().context("the store gave no id")?.clone();
            tokens.insert(id, stored);
        }
        let bare = Bare::List { tokens: RwLock::new(tokens), changes: AtomicI64::new(0) };
        Ok(Self { name: "list", store: Arc::new(store), bare, _directory: tempfile::tempdir()? })
    }

    fn sqlite(count: usize, clock: Arc<dyn Clock>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("ours.db");
        drop(SqliteStore::open(&path)?);
        sqlite::fill(&path, count)?;
        let elsewhere = directory.path().join("limit.db");
        let writer = sqlite::limit(&elsewhere, &path, count)?;
        let reader = Connection::open(&path)?;
        let other = Connection::open(&path)?;
        other.pragma_update(None, "synchronous", "off")?;
        let store = SqliteConfig::new(&path).clock(clock).open()?;
        let bare = Bare::Sqlite(Box::new(Connections { reader, other, writer }));
        Ok(Self { name: "sqlite", store: Arc::new(store), bare, _directory: directory })
    }

    fn file(count: usize, clock: Arc<dyn Clock>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("tokens.csv");
        file::fill(&path, count)?;
        let bare = Bare::File {
            side: directory.path().join("tokens.csv.tokenkeep"),
            count,
            elsewhere: tempfile::tempdir()?,
            bytes: fs::read(&path)?,
            path: path.clone(),
        };
        let store = FileConfig::new(path).clock(clock).open()?;
        Ok(Self { name: "file", store: Arc::new(store), bare, _directory: directory })
    }

    /// For how long a change is looked at twice. Of two looks a second, few are so soon after one.
    pub(crate) fn young(&self) -> Option<Duration> {
        match self.bare {
            Bare::List { .. } | Bare::Sqlite(_) => None,
            // What the times of a file tell is believed 20 ms after.
            Bare::File { .. } => Some(Duration::from_millis(25)),
        }
    }

    /// Another process, or for a list another task, refreshes the token `number`.
    pub(crate) async fn change(&self, number: usize, round: usize) {
        let columns = renewed(number, round);
        match &self.bare {
            Bare::List { .. } => {
                let mut columns = columns.map(Some);
                columns[0] = None;
                let token = OAuthToken::from_columns(columns).expect("the token is valid");
                self.store.save_token(&token).await.expect("the store works");
            }
            Bare::Sqlite(it) => {
                let sql = "update oauthtoken set access_token = ?, expiry_time = ? where id = ?";
                it.other
                    .prepare_cached(sql)
                    .and_then(|mut it| it.execute(params![columns[5], columns[7], columns[0]]))
                    .expect("nobody else writes");
            }
            Bare::File { path, count, .. } => {
                let mut text = file::header();
                for row in 1..=*count {
                    let columns =
                        if row == number { columns.clone() } else { tokens::columns(row, 0) };
                    text.push_str(&file::row(&columns));
                }
                let above = path.parent().expect("it is in a directory");
                file::replace(above, path, text.as_bytes(), false).expect("the disk has room");
            }
        }
    }
}

impl Bare {
    /// What tells whether anything was changed.
    pub(crate) fn mark(&self) -> i64 {
        match self {
            Self::List { changes, .. } => changes.load(Ordering::Acquire),
            Self::Sqlite(it) => it
                .reader
                .prepare_cached("pragma data_version")
                .and_then(|mut it| it.query_row([], |row| row.get(0)))
                .expect("the statement works"),
            Self::File { path, side, .. } => {
                // There may be no side file yet.
                let side = fs::metadata(side).map_or(0, |side| side.ctime_nsec());
                fs::metadata(path).expect("the file is there").ctime_nsec() + side
            }
        }
    }

    /// Reads the token `number` anew.
    pub(crate) fn read(&self, number: usize) {
        let id = TokenId::from_number(number as u64);
        let found = match self {
            Self::List { tokens, .. } => {
                black_box(tokens.read().expect("nobody panics").get(&id).cloned()).is_some()
            }
            Self::Sqlite(it) => {
                let sql = format!("select {} from oauthtoken where id = ?", sqlite::COLUMNS);
                let row = it
                    .reader
                    .prepare_cached(&sql)
                    .and_then(|mut it| it.query_row([id.as_str()], sqlite::columns));
                black_box(row).is_ok()
            }
            Self::File { path, .. } => {
                let bytes = fs::read(path).expect("the file is there");
                let rows = csv::Reader::from_reader(bytes.as_slice()).into_records();
                let rows: Vec<_> = rows.collect::<Result<_, _>>().expect("the rows are text");
                black_box(rows).iter().any(|row| row.get(0) == Some(id.as_str()))
            }
        };
        assert!(found, "the token is there");
    }

    /// Writes a refreshed token, so that a crash does not lose it.
    pub(crate) fn save(&mut self, number: usize, round: usize) {
        match self {
            Self::List { tokens, changes } => {
                let id = TokenId::from_number(number as u64);
                let token = tokens::token(number, round).expect("the token is valid");
                tokens.write().expect("nobody panics").insert(id, token);
                changes.fetch_add(1, Ordering::Release);
            }
            Self::Sqlite(it) => {
                sqlite::upsert(&mut it.writer, &tokens::columns(number, round))
                    .expect("the disk has room");
            }
            Self::File { elsewhere, bytes, .. } => {
                let path = elsewhere.path().join("tokens.csv");
                file::replace(elsewhere.path(), &path, bytes, true).expect("the disk has room");
            }
        }
    }
}

/// A token that was refreshed later than those before it: it expires later.
fn renewed(number: usize, round: usize) -> [String; 10] {
    let mut columns = tokens::columns(number, round);
    let expiry: u64 = columns[7].parse().expect("it is a number");
    columns[7] = (expiry + round as u64).to_string();
    columns
}
