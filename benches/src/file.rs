//! The file store beside what any store of a CSV file has to do.

use std::{
    collections::HashMap,
    fs::{self, File},
    hint::black_box,
    io::Write,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use tokenkeep_core::{Field, OAuthToken, TokenId, TokenQuery, TokenStore};
use tokenkeep_store_file::FileStore;

use crate::{report::Report, timer::Timer, tokens};

/// All operations on a file of `count` tokens.
pub(crate) async fn measure(
    timer: &Timer,
    count: usize,
    users: usize,
    report: &mut Report,
) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tokens.csv");
    fill(&path, count)?;
    let store = FileStore::open(&path)?;
    let numbers = tokens::spread(count, users);
    finds(timer, &store, &path, &numbers, count, report).await?;
    save(timer, &store, &path, &numbers, count, report).await?;
    list(timer, &store, &path, count, report).await
}

/// The file does not change, so the limit is to see that, to look the token up, and to copy it.
async fn finds(
    timer: &Timer,
    store: &FileStore,
    path: &Path,
    numbers: &[usize],
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let users: Vec<String> = numbers.iter().map(|number| tokens::user(*number)).collect();
    let queries: Vec<TokenQuery> = users.iter().map(TokenQuery::user).collect::<Result<_, _>>()?;
    let found = store.find_token(&queries[0]).await?.context("the store lost a token")?;
    ensure!(found.user_name() == Some(&users[0]), "the store found another token");

    let by_user = in_memory(count, tokens::user)?;
    let medians = timer
        .compare(
            async |call| {
                let query = &queries[call % queries.len()];
                black_box(store.find_token(query).await.expect("the store works"));
            },
            |call| {
                black_box(fs::metadata(path).expect("the file is there"));
                black_box(by_user.get(&users[call % users.len()]).cloned());
            },
        )
        .await;
    report.add("find_by_user", "file", count, medians);

    let ids: Vec<TokenId> =
        numbers.iter().map(|number| TokenId::from_number(*number as u64)).collect();
    let by_id = in_memory(count, |number| number.to_string())?;
    let medians = timer
        .compare(
            async |call| {
                let id = &ids[call % ids.len()];
                black_box(store.find_token_by_id(id).await.expect("the store works"));
            },
            |call| {
                black_box(fs::metadata(path).expect("the file is there"));
                black_box(by_id.get(ids[call % ids.len()].as_str()).cloned());
            },
        )
        .await;
    report.add("find_by_id", "file", count, medians);
    Ok(())
}

/// The limit writes bytes that are ready, durably, in the place of the old ones.
async fn save(
    timer: &Timer,
    store: &FileStore,
    path: &Path,
    numbers: &[usize],
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let bytes = fs::read(path)?;
    let limit = tempfile::tempdir()?;
    let limit_path = limit.path().join("tokens.csv");
    let medians = timer
        .for_writes()
        .compare(
            async |call| {
                let number = numbers[call % numbers.len()];
                let token = tokens::token(number, call).expect("the token is valid");
                black_box(store.save_token(&token).await.expect("the store works"));
            },
            |_| replace(limit.path(), &limit_path, &bytes, true).expect("the disk has room"),
        )
        .await;
    report.add("save", "file", count, medians);
    let users = store.get_tokens().await?.len();
    ensure!(users == count, "{users} tokens after saves of {count} known users");
    Ok(())
}

async fn list(
    timer: &Timer,
    store: &FileStore,
    path: &Path,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let medians = timer
        .compare(
            async |_| {
                black_box(store.get_tokens().await.expect("the store works"));
            },
            |_| {
                let bytes = fs::read(path).expect("the file is there");
                let rows = csv::Reader::from_reader(bytes.as_slice())
                    .into_records()
                    .collect::<Result<Vec<_>, _>>();
                black_box(rows.expect("the rows are text"));
            },
        )
        .await;
    report.add("list", "file", count, medians);
    Ok(())
}

fn in_memory(count: usize, key: impl Fn(usize) -> String) -> Result<HashMap<String, OAuthToken>> {
    (1..=count)
        .map(|number| Ok((key(number), tokens::token(number, 0)?.with_id(id(number)))))
        .collect()
}

fn id(number: usize) -> TokenId {
    TokenId::from_number(number as u64)
}

/// Puts `bytes` in the place of `path`, and onto the disk if it is to be `durable`.
pub(crate) fn replace(
    directory: &Path,
    path: &Path,
    bytes: &[u8],
    durable: bool,
) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    if durable {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    if durable { File::open(directory)?.sync_all() } else { Ok(()) }
}

/// Writes a file of `count` tokens, as an official SDK would.
pub(crate) fn fill(path: &Path, count: usize) -> Result<()> {
    let mut text = header();
    for number in 1..=count {
        text.push_str(&row(&tokens::columns(number, 0)));
    }
    #[expect(clippy::disallowed_methods, reason = "made for the store to read")]
    fs::write(path, text).context("could not write the file")
}

pub(crate) fn header() -> String {
    Field::ALL.map(Field::name).join(",") + "\n"
}

pub(crate) fn row(columns: &[String; 10]) -> String {
    columns.join(",") + "\n"
}
