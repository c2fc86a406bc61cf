//! Several processes on one database, and processes that are killed. The children are this test
//! program, run again for the test `child`.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use tokenkeep_core::{OAuthToken, SharedStore, StoreErrorKind, TokenQuery, TokenStore};
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};

const JOB: &str = "TOKENKEEP_TEST_JOB";
const PATH: &str = "TOKENKEEP_TEST_PATH";

fn child_program(program: &Path, job: &str, path: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(JOB, job)
        .env(PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn spawn(job: &str, path: &Path) -> Child {
    child_program(&std::env::current_exe().unwrap(), job, path).spawn().unwrap()
}

/// What a child says with `said`, line by line.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("said ").map(|(_, text)| text.to_owned()))
}

/// What a child process does; nothing when it is run as a test.
#[tokio::test]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
    let (Ok(job), Ok(path)) = (std::env::var(JOB), std::env::var(PATH)) else { return };
    let (job, argument) = job.split_once(' ').unwrap_or((&job, ""));
    match job {
        "save" => {
            let store = SqliteStore::open(&path).unwrap();
            for number in 0..100 {
                let saved = store.save_token(&token(&format!("{argument}-{number}"), "0")).await;
                println!("said {}", saved.unwrap().id().unwrap());
            }
        }
        "update" => {
            let store = SqliteStore::open(&path).unwrap();
            for number in 0..100 {
                let access = format!("{argument}-{number}");
                let saved = store.save_token(&token("alice", &access)).await;
                println!("said {}", saved.unwrap().id().unwrap());
            }
        }
        "save-and-wait" => {
            let store = SqliteStore::open(&path).unwrap();
            println!("said open");
            for (number, _go) in std::io::stdin().lines().enumerate() {
                let access = number.to_string();
                store.save_token(&token("alice", &access)).await.unwrap();
                println!("said {number}");
            }
        }
        "save-until-killed" => {
            let store = SqliteStore::open(&path).unwrap();
            for number in 0.. {
                let name = format!("{argument}-{number}");
                store.save_token(&token(&name, "0")).await.unwrap();
                store.save_token(&token("alice", &format!("{number:09}"))).await.unwrap();
                println!("said {number}");
            }
        }
        "open" => {
            let config = SqliteConfig::new(&path).read_only(argument == "read-only");
            let result = match config.open() {
                Ok(store) => store.save_token(&token("bob", "0")).await.map(drop),
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => println!("said saved"),
                Err(error) => println!(
                    "said {:?}: {error}; {}",
                    error.kind(),
                    error.hint().unwrap_or("no hint")
                ),
            }
        }
        other => panic!("there is no job {other}"),
    }
}

fn token(name: &str, access: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(name)
        .client("test-client", "test-client-secret")
        .refresh_token(format!("test-refresh-{name}"))
        .access_token(format!("test-access-{name}-{access}"))
        .build()
        .unwrap()
}

#[tokio::test]
async fn eight_processes_save_eight_hundred_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    // All at once, also when the database is made.
    let children: Vec<_> = (0..8).map(|n| spawn(&format!("save user{n}"), &path)).collect();
    let mut ids = BTreeSet::new();
    for mut child in children {
        ids.extend(said(&mut child));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(ids.len(), 800);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.get_tokens().await.unwrap().len(), 800);
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.duplicates.len(), 0);
    assert_eq!(inspection.next_id.unwrap().as_str(), "801");
    assert_eq!(inspection.damage.len(), 0);
}

