//! Damaged files: what is intact stays usable, what is not is reported and never written over.

mod support;

use support::{HEADER, Space, find, id, ids, token};
use tokenkeep_core::{SharedStore as _, StoreErrorKind, TokenQuery, TokenStore as _};
use tokenkeep_store_file::ProblemKind;

/// Rows that cannot be read.
const BROKEN: [(&str, &[u8]); 8] = [
    ("cut", b"2,bob,test-client,test-sec"),
    ("one column", b"2"),
    ("unbalanced quote", b"2,\"bob,test-client,,test-refresh-bob,,,,,"),
    ("text after a quote", b"2,\"bob\"x,test-client,,test-refresh-bob,,,,,"),
    ("binary zeros", b"2,bob,\0\0\0\0\0\0\0\0,,test-refresh-bob,,,,,"),
    ("not UTF-8", b"2,b\xFFb,,,test-refresh-bob,,,,,"),
    ("carriage return", b"2,bob,,,test-refresh\rbob,,,,,"),
    ("no id", b",bob,,,test-refresh-bob,,,,,"),
];

fn file_with(broken: &[u8]) -> Vec<u8> {
    let mut content = format!("{HEADER}\n1,alice,,,test-refresh-alice,,,,,\r\n").into_bytes();
    content.extend_from_slice(broken);
    content.extend_from_slice(b"\n3,\"carol, c\",,,test-refresh-carol,,,,,\n");
    content.extend_from_slice(b"4,dave,,,test-refresh-dave,,,,,\n");
    content
}

#[tokio::test]
async fn intact_rows_stay_readable_and_the_broken_one_is_reported() {
    for (name, broken) in BROKEN {
        let content = file_with(broken);
        let space = Space::with(&content);
        for store in [space.open(), space.open_quoted()] {
            for user in ["alice", "carol, c", "dave"] {
                assert!(find(&store, user).await.is_some(), "{name}: {user}");
            }
            assert!(store.find_token_by_id(&id("4")).await.unwrap().is_some());
            let error = store.get_tokens().await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}");
            assert!(error.to_string().contains("line 3: "), "{name}: {error}");
            let query = TokenQuery::user("bob").unwrap();
            let error = store.find_token(&query).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}");
            assert!(!format!("{error:?}").contains("test-refresh"), "{name}");
            let error = store.find_token_by_id(&id("2")).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}");
            let error = store.delete_token(&id("2")).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{name}");
            let page = store.page(None, 10).await.unwrap();
            assert_eq!(page.tokens.len(), 3, "{name}");
            assert_eq!(page.damage.len(), 1, "{name}");
            assert!(page.damage[0].starts_with("line 3: "), "{name}: {:?}", page.damage);
            assert!(store.page(Some(&id("1")), 10).await.unwrap().damage.is_empty());
        }
        assert_eq!(space.bytes(), content, "{name}");
    }
}

#[tokio::test]
async fn saving_keeps_what_cannot_be_read() {
    for (name, broken) in BROKEN {
        let space = Space::with(file_with(broken));
        let store = space.open();
        let saved = store.save_token(&token("erin")).await.unwrap();
        assert_eq!(saved.id(), Some(&id("5")), "{name}");
        assert!(store.delete_token(&id("1")).await.unwrap());
        store.save_token(&support::access("dave", "test-access-dave")).await.unwrap();
        let bytes = space.bytes();
        let kept = bytes.split(|byte| *byte == b'\n').any(|line| line == broken);
        assert!(kept, "{name}: {}", String::from_utf8_lossy(&bytes));
        let reopened = space.open();
        for user in ["carol, c", "dave", "erin"] {
            assert!(find(&reopened, user).await.is_some(), "{name}: {user}");
        }
        let damage = reopened.page(None, 10).await.unwrap().damage;
        assert_eq!(damage.len(), 1, "{name}");
        assert!(damage[0].starts_with("line 2: "), "{name}: {damage:?}");
        assert_eq!(reopened.delete_tokens().await.unwrap(), 3, "{name}");
        assert_eq!(space.text(), format!("{HEADER}\n"), "{name}");
    }
}

#[tokio::test]
async fn the_number_of_a_broken_row_is_not_given_again() {
    let space = Space::with(format!("{HEADER}\n1,alice,,,test-a,,,,,\n17,bo"));
    let saved = space.open().save_token(&token("carol")).await.unwrap();
    assert_eq!(saved.id(), Some(&id("18")));
}

