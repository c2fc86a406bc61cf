//! Many tokens at once, in tables as other programs make them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{ops::ControlFlow, sync::mpsc};

use rusqlite::Connection;
use tokenkeep_core::{
    BulkStore, Columns, Entry, OAuthToken, SharedStore, StoreErrorKind, TokenId, TokenState,
    TokenStore,
};
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
    let with_ids =
        ["alice", "bob", "carol", "dora", "emil"].into_iter().zip(1..).map(|(user, n)| {
            let Entry { token, state, .. } = token(user);
            Entry::new(token.with_id(TokenId::from_number(n))).with_state(state)
        });
    for (entries, ids) in [
        (["alice", "bob", "carol", "dora", "emil"].map(token).to_vec(), ["1", "2", "3"]),
        (with_ids.collect(), ["1", "3", "5"]),
    ] {
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
        assert_eq!(stored, ids.into_iter().zip(["alice", "carol", "emil"]).collect::<Vec<_>>());
        store.delete_tokens().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_column_changes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let table = TABLE.replace("redirect_url text", "redirect_url integer");
    Connection::open(&path).unwrap().execute_batch(&table).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let entry = |id: u64, url: &str| {
        let token = token(&format!("user{id}")).token.with_id(TokenId::from_number(id));
        Entry::new(token.with_redirect_url(url).unwrap())
    };
    let answers = store.save_entries(&[entry(1, "0123"), entry(2, "https://x")]).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), StoreErrorKind::Invalid);
    assert_eq!(answers[1].as_ref().unwrap(), &entry(2, "https://x").token);
    assert_eq!(store.get_tokens().await.unwrap(), [entry(2, "https://x").token]);
}

/// An SDK removes a token and leaves what is ours beside it.
#[tokio::test]
async fn nobody_inherits_what_was_beside_a_removed_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    let store = SqliteStore::open(&path).unwrap();
    let mut state = TokenState::default();
    state.org_id = Some("42".to_owned());
    let alice = token("alice").token.with_id(TokenId::from_number(7));
    let known = Entry::new(alice.clone()).with_state(Some(state));
    store.save_entries(&[known]).await.unwrap().remove(0).unwrap();
    Connection::open(&path).unwrap().execute("delete from oauthtoken", []).unwrap();
    // Of the same user, so that only the removal tells.
    store.save_entries(&[Entry::new(alice)]).await.unwrap().remove(0).unwrap();
    assert_eq!(store.state(&TokenId::from_number(7)).await.unwrap(), None);
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
    let (show, shown) = mpsc::channel();
    let look = move |columns: &Columns<'_>, _: Option<&TokenState>| {
        show.send(columns[1].clone().unwrap().into_owned()).unwrap();
        ControlFlow::Continue(())
    };
    let damage = store.scan(Box::new(look)).await.unwrap();
    assert_eq!(shown.iter().collect::<String>(), "abcde");
    assert_eq!(damage.len(), 2, "{damage:?}");
}
