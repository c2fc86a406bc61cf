//! What the source has more than once.

use tokenkeep::{ListStore, TokenStore, stores::sqlite::SqliteStore};

use crate::{access, entries, file, id, move_all};

fn row(id: &str, user: &str, round: &str, expiry: &str) -> String {
    format!(
        "{id},{user},test-client,test-client-secret,test-refresh-{user}-{round},\
         test-access-{user}-{round},,{expiry},,https://www.zohoapis.eu\n"
    )
}

#[tokio::test]
async fn of_two_rows_of_one_user_the_one_that_expires_later_wins() {
    for later_first in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let (early, late) = ("1764000000001", "1764000000002");
        let (first, second) = if later_first { (late, early) } else { (early, late) };
        let mut rows = row("1", "alice@example.com", "1", first);
        for other in 2..8 {
            rows += &row(&other.to_string(), &format!("user{other}@example.com"), "1", early);
        }
        rows += &row("8", "alice@example.com", "2", second);
        let from = file(directory.path(), &rows);
        let to = ListStore::new();
        for round in 0..2 {
            let report = move_all(&from, &to).await;
            assert!(report.is_complete());
            assert_eq!(report.moved, if round == 0 { 7 } else { 0 });
            assert_eq!(report.merged.len(), 1);
            assert_eq!(
                (&report.merged[0].into, &report.merged[0].from[..]),
                (&id("1"), &[id("8")][..])
            );
        }
        let stored = to.find_token_by_id(&id("1")).await.unwrap().unwrap();
        let winner = if later_first { "1" } else { "2" };
        assert_eq!(access(&stored), format!("test-access-alice@example.com-{winner}"));
        assert_eq!(to.get_tokens().await.unwrap().len(), 7);
    }
}

#[tokio::test]
async fn what_the_later_row_lacks_comes_from_the_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let from = file(
        directory.path(),
        "1,alice@example.com,test-client,test-client-secret,test-refresh-1,,test-grant-1,,,\n\
         2,alice@example.com,test-client,,,test-access-2,,1764000000000,,\n",
    );
    let to = ListStore::new();
    assert!(move_all(&from, &to).await.is_complete());
    let tokens = to.get_tokens().await.unwrap();
    let columns = tokens[0].expose_columns().map(Option::unwrap_or_default);
    assert_eq!(
        columns.join(","),
        "1,alice@example.com,test-client,test-client-secret,test-refresh-1,test-access-2,\
         test-grant-1,1764000000000,,"
    );
    assert_eq!(tokens.len(), 1);
}

#[tokio::test]
async fn two_users_of_one_id_become_two_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let rows = row("1", "alice@example.com", "1", "1764000000000")
        + &row("1", "bob@example.com", "1", "1764000000000")
        + &row("2", "carol@example.com", "1", "1764000000000");
    let from = file(directory.path(), &rows);
    let to = SqliteStore::in_memory().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let report = move_all(&from, &to).await;
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.renamed.len(), 1);
        ids.push(report.renamed[0].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!((&ids[0].from, &ids[0].to), (&id("1"), &Some(id("3"))));
    assert_eq!(to.get_tokens().await.unwrap().len(), 3);
}

#[tokio::test]
async fn one_row_twice_is_one_token() {
    let directory = tempfile::tempdir().unwrap();
    let rows = row("1", "alice@example.com", "1", "1764000000000").repeat(3);
    let from = file(directory.path(), &rows);
    let to = ListStore::new();
    for moved in [1, 0] {
        let report = move_all(&from, &to).await;
        assert!(report.is_complete());
        assert_eq!((report.read, report.moved), (3, moved), "{report:?}");
        assert_eq!(report.merged[0].from, [id("1"), id("1")]);
    }
    assert_eq!(entries(&to).await.len(), 1);
}

#[tokio::test]
async fn a_nameless_row_goes_into_the_named_one_of_the_same_login() {
    let directory = tempfile::tempdir().unwrap();
    let from = file(
        directory.path(),
        "1,,test-client,test-client-secret,test-refresh-1,test-access-1,,1764000000000,,\n\
         2,bob@example.com,,,test-refresh-2,,,,,\n\
         3,alice@example.com,test-client,,test-refresh-1,test-access-3,,1764000000001,,\n",
    );
    let to = ListStore::new();
    let report = move_all(&from, &to).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.moved, report.merged.len()), (2, 1));
    let stored = to.find_token_by_id(&id("1")).await.unwrap().unwrap();
    assert_eq!((stored.user_name(), access(&stored)), (Some("alice@example.com"), "test-access-3"));
}
