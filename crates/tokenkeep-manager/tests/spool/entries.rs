//! What is put, got, removed and listed.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokenkeep_core::{Clock, Field, Fingerprint, StoreErrorKind, SystemClock, TokenId};
use tokenkeep_manager::{FileSpool, Spool, SpoolKey, SpoolListing};
use tokenkeep_testkit::ManualClock;

use crate::support::{entry, files, grant, id, key, only_file, spool, write};

type Sealing = fn(FileSpool) -> FileSpool;

/// A directory for a spool that is clear and one for a spool that is sealed.
fn both() -> [(tempfile::TempDir, Sealing); 2] {
    [
        (tempfile::tempdir().unwrap(), |spool| spool),
        (tempfile::tempdir().unwrap(), |spool| spool.sealed_with(key())),
    ]
}

#[tokio::test]
async fn an_entry_is_there_after_a_restart_until_it_is_removed() {
    for (dir, sealing) in both() {
        let (seven, old) = (id("7"), grant("test-refresh-old"));
        let mut put = entry(&seven, "test-refresh-new");
        put.token = put.token.clear(Field::GrantToken);
        sealing(spool(dir.path())).put(&put).await.unwrap();

        let reopened = sealing(spool(dir.path()));
        assert_eq!(reopened.get(&seven, &old).await.unwrap(), Some(put));
        assert!(reopened.remove(&seven, &old).await.unwrap());
        assert!(!reopened.remove(&seven, &old).await.unwrap());
        assert_eq!(reopened.get(&seven, &old).await.unwrap(), None);
        assert!(files(dir.path()).is_empty());
    }
}

#[tokio::test]
async fn a_put_takes_the_place_of_an_earlier_one() {
    for (dir, sealing) in both() {
        let spool = sealing(spool(dir.path()));
        let second = entry(&id("7"), "test-refresh-2");
        spool.put(&entry(&id("7"), "test-refresh-1")).await.unwrap();
        spool.put(&second).await.unwrap();
        assert_eq!(spool.get(&second.id, &second.grant).await.unwrap(), Some(second));
        only_file(dir.path());
    }
}

#[tokio::test]
async fn an_entry_of_an_earlier_login_matches_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path());
    spool.put(&entry(&id("7"), "test-refresh-new")).await.unwrap();
    let later = grant("test-refresh-of-a-later-login");
    assert_eq!(spool.get(&id("7"), &later).await.unwrap(), None);
    assert!(!spool.remove(&id("7"), &later).await.unwrap());
    assert_eq!(spool.get(&id("8"), &grant("test-refresh-old")).await.unwrap(), None);
}

/// Ids are any text: none leads elsewhere, is too long for a file's name, or meets another.
#[tokio::test]
async fn every_id_has_a_file_of_its_own_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("in/side");
    let spool = spool(&inside);
    let long = "x".repeat(100_000);
    let texts = [
        "../../outside",
        "/etc/test-outside",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a\0b",
        "CON",
        "7.token",
        "a\nb",
        "é\u{202e}",
        "A",
        "a",
        "a ",
        " ",
        &long,
    ];
    for text in texts {
        spool.put(&entry(&id(text), text)).await.unwrap();
    }
    for text in texts {
        let got = spool.get(&id(text), &grant("test-refresh-old")).await.unwrap().unwrap();
        assert_eq!(got, entry(&id(text), text));
    }
    assert_eq!(files(&inside).len(), texts.len());
    assert_eq!(files(dir.path()), [dir.path().join("in")]);
    assert_eq!(files(&dir.path().join("in")), std::slice::from_ref(&inside));
    let listed = spool.list().await.unwrap();
    let mut ids = texts.map(id);
    ids.sort();
    assert_eq!(listed.entries.into_iter().map(|(id, _grant)| id).collect::<Vec<_>>(), ids);
    assert_eq!(listed.damage, [""; 0]);
}

