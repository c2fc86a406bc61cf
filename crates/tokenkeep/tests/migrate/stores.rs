use tokenkeep::{
    BulkStore, Entry, ListStore, TokenStore,
    migrate::{Migration, OneByOne, Phase},
    stores::{
        file::{Dialect, FileConfig},
        sqlite::{SqliteConfig, SqliteStore},
    },
};
use tokenkeep_testkit::LeakCanary;

use crate::{Six, check_sum, entries, file, filled, id, move_all, state, targets, token};

#[tokio::test]
async fn everything_moves_from_every_store_to_every_other() {
    let one = tempfile::tempdir().unwrap();
    for from in targets(one.path()) {
        let all = entries(&filled(20).await).await;
        for answer in from.save_entries(&all).await.unwrap() {
            answer.unwrap();
        }
        let other = tempfile::tempdir().unwrap();
        for to in targets(other.path()) {
            let report = move_all(&*from, &*to).await;
            assert!(report.is_complete(), "{report:?}");
            assert_eq!((report.read, report.moved), (20, 20));
            assert!(report.renamed.is_empty());
            assert_eq!(entries(&*to).await, all);
            assert_eq!(report.verification.unwrap().found, 20);
            // What the target gives next is nobody's.
            let next = to.save_token(&token("next@example.com", 0).build().unwrap()).await.unwrap();
            assert_eq!(next.id(), Some(&id("21")));
            // Again: nothing is done.
            let again = move_all(&*from, &*to).await;
            assert!(again.is_complete());
            assert_eq!((again.moved, again.updated, again.unchanged), (0, 0, 20), "{again:?}");
        }
        assert_eq!(entries(&*from).await, all);
    }
}