#[tokio::test]
async fn eight_processes_update_one_user() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let children: Vec<_> = (0..8).map(|n| spawn(&format!("update {n}"), &path)).collect();
    for mut child in children {
        assert!(said(&mut child).all(|id| id == "1"));
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(SqliteStore::open(&path).unwrap().get_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn each_save_of_another_process_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut child = spawn("save-and-wait", &path);
    let mut done = said(&mut child);
    assert_eq!(done.next().as_deref(), Some("open"));
    let mut mark = store.change_mark().await.unwrap();
    let mut go = child.stdin.take().unwrap();
    for number in 0..20 {
        let before = std::mem::replace(&mut mark, store.change_mark().await.unwrap());
        assert_eq!(before, mark, "{number}");
        writeln!(go).unwrap();
        assert_eq!(done.next(), Some(number.to_string()));
        let before = std::mem::replace(&mut mark, store.change_mark().await.unwrap());
        assert_ne!(before, mark, "{number}");
    }
    drop(go);
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_file_that_is_removed_under_four_processes_is_made_again_sound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let mut children: Vec<_> = (0..4).map(|n| spawn(&format!("save user{n}"), &path)).collect();
    let mut ids = said(&mut children[0]);
    for _ in 0..8 {
        assert_eq!(ids.by_ref().take(10).count(), 10);
        if let Err(error) = fs::remove_file(&path) {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }
    ids.for_each(drop);
    for mut child in children {
        if child.stdout.is_some() {
            said(&mut child).for_each(drop);
        }
        assert!(child.wait().unwrap().success());
    }
    let store = SqliteStore::open(&path).unwrap();
    let before = store.get_tokens().await.unwrap().len();
    let mut child = spawn("save late", &path);
    assert_eq!(said(&mut child).count(), 100);
    assert!(child.wait().unwrap().success());
    assert_eq!(store.get_tokens().await.unwrap().len(), before + 100);
    assert_eq!(store.inspect().await.unwrap().damage.len(), 0);
}

#[tokio::test]
async fn two_hundred_killed_processes_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let mut kept = 0;
    for round in 0..200 {
        let mut child = spawn(&format!("save-until-killed r{round}"), &path);
        let saved = said(&mut child).take(1 + round % 4).last().unwrap();
        // SIGKILL, while it is at the next save.
        child.kill().unwrap();
        child.wait().unwrap();

        let store = SqliteStore::open(&path).unwrap();
        let saved: usize = saved.parse().unwrap();
        for number in 0..=saved {
            let query = TokenQuery::user(format!("r{round}-{number}")).unwrap();
            assert!(store.find_token(&query).await.unwrap().is_some(), "{round} {number}");
        }
        let tokens = store.get_tokens().await.unwrap();
        assert!(tokens.len() > kept, "{} tokens after {kept}", tokens.len());
        kept = tokens.len() - 1;
        let alice = store.find_token(&TokenQuery::user("alice").unwrap()).await.unwrap().unwrap();
        let access = alice.access_token().unwrap().expose_secret().to_owned();
        assert!(access >= format!("test-access-alice-{saved:09}"));
        assert_eq!(alice.refresh_token().unwrap().expose_secret(), "test-refresh-alice");
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    let said: String =
        connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
}

/// What an ordinary user is told who opens `path` and saves. Root may do everything, so that if
/// this is root, the child becomes somebody else.
fn told(directory: &Path, job: &str, path: &Path) -> String {
    let program = directory.join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = child_program(&program, job, path);
    if fs::metadata(&program).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let mut child = command.current_dir(directory).spawn().unwrap();
    let told = said(&mut child).last().unwrap_or_default();
    child.wait().unwrap();
    told
}

#[tokio::test]
async fn missing_permissions_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(directory.path(), 0o755);
    let place = directory.path().join("place");
    fs::create_dir(&place).unwrap();
    let path = place.join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let alice = store.save_token(&token("alice", "0")).await.unwrap();
    drop(store);
    let denied = format!("{:?}", StoreErrorKind::PermissionDenied);

    for (place_mode, file_mode, job, words) in [
        (0o777, 0o444, "open writing", "the database file may not be written"),
        (0o555, 0o666, "open writing", "write permission"),
        (0o777, 0o000, "open writing", "may not be opened"),
        (0o777, 0o000, "open read-only", "may not be opened"),
        (0o700, 0o666, "open writing", "may not be reached"),
        (0o777, 0o444, "open read-only", "the store was opened read-only"),
    ] {
        if fs::metadata(&path).unwrap().uid() != 0 && place_mode == 0o700 {
            continue;
        }
        set(&place, place_mode);
        set(&path, file_mode);
        let told = told(directory.path(), job, &path);
        set(&place, 0o755);
        set(&path, 0o600);
        assert!(told.starts_with(&denied) && told.contains(words), "{place_mode:o}: {told:?}");
        assert!(!told.ends_with("no hint"), "{told}");
    }

    set(&place, 0o555);
    let told = told(directory.path(), "open writing", &place.join("new.db"));
    set(&place, 0o755);
    assert!(told.starts_with(&denied) && told.contains("may not be made"), "{told}");

    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
}