#[tokio::test]
async fn two_rows_with_one_id_are_both_kept_and_neither_is_guessed() {
    let content = format!("{HEADER}\n1,alice,,,test-a,,,,,\n1,bob,,,test-b,,,,,\n");
    let space = Space::with(&content);
    let store = space.open();
    assert_eq!(ids(&store.get_tokens().await.unwrap()), ["1", "1"]);
    assert_eq!(find(&store, "bob").await.unwrap().user_name(), Some("bob"));
    let error = store.find_token_by_id(&id("1")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    let error = store.save_token(&support::access("bob", "test-access")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Ambiguous);
    assert_eq!(space.text(), content);
    assert_eq!(store.save_token(&token("carol")).await.unwrap().id(), Some(&id("2")));
    assert!(space.text().contains("1,alice,,,test-a") && space.text().contains("1,bob,,,test-b"));
}

#[tokio::test]
async fn what_is_no_token_file_is_neither_read_nor_written() {
    for content in [&b"root:x:0:0:root\nnobody:x:1:1\n"[..], &[0; 4096], b"# Notes\n\nBuy milk."] {
        let space = Space::with(content);
        let store = space.open();
        let error = store.save_token(&token("alice")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("not a token file"), "{error}");
        assert_eq!(store.delete_tokens().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
        assert_eq!(store.get_tokens().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
        let shared = store.shared().unwrap();
        for error in [
            store.find_token_by_id(&id("1")).await.unwrap_err(),
            shared.page(None, 10).await.unwrap_err(),
            shared.state(&id("1")).await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("not a token file"), "{error}");
        }
        assert_eq!(space.bytes(), content);
    }
}

#[tokio::test]
async fn an_emptied_or_removed_file_is_an_empty_store() {
    let space = Space::new();
    let store = space.open();
    for emptied in [true, false] {
        store.save_token(&token("alice")).await.unwrap();
        if emptied {
            space.write("");
        } else {
            std::fs::remove_file(space.path()).unwrap();
        }
        // For a second an empty file may be one that an SDK is about to write.
        while find(&store, "alice").await.is_some() {}
        assert_eq!(store.get_tokens().await.unwrap(), []);
        let saved = store.save_token(&token("bob")).await.unwrap();
        assert!(space.text().starts_with(HEADER));
        assert_eq!(space.open().get_tokens().await.unwrap(), [saved]);
    }
}

#[tokio::test]
async fn a_lost_header_costs_no_token() {
    let space = Space::with("1,alice,,,test-a,,,,,\n2,bob,,,test-b,,,,,\n");
    let store = space.open();
    assert_eq!(store.get_tokens().await.unwrap().len(), 2);
    store.save_token(&token("carol")).await.unwrap();
    assert!(space.text().starts_with(&format!("{HEADER}\n1,alice,")));
}

#[tokio::test]
async fn line_breaks_inside_values_are_no_rows() {
    // A value that contains what looks like somebody else's row stays a value.
    let space = Space::new();
    let crafted = "eve\n7,admin,,,test-forged,,,,,\n8,\"x";
    let store = space.open_quoted();
    store.save_token(&token(crafted)).await.unwrap();
    store.save_token(&token("alice")).await.unwrap();
    let reopened = space.open();
    assert_eq!(ids(&reopened.get_tokens().await.unwrap()), ["1", "2"]);
    assert!(find(&reopened, crafted).await.is_some());
    assert_eq!(find(&reopened, "admin").await, None);
}

#[tokio::test]
async fn the_side_file_never_stands_between_a_caller_and_a_token() {
    for (content, damaged) in [("{ not JSON", true), (r#"{"version":9,"last_id":40}"#, false)] {
        let space = Space::new();
        let store = space.open();
        store.save_token(&token("alice")).await.unwrap();
        let side = space.directory().join("tokens.csv.tokenkeep");
        support::write(&side, content);
        assert!(find(&store, "alice").await.is_some());
        assert!(store.page(None, 10).await.unwrap().tokens.len() == 1);
        store.save_token(&token("bob")).await.unwrap();
        let lease = store.try_lease(&id("1"), "us", std::time::Duration::from_secs(9)).await;
        let problem = |inspection: tokenkeep_store_file::Inspection| {
            inspection.problems.iter().any(|problem| problem.kind == ProblemKind::SideFile)
        };
        if damaged {
            lease.unwrap();
            let aside = std::fs::read_to_string(side.with_extension("tokenkeep.damaged-1"));
            assert_eq!(aside.unwrap(), content);
            assert!(!problem(store.inspect().await.unwrap()));
        } else {
            assert_eq!(lease.unwrap_err().kind(), StoreErrorKind::Unsupported);
            assert_eq!(std::fs::read_to_string(&side).unwrap(), content);
            assert_eq!(find(&store, "bob").await.unwrap().id(), Some(&id("41")));
            assert!(problem(store.inspect().await.unwrap()));
        }
    }
}
