//! What goes wrong: each a clear error, nothing lost.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokenkeep_core::{
    OAuthToken, Operation, Outcome, StoreError, StoreErrorKind, TokenQuery, TokenStore,
};
use tokenkeep_store_sqlite::{SqliteConfig, SqliteStore};

fn token(name: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(name).client("test-client", "test-client-secret");
    token.refresh_token(format!("test-refresh-{name}")).build().unwrap()
}

/// A long one: it takes about a page.
fn long_token(name: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(name);
    token.refresh_token(format!("test-refresh-{name}-{}", "x".repeat(4_000))).build().unwrap()
}

fn refused(path: &Path, kind: StoreErrorKind) -> StoreError {
    let error = SqliteStore::open(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.operation(), Some(Operation::Open));
    assert!(error.hint().is_some(), "{error:?}");
    error
}

#[test]
fn a_directory_is_not_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let error = refused(directory.path(), StoreErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is a directory"), "{error}");
    assert_eq!(error.outcome(), Outcome::Final);
}

#[test]
fn a_device_is_not_a_database() {
    let error = refused(Path::new("/dev/full"), StoreErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is not a regular file"), "{error}");
}

#[test]
fn a_directory_that_is_not_there_is_named_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("none");
    let error = refused(&parent.join("zohooauth.db"), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("there is no directory"), "{error}");
    assert!(error.hint().unwrap().starts_with("make it: mkdir -p"), "{error:?}");
    assert!(!parent.exists());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::copy(std::env::current_exe().unwrap(), &file).unwrap();
    let error = SqliteStore::open(file.join("zohooauth.db")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
}

#[test]
fn something_else_is_not_a_database_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let before = fs::read(&path).unwrap();
    let error = refused(&path, StoreErrorKind::Corrupt);
    assert!(error.to_string().contains("is not a SQLite database"), "{error}");
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_not_absence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    for number in 0..100 {
        store.save_token(&token(&format!("user{number}"))).await.unwrap();
    }
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0xa5);
    let copy = directory.path().join("damaged.db");
    fs::copy(&path, &copy).unwrap();
    std::io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(&copy).unwrap(), &bytes)
        .unwrap();
    let found = match SqliteStore::open(&copy) {
        Ok(store) => store.find_token(&TokenQuery::user("user7").unwrap()).await,
        Err(error) => Err(error),
    };
    let error = found.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    assert!(error.hint().unwrap().contains("backup"), "{error:?}");
}

#[test]
fn strange_names_are_refused() {
    for table in ["", "a b", "x\"; drop table oauthtoken; --", "sqlite_schema", "tokenkeep_state"] {
        let error = SqliteConfig::memory().table(table).open().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{table}");
    }
    for path in ["", "a\0b"] {
        let error = SqliteStore::open(path).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{path:?}");
    }
}

