//! Migrations that end in the middle, and are run again.

use tokenkeep::{
    BulkStore, StoreError, StoreErrorKind, TokenStore,
    migrate::{Migration, MigrationError},
};

use crate::{Faulty, check_sum, entries, filled, move_all, targets};

fn down() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the test's store is down")
}

#[tokio::test]
async fn a_target_that_fails_is_filled_by_the_next_run() {
    let from = filled(10).await;
    for fault in [
        // Nothing of the batch is saved; or all of it, and that is not told.
        |batch: usize, entries: &mut Vec<_>| {
            if batch == 2 {
                entries.clear();
                return Err(down());
            }
            Ok(())
        },
        |batch: usize, _: &mut Vec<_>| if batch == 2 { Err(down()) } else { Ok(()) },
    ] {
        let to = Faulty::new(fault);
        let stopped = Migration::new(&from, &to).page_size(2).run().await;
        assert!(matches!(stopped, Err(MigrationError::Target(_))), "{stopped:?}");
        let report = move_all(&from, &to).await;
        assert!(report.is_complete());
        assert!(report.unchanged >= 4, "{report:?}");
        assert_eq!(entries(&to).await, entries(&from).await);
    }
}

/// The task is aborted after each number of pages.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_dropped_anywhere_is_finished_by_the_next_one() {
    let from = filled(20).await;
    for round in 0..6 {
        let directory = tempfile::tempdir().unwrap();
        for to in targets(directory.path()) {
            let told = tokio::sync::Notify::new();
            let pages = std::sync::atomic::AtomicUsize::new(0);
            let migration = Migration::new(&from, &*to).page_size(3).on_progress(|_| {
                if pages.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 3 * round {
                    told.notify_one();
                }
            });
            tokio::select! {
                biased;
                () = told.notified() => {}
                report = migration.run() => assert!(report.unwrap().is_complete()),
            }
            drop(migration);
            let report = move_all(&from, &*to).await;
            assert!(report.is_complete());
            assert_eq!(entries(&*to).await, entries(&from).await);
        }
    }
}

#[tokio::test]
async fn a_source_that_goes_away_is_said_to_be_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source.csv");
    let source = tokenkeep::stores::file::FileConfig::new(&path).open().unwrap();
    source.save_entries(&entries(&filled(3).await).await).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let to = tokenkeep::ListStore::new();
    let stopped = Migration::new(&source, &to).run().await;
    assert!(matches!(stopped, Err(MigrationError::Source(_))), "{stopped:?}");
    let report = move_all(&filled(3).await, &to).await;
    check_sum(&report);
    assert_eq!(to.get_tokens().await.unwrap().len(), 3);
}