/// A fingerprint comes from state, which may be damaged.
#[tokio::test]
async fn a_fingerprint_that_is_none_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("spool");
    let spool = spool(&inside);
    for text in ["", "../../outside", "96F89AA34A27B129", "96f89aa34a27b12", "96f89aa34a27b129/"] {
        let bad: Result<Fingerprint, _> = serde_json::from_value(text.into());
        // If it is not one for the core already, it is not one for the spool.
        let Ok(bad) = bad else { continue };
        let mut put = entry(&id("7"), "test-refresh-new");
        put.grant = bad.clone();
        assert_eq!(spool.put(&put).await.unwrap_err().kind(), StoreErrorKind::Invalid);
        assert_eq!(spool.get(&id("7"), &bad).await.unwrap_err().kind(), StoreErrorKind::Invalid);
        assert!(spool.remove(&id("7"), &bad).await.is_err());
    }
    assert!(files(&inside).is_empty());
    assert_eq!(files(dir.path()), [inside]);
}

#[tokio::test]
async fn a_list_has_all_entries_and_says_what_cannot_be_read() {
    for (dir, sealing) in both() {
        let spool = sealing(spool(dir.path()));
        for text in ["10", "9", "text"] {
            spool.put(&entry(&id(text), "test-refresh-new")).await.unwrap();
        }
        let old = grant("test-refresh-old");
        let expected = ["9", "10", "text"].map(|text| (id(text), old.clone())).to_vec();
        assert_eq!(spool.list().await.unwrap(), SpoolListing::new(expected.clone(), Vec::new()));

        let name = |digit: &str| dir.path().join(format!("{}-{}.token", digit.repeat(32), old));
        write(&name("a"), "test-garbage");
        std::fs::create_dir(name("b")).unwrap();
        write(&dir.path().join("7.token"), "{}");
        // What others keep there is not ours to judge.
        write(&dir.path().join("README"), "");
        std::fs::copy(&files(dir.path())[0], name("c")).unwrap();
        let listing = spool.list().await.unwrap();
        assert_eq!(listing.entries, expected);
        assert_eq!(listing.damage.len(), 4, "{:#?}", listing.damage);
        let of = |name: &str| listing.damage.iter().find(|line| line.contains(name)).unwrap();
        assert!(of(&"b".repeat(32)).contains("not a regular file"), "{:#?}", listing.damage);
        assert!(of("7.token").contains("never named so"), "{:#?}", listing.damage);
        assert!(listing.damage.iter().all(|line| line.contains("remove")), "{:#?}", listing.damage);
    }
}

