//! All tokens of one SQLite database moved to another, beside a bare copy of the same rows.

use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;
use tokenkeep::migrate::Migration;
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};

use crate::{
    report::Report,
    sqlite::{COLUMNS, columns, fill_with, limit},
    timer::{Medians, median, now, per_call},
    tokens,
};

/// How often each is done, in turn.
const ROUNDS: usize = 3;
/// How many rows are in a transaction of the copy: as many as a migration saves at once.
const AT_ONCE: usize = 5_000;

/// Ours reads the source twice, merges what is there twice, and reads back what it wrote; the limit
/// reads rows and writes them, with the same indices and as durably.
pub(crate) async fn measure(count: usize, report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("source.db");
    drop(SqliteStore::open(&source)?);
    fill_with(&source, count, tokens::random)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(migrated(&source, count).await?);
        bare.push(copied(&source, count)?);
    }
    let medians = Medians { ours: median(ours), limit: median(bare) };
    report.add("migrate", "sqlite", count, medians);
    Ok(())
}

async fn migrated(source: &Path, count: usize) -> Result<f64> {
    let directory = TempDir::new()?;
    let from = SqliteConfig::new(source).read_only(true).open()?;
    let begun = now();
    let to = SqliteStore::open(directory.path().join("ours.db"))?;
    let report = Migration::new(&from, &to).page_size(AT_ONCE).run().await?;
    let took = per_call(begun.elapsed(), count);
    ensure!(report.is_complete() && report.moved == count as u64, "not all was moved");
    Ok(took)
}

fn copied(source: &Path, count: usize) -> Result<f64> {
    let directory = TempDir::new()?;
    let path = directory.path().join("bare.db");
    // With the same table and indices, and nothing in it.
    let mut target = limit(&path, source, 0)?;
    let begun = now();
    let from = Connection::open(source)?;
    let mut select =
        from.prepare(&format!("select {COLUMNS} from oauthtoken order by cast(id as integer)"))?;
    let mut rows = select.query([])?;
    let insert = format!("insert into oauthtoken ({COLUMNS}) values (?,?,?,?,?,?,?,?,?,?)");
    let mut written = 0;
    loop {
        let transaction = target.transaction()?;
        let before = written;
        while written < before + AT_ONCE {
            let Some(row) = rows.next()? else { break };
            transaction.prepare_cached(&insert)?.execute(params_from_iter(columns(row)?))?;
            written += 1;
        }
        transaction.commit()?;
        if written < before + AT_ONCE {
            break;
        }
    }
    let took = per_call(begun.elapsed(), count);
    ensure!(written == count, "not all was copied");
    Ok(took)
}
