//! Several processes on one database. The children are this test program, run again.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitCode, Stdio},
};

use tokenkeep_core::TokenStore;
use tokenkeep_servers::{Kind, Trials};
use tokenkeep_store_mysql::MysqlStore;

use crate::support::{Database, token};

const NAME: &str = "TOKENKEEP_TEST_NAME";
const URL: &str = "TOKENKEEP_TEST_URL";

pub(crate) fn add(trials: Trials) -> Trials {
    trials.needs(Kind::MariaDb, "processes::eight_save_eight_hundred_tokens", |at| async move {
        eight_save_eight_hundred_tokens(Database::new(&at[0]).await).await;
    })
}

/// What a child process does; nothing in the parent.
#[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
pub(crate) fn child() -> Option<ExitCode> {
    let (name, url) = (std::env::var(NAME).ok()?, std::env::var(URL).ok()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = MysqlStore::open(&url).await.unwrap();
        for number in 0..100 {
            let saved = store.save_token(&token(&format!("{name}-{number}"))).await.unwrap();
            println!("{}", saved.id().unwrap());
        }
    });
    Some(ExitCode::SUCCESS)
}

async fn eight_save_eight_hundred_tokens(database: Database) {
    // All at once, also when the tables are made.
    let spawn = |number: u32| -> Child {
        Command::new(std::env::current_exe().unwrap())
            .env(NAME, format!("process{number}"))
            .env(URL, database.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..8).map(spawn).collect();
    let mut ids = BTreeSet::new();
    for mut child in children {
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        ids.extend(said.map(Result::unwrap));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(ids.len(), 800);
    let store = database.open().await;
    assert_eq!(store.get_tokens().await.unwrap().len(), 800);
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.duplicates.len(), 0);
    assert_eq!(inspection.next_id.unwrap().as_str(), "801");
    assert_eq!((inspection.tokens, inspection.orphans), (800, 0));
}
