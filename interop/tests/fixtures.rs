//! Files and tables as the official SDKs leave them, byte for byte, used in place by our stores.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use rusqlite::Connection;
use tokenkeep_core::{OAuthToken, RefreshToken, TokenId, TokenQuery, TokenStore};
use tokenkeep_store_file::FileStore;
use tokenkeep_store_sqlite::SqliteStore;

/// Id, user and refresh token of a row.
type Row = (&'static str, &'static str, &'static str);

/// The rows of an SDK that quotes: a comma, quotes, a backslash and an accent in a name.
const QUOTED: [Row; 3] = [
    ("1", "alice@example.com", "test-refresh-token-1"),
    ("2", "O'Neil, \"Bob\" \\x \u{e9}", "test-refresh-token-2"),
    ("10", "carol@example.com", "test-refresh-token-3"),
];
const PLAIN: [Row; 3] = [QUOTED[0], ("2", "bob@example.com", "test-refresh-token-2"), QUOTED[2]];
const PYTHON_V2: [Row; 2] = [
    ("python_alice_US_PRD_en-1", "alice@example.com", "test-refresh-token-1"),
    ("python_bob_US_PRD_en-2", "bob@example.com", "test-refresh-token-2"),
];
const NODE_V2: [Row; 2] = [
    ("nodejs_alice_US_PRD_en-1", "alice@example.com", "test-refresh-token-1"),
    ("nodejs_bob_US_PRD_en-2", "bob@example.com", "test-refresh-token-2"),
];

/// The files, what is in them, and the id that the next token gets.
const FILES: [(&str, &[Row], &str); 12] = [
    ("csharp-on-windows", &PLAIN, "11"),
    ("csharp", &PLAIN, "11"),
    ("java", &QUOTED, "11"),
    ("node-v2", &NODE_V2, "1"),
    ("node", &PLAIN, "11"),
    ("php", &PLAIN, "11"),
    ("python-on-windows-after-delete", &QUOTED, "11"),
    ("python-then-node", &PLAIN, "11"),
    ("python-v2", &PYTHON_V2, "1"),
    ("python", &QUOTED, "11"),
    ("ruby", &QUOTED, "11"),
    ("typescript", &PLAIN, "11"),
];

#[test]
fn every_fixture_is_tested() {
    let found: BTreeSet<_> = fs::read_dir(fixtures().join("token-files"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, FILES.map(|(name, _, _)| name.to_owned()).into());
}

#[tokio::test]
async fn a_file_of_any_sdk_is_used_in_place() {
    for (name, rows, next) in FILES {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens.csv");
        fs::copy(fixtures().join(format!("token-files/{name}.csv")), &path).unwrap();
        let before = fs::read_to_string(&path).unwrap();

        let store = FileStore::open(&path).unwrap();
        let tokens = store.get_tokens().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "{name}: reading writes nothing");
        use_in_place(name, &store, rows, next).await;

        // What is untouched has the bytes it had, and the file is one that every SDK can read.
        let after = fs::read_to_string(&path).unwrap();
        assert!(!after.contains('\r') && after.ends_with('\n'), "{name}: {after}");
        let is_v2 = rows[0].0.contains("_PRD_");
        let column = |line: &str| if is_v2 { format!("{line},") } else { line.to_owned() };
        let header = before.lines().next().unwrap().trim_end();
        let header = if is_v2 { format!("{header},api_domain") } else { header.to_owned() };
        assert_eq!(after.lines().next(), Some(&*header), "{name}");
        for line in before.lines().skip(2).map(|line| line.trim_end_matches('\r')) {
            assert!(
                line.is_empty() || after.lines().any(|kept| kept == column(line)),
                "{name}: {line:?} is not in {after}"
            );
        }
        let reopened = FileStore::open(&path).unwrap().get_tokens().await.unwrap();
        assert_eq!(reopened.len(), tokens.len() + 1, "{name}");
        assert_eq!(reopened, store.get_tokens().await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn a_table_of_any_generation_is_used_in_place() {
    let article: [Row; 3] = [
        PLAIN[0],
        ("9", "bob@example.com", "test-refresh-token-2"),
        ("10", "carol@example.com", "test-refresh-token-3"),
    ];
    for (name, rows, next) in [("article", &article[..], "11"), ("v2", &PYTHON_V2, "1")] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zohooauth.db");
        let script = fs::read_to_string(fixtures().join(format!("token-tables/{name}.sql")));
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&script.unwrap()).unwrap();
        let columns = columns(&connection);
        let untouched = values(&connection, rows[1].0);

        let store = SqliteStore::open(&path).unwrap();
        use_in_place(name, &store, rows, next).await;

        // A connection knows the columns that there were when it last looked.
        let connection = Connection::open(&path).unwrap();
        // Who reads by position finds what was there before, and `api_domain` after it.
        let now = self::columns(&connection);
        assert_eq!(now[..columns.len()], columns, "{name}");
        assert_eq!((now.len(), &*now[9]), (10, "api_domain"), "{name}");
        assert_eq!(values(&connection, rows[1].0)[..columns.len()], untouched, "{name}");
        assert_eq!(values(&connection, next)[1].as_deref(), Some("dave@example.com"), "{name}");
        let reopened = SqliteStore::open(&path).unwrap().get_tokens().await.unwrap();
        assert_eq!(reopened, store.get_tokens().await.unwrap(), "{name}");
    }
}

/// Finds every token each way, adds one and changes the first; the others stay as they are.
async fn use_in_place(name: &str, store: &impl TokenStore, rows: &[Row], next: &str) {
    let mut before = store.get_tokens().await.unwrap();
    let ids: Vec<_> = before.iter().map(|token| token.id().unwrap().as_str()).collect();
    assert_eq!(ids, rows.iter().map(|row| row.0).collect::<Vec<_>>(), "{name}");
    for (token, (id, user, refresh_token)) in before.iter().zip(rows) {
        let refresh_token = RefreshToken::new(*refresh_token).unwrap();
        let by_user = TokenQuery::user(*user).unwrap();
        let by_refresh_token = TokenQuery::refresh_token(refresh_token.clone());
        assert_eq!(token.refresh_token(), Some(&refresh_token), "{name}: {user}");
        for query in [by_user, by_refresh_token] {
            let found = store.find_token(&query).await.unwrap();
            assert_eq!(found.as_ref(), Some(token), "{name}: {user}");
        }
        let found = store.find_token_by_id(&TokenId::new(*id).unwrap()).await.unwrap();
        assert_eq!(found.as_ref(), Some(token), "{name}: {id}");
    }
    let first = &before[0];
    assert_eq!(first.client_id(), Some("1000.TESTCLIENT"), "{name}");
    assert_eq!(first.client_secret().unwrap().expose_secret(), "test-client-secret", "{name}");
    assert_eq!(first.access_token().unwrap().expose_secret(), "test-access-token-1", "{name}");
    assert_eq!(first.expiry_time().unwrap().as_millis(), 1_764_000_000_000, "{name}");
    assert_eq!(first.redirect_url(), Some("https://example.com/callback"), "{name}");

    let dave = OAuthToken::builder()
        .user_name("dave@example.com")
        .client("1000.TESTCLIENT", "test-client-secret")
        .refresh_token("test-refresh-token-4")
        .build()
        .unwrap();
    let dave = store.save_token(&dave).await.unwrap();
    assert_eq!(dave.id().unwrap().as_str(), next, "{name}");

    let update = OAuthToken::builder()
        .user_name(rows[0].1)
        .access_token("test-access-token-5")
        .build()
        .unwrap();
    let alice = store.save_token(&update).await.unwrap();
    assert_eq!(alice, before[0].merged_with(&update), "{name}");

    before[0] = alice;
    before.push(dave);
    before.sort_by_key(|token| token.id().cloned());
    assert_eq!(store.get_tokens().await.unwrap(), before, "{name}");
}

fn columns(connection: &Connection) -> Vec<String> {
    let statement = connection.prepare("select * from oauthtoken").unwrap();
    statement.column_names().map(str::to_owned).collect()
}

fn values(connection: &Connection, id: &str) -> Vec<Option<String>> {
    let mut statement = connection.prepare("select * from oauthtoken where id = ?1").unwrap();
    let count = statement.column_count();
    statement.query_row([id], |row| (0..count).map(|at| row.get(at)).collect()).unwrap()
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}
