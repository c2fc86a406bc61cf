//! Several processes on one database. The children are this test program, run again with a job.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitCode, Stdio},
};

use tokenkeep_core::TokenStore as _;
use tokenkeep_servers::{Address, Trials};
use tokenkeep_store_postgres::PostgresStore;

use crate::{
    on_shared,
    support::{Database, token},
};

const JOB: &str = "TOKENKEEP_TEST_JOB";
const URL: &str = "TOKENKEEP_TEST_URL";

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(trials, eight_processes_save_eight_hundred_tokens, eight_processes_update_one_user)
}

/// What this process is to do, if it is a child.
#[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
pub(crate) fn job() -> Option<String> {
    env::var(JOB).ok()
}

#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
pub(crate) fn child(job: &str) -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
    let url = env::var(URL).unwrap();
    let (job, number) = job.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = PostgresStore::open(&url).await.unwrap();
        for save in 0..100 {
            let name = if job == "save" { format!("user{number}-{save}") } else { "alice".into() };
            let saved = store.save_token(&token(&name)).await.unwrap();
            println!("{}", saved.id().unwrap());
        }
    });
    ExitCode::SUCCESS
}

fn spawn(job: &str, database: &Database) -> Child {
    Command::new(env::current_exe().unwrap())
        .env(JOB, job)
        .env(URL, database.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn said(child: &mut Child) -> Vec<String> {
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    said
}

async fn eight_processes_save_eight_hundred_tokens(address: &Address) {
    let database = Database::new(address).await;
    // All at once, also when the tables are made.
    let children: Vec<_> = (0..8).map(|n| spawn(&format!("save {n}"), &database)).collect();
    let mut ids = BTreeSet::new();
    for mut child in children {
        ids.extend(said(&mut child));
    }
    assert_eq!(ids.len(), 800);
    let store = database.open().await;
    assert_eq!(store.get_tokens().await.unwrap().len(), 800);
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.tokens, 800);
    assert_eq!(inspection.duplicates.len(), 0);
    assert!(inspection.tells_of_changes && inspection.missing_indices.is_empty());
}

async fn eight_processes_update_one_user(address: &Address) {
    let database = Database::new(address).await;
    let children: Vec<_> = (0..8).map(|n| spawn(&format!("update {n}"), &database)).collect();
    for mut child in children {
        assert!(said(&mut child).iter().all(|id| id == "1"));
    }
    assert_eq!(database.open().await.get_tokens().await.unwrap().len(), 1);
}