/// An entry that was renamed to another token's would be stored as that one's.
#[tokio::test]
async fn an_entry_under_another_name_is_refused() {
    for (dir, sealing) in both() {
        let spool = sealing(spool(dir.path()));
        spool.put(&entry(&id("7"), "test-refresh-of-7")).await.unwrap();
        let of_7 = only_file(dir.path());
        spool.put(&entry(&id("8"), "test-refresh-of-8")).await.unwrap();
        let of_8 = files(dir.path()).into_iter().find(|file| *file != of_7).unwrap();
        std::fs::rename(of_7, of_8).unwrap();
        let error = spool.get(&id("8"), &grant("test-refresh-old")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn what_cannot_be_read_stays_until_it_is_removed_or_put_anew() {
    for (dir, sealing) in both() {
        let spool = sealing(spool(dir.path()));
        let put = entry(&id("7"), "test-refresh-new");
        spool.put(&put).await.unwrap();
        let file = only_file(dir.path());
        let whole = std::fs::read(&file).unwrap();
        write(&file, &whole[..whole.len() / 2]);
        assert_eq!(
            spool.get(&put.id, &put.grant).await.unwrap_err().kind(),
            StoreErrorKind::Corrupt
        );
        assert_eq!(only_file(dir.path()), file);
        spool.put(&put).await.unwrap();
        assert_eq!(spool.get(&put.id, &put.grant).await.unwrap().as_ref(), Some(&put));
        write(&file, "test-garbage");
        assert!(spool.remove(&put.id, &put.grant).await.unwrap());
    }
}

#[tokio::test]
async fn the_wrong_key_is_an_error_and_never_absence() {
    let dir = tempfile::tempdir().unwrap();
    let put = entry(&id("7"), "test-refresh-new");
    spool(dir.path()).sealed_with(key()).put(&put).await.unwrap();
    let other = SpoolKey::new(*b"test-key-not-a-real-key-76543210");
    for wrong in [spool(dir.path()), spool(dir.path()).sealed_with(other)] {
        let error = wrong.get(&put.id, &put.grant).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
        assert!(error.to_string().contains(key().id()), "{error}");
        assert!(error.hint().unwrap().contains(key().id()), "{error:?}");
        let listing = wrong.list().await.unwrap();
        assert!(listing.entries.is_empty());
        assert!(listing.damage[0].contains(key().id()), "{:?}", listing.damage);
    }
}

#[tokio::test]
async fn a_sealed_spool_reads_no_clear_entry_and_writes_none() {
    let dir = tempfile::tempdir().unwrap();
    let put = entry(&id("7"), "test-refresh-new");
    spool(dir.path()).put(&put).await.unwrap();
    let sealed = spool(dir.path()).sealed_with(key());
    let error = sealed.get(&put.id, &put.grant).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("open it without the key"), "{error:?}");
    sealed.put(&put).await.unwrap();
    assert_eq!(sealed.get(&put.id, &put.grant).await.unwrap(), Some(put));
    let content = std::fs::read(only_file(dir.path())).unwrap();
    assert!(content.starts_with(b"tokenkeep spool\0"));
}

/// What a dropped future has begun is done before what is called next, never after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_was_dropped_does_not_undo_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(spool(dir.path()));
    let put = entry(&id("7"), "test-refresh-new");
    for round in 0..200 {
        let mut putting = Box::pin(spool.put(&put));
        let begun = putting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(begun.is_pending());
        drop(putting);
        spool.remove(&put.id, &put.grant).await.unwrap();
        assert_eq!(spool.get(&put.id, &put.grant).await.unwrap(), None, "round {round}");
    }
    assert!(files(dir.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_of_many_tasks_leave_one_whole_entry_each() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(spool(dir.path()));
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let spool = Arc::clone(&spool);
            let token = format!("test-refresh-{number}");
            tokio::spawn(async move {
                spool.put(&entry(&TokenId::from_number(number % 8), &token)).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let listing = spool.list().await.unwrap();
    assert_eq!((listing.entries.len(), listing.damage.len()), (8, 0), "{:?}", listing.damage);
    assert_eq!(files(dir.path()).len(), 8);
}

#[tokio::test]
async fn a_temporary_file_is_removed_when_nobody_can_be_writing_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let put = entry(&id("7"), "test-refresh-new");
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let spool = FileSpool::in_directory(dir.path()).unwrap().with_clock(shared);
    spool.put(&put).await.unwrap();
    let kept = only_file(dir.path());
    let name = kept.file_name().unwrap().to_str().unwrap();
    let left_over = dir.path().join(format!(".{name}.a1B2c3.tokenkeep-tmp"));
    write(&left_over, "test-half-an-entry");
    let foreign = dir.path().join(".something-else.tmp");
    write(&foreign, "");

    clock.advance(Duration::from_secs(59 * 60));
    assert_eq!(spool.list().await.unwrap().entries.len(), 1);
    assert!(left_over.exists());
    clock.advance(Duration::from_secs(2 * 60));
    // Opening does not look, and finding does not either.
    spool.get(&put.id, &put.grant).await.unwrap();
    assert!(left_over.exists());
    assert_eq!(spool.list().await.unwrap().entries.len(), 1);
    assert_eq!(files(dir.path()), [foreign, kept]);
}
