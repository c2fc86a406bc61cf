//! A target that has tokens already, and one that does not do what it says.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use tokenkeep::{
    Entry, ListStore, SharedStore, TokenStore,
    migrate::{Migration, Phase},
};

use crate::{Faulty, access, check_sum, entries, filled, id, move_all, state, token};

#[tokio::test]
async fn what_differs_in_the_target_stays_unless_it_may_be_overwritten() {
    let (from, to) = (filled(6).await, ListStore::new());
    let theirs = token("user3@example.com", 9).id("40").build().unwrap();
    to.save_token(&theirs).await.unwrap();
    for moved in [5, 0] {
        let report = move_all(&from, &to).await;
        assert!(!report.is_complete());
        assert_eq!((report.moved, report.conflicts.len()), (moved, 1), "{report:?}");
        assert_eq!((&report.conflicts[0].from, &report.conflicts[0].to), (&id("4"), &id("40")));
        assert_eq!(to.find_token_by_id(&id("40")).await.unwrap(), Some(theirs.clone()));
    }
    let report = Migration::new(&from, &to).overwrite(true).run().await.unwrap();
    check_sum(&report);
    assert!(report.is_complete());
    assert_eq!((report.updated, report.unchanged), (1, 5));
    assert_eq!(report.ids().into_iter().collect::<Vec<_>>(), [(&id("4"), &id("40"))]);
    let stored = to.find_token_by_id(&id("40")).await.unwrap().unwrap();
    assert_eq!(access(&stored), "test-access-user3@example.com-0");
    assert_eq!(to.state(&id("40")).await.unwrap(), Some(state("3")));
    assert_eq!(to.get_tokens().await.unwrap().len(), 6);
}

#[tokio::test]
async fn what_is_absent_in_the_target_is_filled_in() {
    let (from, to) = (filled(1).await, ListStore::new());
    let given = entries(&from).await.remove(0).token;
    let part = given.clone().clear(tokenkeep::Field::AccessToken).with_id(id("7"));
    to.save_token(&part).await.unwrap();
    let report = move_all(&from, &to).await;
    assert!(report.is_complete());
    assert_eq!((report.updated, report.conflicts.len()), (1, 0));
    assert_eq!(to.get_tokens().await.unwrap(), [given.with_id(id("7"))]);
}

#[tokio::test]
async fn a_state_that_the_target_lacks_is_brought() {
    let (from, to) = (filled(1).await, ListStore::new());
    to.save_token(&entries(&from).await[0].token).await.unwrap();
    let report = move_all(&from, &to).await;
    assert_eq!((report.updated, report.moved), (1, 0));
    assert_eq!(entries(&to).await, entries(&from).await);
}

#[tokio::test]
async fn an_id_that_is_anothers_becomes_a_new_one() {
    let (from, to) = (filled(4).await, ListStore::new());
    // One that names its user, and one that does not.
    let alice = token("alice@example.com", 0).id("2").build().unwrap();
    to.save_token(&alice).await.unwrap();
    let nameless = tokenkeep::OAuthToken::builder().id("3").refresh_token("test-refresh-x");
    to.save_token(&nameless.build().unwrap()).await.unwrap();
    let mut stored = Vec::new();
    for moved in [4, 0] {
        let report = move_all(&from, &to).await;
        assert!(report.is_complete(), "{report:?}");
        assert_eq!((report.moved, report.renamed.len()), (moved, 2));
        for (old, new) in report.ids() {
            let old = from.find_token_by_id(old).await.unwrap().unwrap();
            let new = to.find_token_by_id(new).await.unwrap().unwrap();
            assert_eq!(old.without_id(), new.without_id());
        }
        stored.push(entries(&to).await);
    }
    assert_eq!(stored[0], stored[1]);
    assert_eq!(stored[0].len(), 6);
}

#[tokio::test]
async fn a_nameless_record_of_the_target_is_not_taken_in_unasked() {
    let (from, to) = (ListStore::new(), ListStore::new());
    let alice = token("alice@example.com", 0).build().unwrap();
    from.save_token(&alice).await.unwrap();
    to.save_token(&token("alice@example.com", 1).build().unwrap()).await.unwrap();
    let login = tokenkeep::OAuthToken::builder().refresh_token("test-refresh-alice@example.com-0");
    to.save_token(&login.build().unwrap()).await.unwrap();
    let report = move_all(&from, &to).await;
    assert_eq!(report.conflicts.len(), 1, "{report:?}");
    assert_eq!(to.get_tokens().await.unwrap().len(), 2);
    let report = Migration::new(&from, &to).overwrite(true).run().await.unwrap();
    check_sum(&report);
    assert_eq!(report.updated, 1);
    let left = to.get_tokens().await.unwrap();
    assert_eq!(left.iter().map(access).collect::<Vec<_>>(), ["test-access-alice@example.com-0"]);
}

async fn verified(fault: fn(usize, &mut Vec<Entry>) -> Result<(), tokenkeep::StoreError>) -> bool {
    let (from, to) = (filled(10).await, Faulty::new(fault));
    let report = Migration::new(&from, &to).page_size(3).run().await.unwrap();
    assert_eq!(report.moved, 10);
    assert_eq!(report.is_complete(), report.verification.unwrap().holds);
    report.verification.unwrap().holds
}

#[tokio::test]
async fn a_target_that_does_not_keep_what_it_says_is_found_out() {
    assert!(verified(|_, _| Ok(())).await);
    assert!(
        !verified(|batch, entries| {
            if batch == 1 {
                entries.pop();
            }
            Ok(())
        })
        .await
    );
    assert!(
        !verified(|_, entries| {
            entries[0].state = None;
            Ok(())
        })
        .await
    );
    assert!(
        !verified(|_, entries| {
            entries[0].token = entries[0].token.clone().with_redirect_url("https://x").unwrap();
            Ok(())
        })
        .await
    );
    assert!(
        !verified(|batch, entries| {
            // Two tokens change their places.
            if batch == 0 {
                let (one, other) = (entries[0].token.clone(), entries[1].token.clone());
                entries[0].token = one.clone().with_id(other.id().unwrap().clone());
                entries[1].token = other.with_id(one.id().unwrap().clone());
            }
            Ok(())
        })
        .await
    );
}

#[tokio::test]
async fn what_the_target_had_is_verified_too() {
    let from = filled(5).await;
    let to = Faulty::new(|_, _| Ok(()));
    to.inner.save_token(&token("theirs@example.com", 0).id("90").build().unwrap()).await.unwrap();
    // Somebody deletes it meanwhile.
    let migration = Migration::new(&from, &to).on_progress(|progress| {
        if progress.phase == Phase::Move {
            let theirs = id("90");
            let mut deleting = pin!(to.inner.delete_token(&theirs));
            let mut context = Context::from_waker(Waker::noop());
            assert!(deleting.as_mut().poll(&mut context).is_ready());
        }
    });
    let verification = migration.run().await.unwrap().verification.unwrap();
    assert_eq!((verification.expected, verification.found, verification.holds), (6, 5, false));
}
