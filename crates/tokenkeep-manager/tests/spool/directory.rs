//! Which directories a spool works in, and how it leaves them.
#![cfg(unix)]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use tokenkeep_core::{StoreError, StoreErrorKind};
use tokenkeep_manager::{FileSpool, Spool};

use crate::support::{entry, files, id, only_file, spool, write};

const CHILD: &str = "TOKENKEEP_TEST_SPOOL_UMASK";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(directory: &Path) -> StoreError {
    FileSpool::in_directory(directory).unwrap_err()
}

/// Whatever the umask gives or takes, the owner can use the spool and nobody else can.
#[test]
fn a_spool_is_private_under_any_umask() {
    for umask in ["000", "022", "777"] {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b/spool");
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("umask {umask}; exec \"$0\" --exact directory::put_in_a_child"))
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, &made)
            .output()
            .unwrap();
        assert!(child.status.success(), "umask {umask}: {child:?}");
        for directory in ["a", "a/b", "a/b/spool"] {
            assert_eq!(mode(&dir.path().join(directory)), 0o700, "umask {umask}: {directory}");
        }
        assert_eq!(mode(&only_file(&made)), 0o600, "umask {umask}");
    }
}

/// What a child process does; nothing when it is run as a test.
#[tokio::test]
async fn put_in_a_child() {
    #[expect(clippy::disallowed_methods, reason = "how a parent test tells its child what to do")]
    let Ok(made) = std::env::var(CHILD) else { return };
    let spool = spool(Path::new(&made));
    spool.put(&entry(&id("7"), "test-refresh-new")).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("spool");
    let opened_before = spool(&open);
    for writable in [0o720, 0o702, 0o777, 0o1777] {
        set_mode(&open, writable);
        let error = refused(&open);
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{writable:o}");
        assert!(error.hint().unwrap().starts_with("chmod go-w "), "{error:?}");
        // A spool that is open already sees it too.
        let error = opened_before.put(&entry(&id("7"), "test-refresh-new")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    }
    assert!(files(&open).is_empty());
    for readable in [0o700, 0o750, 0o755] {
        set_mode(&open, readable);
        spool(&open);
        assert_eq!(mode(&open), readable, "what somebody has set stays");
    }
}

#[test]
fn a_symbolic_link_is_refused_and_one_above_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    spool(&real.join("spool"));
    let link = dir.path().join("link");
    symlink(&real, &link).unwrap();
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("nothing"), &dangling).unwrap();
    for path in [link.clone(), link.join(""), link.join("."), dangling] {
        let error = refused(&path);
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{}", path.display());
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    spool(&link.join("spool"));
    assert!(!dir.path().join("nothing").exists());
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    write(&file, "");
    assert_eq!(refused(&file).kind(), StoreErrorKind::Unavailable);
    assert_eq!(refused(&file.join("spool")).kind(), StoreErrorKind::Unavailable);
    assert!(FileSpool::in_directory("").is_err());
}

/// Only who may give files away can make such a directory; another's is at hand, though.
#[test]
fn a_directory_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    set_mode(&theirs, 0o755);
    let theirs = match std::os::unix::fs::chown(&theirs, Some(4_242), Some(4_242)) {
        Ok(()) => theirs,
        Err(_not_root) => "/".into(),
    };
    let error = refused(&theirs);
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert!(error.to_string().contains("belongs to another user"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_gone_is_no_empty_spool_and_a_put_makes_it_anew() {
    let dir = tempfile::tempdir().unwrap();
    let gone = dir.path().join("a/spool");
    let spool = spool(&gone);
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    let put = entry(&id("7"), "test-refresh-new");
    for error in [
        spool.get(&put.id, &put.grant).await.unwrap_err(),
        spool.remove(&put.id, &put.grant).await.unwrap_err(),
        spool.list().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.hint().unwrap().contains("gone"), "{error:?}");
    }
    spool.put(&put).await.unwrap();
    assert_eq!(mode(&gone), 0o700);
    assert_eq!(spool.get(&put.id, &put.grant).await.unwrap(), Some(put));
}
