//! What is left when a write fails at each of its steps.

use std::io::ErrorKind;

use tokenkeep_core::{LeaseAttempt, Outcome, StoreErrorKind};

use super::*;
use crate::atomic::Step;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn token(user: &str) -> OAuthToken {
    OAuthToken::builder().user_name(user).refresh_token("test-refresh").build().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_leaves_the_old_file_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("t.csv")).unwrap();
    block_on(store.save_token(&token("alice"))).unwrap();
    let before = std::fs::read(store.path()).unwrap();
    for step in [Step::Create, Step::Write, Step::Sync, Step::Rename] {
        for (io, kind) in [
            (ErrorKind::StorageFull, StoreErrorKind::Full),
            (ErrorKind::PermissionDenied, StoreErrorKind::PermissionDenied),
            (ErrorKind::Other, StoreErrorKind::Unavailable),
        ] {
            store.inner.writer.faults.fail_once(step, io);
            let error = block_on(store.save_token(&token("bob"))).unwrap_err();
            assert_eq!(error.kind(), kind, "{step:?}");
            assert_ne!(error.outcome(), Outcome::Unknown, "{step:?}");
            assert_eq!(error.operation(), Some(Operation::SaveToken));
            assert!(error.hint().is_some());
            assert_eq!(std::fs::read(store.path()).unwrap(), before, "{step:?}");
            assert_eq!(names(directory.path()), ["t.csv", "t.csv.lock"], "{step:?}");
            assert_eq!(block_on(store.get_tokens()).unwrap().len(), 1);
        }
    }
    let saved = block_on(store.save_token(&token("bob"))).unwrap();
    assert_eq!(saved.id(), Some(&TokenId::from_number(2)));
}

#[test]
fn a_rename_that_may_not_last_is_an_unknown_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("t.csv")).unwrap();
    store.inner.writer.faults.fail_once(Step::SyncDirectory, ErrorKind::Other);
    let error = block_on(store.save_token(&token("alice"))).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    // Reading again tells.
    assert_eq!(block_on(store.get_tokens()).unwrap().len(), 1);
    block_on(store.save_token(&token("alice"))).unwrap();
    assert_eq!(block_on(store.get_tokens()).unwrap().len(), 1);
}

#[test]
fn a_failed_write_of_the_side_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path().join("t.csv")).unwrap();
    block_on(store.save_token(&token("alice"))).unwrap();
    let one = TokenId::from_number(1);
    let shared = store.shared().unwrap();
    let ttl = std::time::Duration::from_secs(9);
    store.inner.writer.faults.fail_once(Step::Write, ErrorKind::StorageFull);
    let error = block_on(shared.try_lease(&one, "us", ttl)).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    let lease = block_on(shared.try_lease(&one, "us", ttl)).unwrap();
    assert!(matches!(lease, LeaseAttempt::Granted(lease) if lease.generation == 1));
    // The id is put down first: if that fails, the row stays.
    store.inner.writer.faults.fail_once(Step::Sync, ErrorKind::StorageFull);
    assert!(block_on(store.delete_token(&one)).is_err());
    assert_eq!(block_on(store.get_tokens()).unwrap().len(), 1);
    assert!(block_on(store.delete_token(&one)).unwrap());
    let next = block_on(store.save_token(&token("bob"))).unwrap();
    assert_eq!(next.id(), Some(&TokenId::from_number(2)));
}