#[tokio::test]
async fn a_store_of_six_methods_moves_both_ways_without_its_state() {
    let from = filled(10).await;
    let six = OneByOne::new(Six::default());
    let report = move_all(&from, &six).await;
    assert!(report.is_complete());
    assert_eq!((report.moved, report.states_left), (10, 4));
    assert_eq!(six.get_tokens().await.unwrap(), from.get_tokens().await.unwrap());
    let again = move_all(&from, &six).await;
    assert_eq!((again.moved, again.unchanged), (0, 10));
    let back = ListStore::new();
    assert!(move_all(&six, &back).await.is_complete());
    assert_eq!(back.get_tokens().await.unwrap(), from.get_tokens().await.unwrap());
    // One that coordinates keeps its state this way, too.
    let one_by_one = OneByOne::new(ListStore::new());
    assert_eq!(move_all(&from, &one_by_one).await.states_left, 0);
    assert_eq!(entries(&one_by_one).await, entries(&from).await);
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_writes_nothing() {
    let (from, to) = (filled(10).await, ListStore::new());
    to.save_token(&token("user3@example.com", 7).id("3").build().unwrap()).await.unwrap();
    let before = entries(&to).await;
    let dry = Migration::new(&from, &to).dry_run(true).page_size(4).run().await.unwrap();
    check_sum(&dry);
    assert!(dry.dry_run && dry.verification.is_none());
    assert_eq!(entries(&to).await, before);
    let report = move_all(&from, &to).await;
    assert_eq!((dry.moved, dry.conflicts), (report.moved, report.conflicts));
    assert_eq!(dry.renamed.len(), report.renamed.len());
    assert_eq!((dry.renamed[0].from.clone(), dry.renamed[0].to.clone()), (id("3"), None));
}

#[tokio::test]
async fn a_source_that_may_only_be_read_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let all = entries(&filled(5).await).await;
    SqliteStore::open(&path).unwrap().save_entries(&all).await.unwrap();
    let from = SqliteConfig::new(&path).read_only(true).open().unwrap();
    let to = ListStore::new();
    assert!(move_all(&from, &to).await.is_complete());
    assert_eq!(entries(&to).await, all);
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_the_rest_moves() {
    let directory = tempfile::tempdir().unwrap();
    let from = file(
        directory.path(),
        "1,alice@example.com,,,test-refresh-1,,,,,\n2,bob@example.com\n\
         3,\"carol@exam\"ple.com,,,test-refresh-3,,,,,\n4,dora@example.com,,,test-refresh-4,,,,,\n",
    );
    let to = ListStore::new();
    let report = move_all(&from, &to).await;
    assert!(!report.is_complete());
    assert_eq!((report.read, report.moved, report.damage.len()), (2, 2, 2), "{report:?}");
    assert!(report.damage[0].contains("line 3"), "{:?}", report.damage);
    assert!(!format!("{report:?}").contains("test-refresh"), "{report:?}");
}

#[tokio::test]
async fn what_the_target_refuses_is_listed_and_the_rest_moves() {
    let directory = tempfile::tempdir().unwrap();
    let from = ListStore::new();
    for name in ["alice@example.com", "O'Neil, Bob", "carol@example.com"] {
        from.save_token(&token(name, 0).build().unwrap()).await.unwrap();
    }
    let path = directory.path().join("shared.csv");
    let to = FileConfig::new(path).dialect(Dialect::Shared).open().unwrap();
    let report = move_all(&from, &to).await;
    assert!(!report.is_complete());
    assert_eq!((report.moved, report.refused.len()), (2, 1));
    assert_eq!(report.refused[0].id, id("2"));
    assert!(report.refused[0].error.to_string().contains("a comma"), "{report:?}");
}

#[tokio::test]
async fn an_id_that_the_target_cannot_take_becomes_another() {
    let directory = tempfile::tempdir().unwrap();
    let from = ListStore::new();
    from.save_token(&token("alice@example.com", 0).id("a,b").build().unwrap()).await.unwrap();
    let to = FileConfig::new(directory.path().join("t.csv")).open().unwrap();
    for _ in 0..2 {
        let report = move_all(&from, &to).await;
        assert!(report.is_complete());
        assert_eq!(report.ids().into_iter().collect::<Vec<_>>(), [(&id("a,b"), &id("1"))]);
    }
    assert_eq!(to.get_tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn progress_is_told_to_the_end() {
    let (from, to) = (filled(10).await, ListStore::new());
    let told = std::sync::Mutex::new(Vec::new());
    let migration = Migration::new(&from, &to).page_size(4);
    let migration = migration.on_progress(|progress| told.lock().unwrap().push(progress));
    migration.run().await.unwrap();
    let told = told.lock().unwrap();
    for phase in [Phase::Survey, Phase::Move, Phase::Verify] {
        let last = told.iter().rev().find(|progress| progress.phase == phase).unwrap();
        assert_eq!(last.done, 10, "{last:?}");
        assert!(phase == Phase::Survey || last.total == 10, "{last:?}");
    }
}

#[tokio::test]
async fn no_secret_is_in_what_is_said() {
    let canary = LeakCanary::new();
    let directory = tempfile::tempdir().unwrap();
    let from = ListStore::new();
    for (number, user) in ["a@example.com", "b, c"].into_iter().enumerate() {
        let token = token(user, 0)
            .client("test-client", canary.mark(&format!("secret {number}")))
            .refresh_token(canary.mark(&format!("refresh {number}")))
            .access_token(canary.mark(&format!("access {number}")))
            .grant_token(canary.mark(&format!("grant {number}")));
        let entry = Entry::new(token.build().unwrap()).with_state(Some(state("1")));
        from.save_entries(&[entry]).await.unwrap().remove(0).unwrap();
    }
    let to = FileConfig::new(directory.path().join("t.csv")).open().unwrap();
    let other = token("a@example.com", 1).build().unwrap();
    to.save_token(&other).await.unwrap();
    let migration = Migration::new(&from, &to);
    let said = format!("{migration:?} {:?}", migration.run().await.unwrap());
    assert!(said.contains("Conflict") && said.contains("Refused"), "{said}");
    assert!(canary.search(said.as_bytes()).is_empty(), "{said}");
}