#[tokio::test]
async fn a_new_file_is_private_and_an_old_one_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save_token(&token("alice")).await.unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    assert!(!store.inspect().await.unwrap().is_exposed());
    drop(store);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let inspection = SqliteStore::open(&path).unwrap().inspect().await.unwrap();
    assert_eq!(inspection.mode, Some(0o644));
    assert!(inspection.is_exposed());
    assert_eq!((inspection.tokens, inspection.journal_mode.as_str()), (1, "wal"));
    assert_eq!(inspection.damage, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_is_opened_read_only_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let error = SqliteConfig::new(&path).read_only(true).open().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!path.exists());

    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "create table oauthtoken (id varchar(10) NOT NULL, user_mail varchar(255), \
             client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
             access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
             redirect_uri varchar(255), primary key (id)); \
             insert into oauthtoken (id, user_mail, refresh_token) values ('1', 'alice', 'test-r')",
        )
        .unwrap();
    let before = fs::read(&path).unwrap();
    let store = SqliteConfig::new(&path).read_only(true).open().unwrap();
    let found = store.find_token(&TokenQuery::user("alice").unwrap()).await.unwrap().unwrap();
    assert_eq!(store.get_tokens().await.unwrap(), [found]);
    let shared = store.shared().unwrap();
    let page = shared.page(None, 10).await.unwrap();
    assert_eq!(page.tokens.len(), 1);
    assert_eq!(shared.state(&page.tokens[0].id).await.unwrap(), None);
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert_eq!(error.operation(), Some(Operation::SaveToken));
    assert!(fs::read(&path).unwrap() == before);
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteConfig::new(&path).max_pages(60).open().unwrap();
    let mut saved = Vec::new();
    let error = loop {
        match store.save_token(&long_token(&format!("user{}", saved.len()))).await {
            Ok(token) => saved.push(token),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(!format!("{error:?}").contains("test-refresh"), "{error:?}");
    assert!(saved.len() > 3);
    assert_eq!(store.get_tokens().await.unwrap(), saved);
    assert!(store.delete_token(saved[0].id().unwrap()).await.unwrap());
    store.save_token(&token("short")).await.unwrap();
}

#[tokio::test]
async fn somebody_who_holds_on_makes_writing_busy_and_reading_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let config = SqliteConfig::new(&path).busy_timeout(Duration::from_millis(50));
    let store = config.open().unwrap();
    let alice = store.save_token(&token("alice")).await.unwrap();

    let other = Connection::open(&path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let error = store.save_token(&token("bob")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Busy, "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(store.get_tokens().await.unwrap(), [alice]);
    other.execute_batch("rollback").unwrap();
    store.save_token(&token("bob")).await.unwrap();
}

#[test]
fn who_reads_without_end_in_another_journal_mode_is_waited_for_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    drop(SqliteStore::open(&path).unwrap());
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("pragma journal_mode = delete; begin; select * from oauthtoken").unwrap();

    let timeout = Duration::from_millis(500);
    #[expect(clippy::disallowed_methods, reason = "a span is measured, nothing is dated")]
    let begun = Instant::now();
    let store = SqliteConfig::new(&path).busy_timeout(timeout).open();
    // It was ten times as long.
    assert!(begun.elapsed() < 5 * timeout);
    store.unwrap();
}

#[tokio::test]
async fn waiting_for_another_process_does_not_hold_up_the_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("begin immediate").unwrap();
    // One thread: if the save kept it, nobody would roll back.
    let (saved, ()) = tokio::join!(async { store.save_token(&token("alice")).await }, async {
        other.execute_batch("rollback").unwrap();
    },);
    saved.unwrap();
}

#[tokio::test]
async fn a_save_whose_future_is_dropped_is_made_wholly_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let store = SqliteStore::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    for number in 0..20 {
        other.execute_batch("begin immediate").unwrap();
        {
            let token = token(&format!("user{number}"));
            let mut save = store.save_token(&token);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(save.as_mut().poll(&mut context).is_pending());
        }
        other.execute_batch("rollback").unwrap();
    }
    let last = store.save_token(&token("last")).await.unwrap();
    let tokens = store.get_tokens().await.unwrap();
    assert!(tokens.contains(&last));
    for token in &tokens {
        assert!(token.refresh_token().is_some() && token.client_id().is_some());
    }
    assert_eq!(store.inspect().await.unwrap().damage, Vec::<String>::new());
}

#[tokio::test]
async fn errors_hold_no_value_of_a_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zohooauth.db");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255), \
             client_id varchar(255), client_secret varchar(255), \
             refresh_token varchar(255) check (length(refresh_token) < 10), \
             access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
             redirect_url varchar(255), api_domain varchar(255), primary key (id))",
        )
        .unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let error = store.save_token(&token("alice")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);
    let shown = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
    assert!(!shown.contains("test-refresh") && !shown.contains("alice"), "{shown}");
    assert!(!format!("{store:?}").contains("alice"));
}
