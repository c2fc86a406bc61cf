//! Many tokens at once, in tables as other programs make them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use rusqlite::Connection;
use tokenkeep_core::{BulkStore, Entry, OAuthToken, StoreErrorKind, TokenId, TokenStore};
use tokenkeep_store_sqlite::SqliteStore;

const TABLE: &str = "create table oauthtoken (id text, user_name text, client_id text, \
                     client_secret text, refresh_token text, access_token text, \
                     grant_token text, expiry_time text, redirect_url text, api_domain text)";

fn token(user: &str) -> Entry {
    let token = OAuthToken::builder().user_name(user).refresh_token(format!("test-refresh-{user}"));
    Entry::new(token.build().unwrap())
}

/// Refused when it has been written: what was written of it goes, and of the others nothing.
#[tokio::test]
async fn what_a_trigger_changes_does_not_keep_the_others_from_being_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteStore::open(&path).unwrap();
    let triggers = "create trigger test after insert on oauthtoken when new.user_name = 'bob'
                    begin update oauthtoken set refresh_token = 'test-other' where id = new.id; end;
                    create trigger test2 before insert on oauthtoken when new.user_name = 'dora'
                    begin select raise(abort, 'the test takes no dora'); end;";
    Connection::open(&path).unwrap().execute_batch(triggers).unwrap();
    let entries = ["alice", "bob", "carol", "dora", "emil"].map(token);
    let answers = store.save_entries(&entries).await.unwrap();
    let kinds: Vec<_> =
        answers.iter().map(|answer| answer.as_ref().err().map(|error| error.kind())).collect();
    let refused = Some(StoreErrorKind::Invalid);
    assert_eq!(kinds, [None, refused, None, refused, None]);
    let stored = store.get_tokens().await.unwrap();
    let stored: Vec<_> = stored
        .iter()
        .map(|token| (token.id().unwrap().as_str(), token.user_name().unwrap()))
        .collect();
    assert_eq!(stored, [("1", "alice"), ("2", "carol"), ("3", "emil")]);
}

#[tokio::test]
async fn rows_of_one_id_stand_on_one_page_and_what_cannot_be_read_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let database = Connection::open(&path).unwrap();
    database.execute_batch(TABLE).unwrap();
    let text = "insert into oauthtoken (id, user_name, refresh_token) values ";
    database
        .execute_batch(&format!(
            "{text} ('1', 'a', 'test-1'), ('2', 'b', 'test-2'), ('2', 'c', 'test-3'),
             ('2', cast(x'ff' as text), 'test-4'), ('10', 'd', 'test-5'), ('x', 'e', 'test-6'),
             (null, 'f', 'test-7')"
        ))
        .unwrap();
    let store = SqliteStore::open(&path).unwrap();
    for limit in 1..8 {
        let (mut users, mut damage, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store.read_entries(after.as_ref(), limit).await.unwrap();
            let names =
                page.entries.iter().map(|entry| entry.token.user_name().unwrap().to_owned());
            users.push(names.collect::<String>());
            damage.extend(page.damage);
            after = page.next;
            if after.is_none() {
                break;
            }
            assert_ne!(after, Some(TokenId::from_number(0)));
        }
        assert_eq!(users.concat(), "abcde", "pages of {limit}");
        assert!(users.iter().any(|page| page.contains("bc")), "{users:?}");
        assert_eq!(damage.len(), 2, "pages of {limit}: {damage:?}");
    }
}
