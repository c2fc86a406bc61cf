//! The bytes of the file: what is written, and what is read of what others write.
#![expect(clippy::unwrap_used, reason = "in what tests are made with")]

mod support;

use support::{HEADER, Space, access, find, id, ids, token};
use tokenkeep_core::{
    AccessToken, Field, OAuthToken, SharedStore as _, StoreErrorKind, Timestamp, TokenQuery,
    TokenStore as _,
};

fn full(user: &str) -> OAuthToken {
    OAuthToken::builder()
        .user_name(user)
        .client("test-client", "test-secret")
        .refresh_token("test-refresh-1")
        .access_token("test-access-1")
        .grant_token("test-grant-1")
        .expiry_time(Timestamp::from_millis(1_764_000_000_000))
        .redirect_url("https://example.com/cb?a=1&b=2")
        .api_domain("https://www.zohoapis.eu")
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_new_file_has_these_bytes() {
    let space = Space::new();
    let store = space.open();
    assert!(!space.path().exists());
    store.save_token(&full("alice@example.com")).await.unwrap();
    store.save_token(&token("bob@example.com")).await.unwrap();
    assert_eq!(
        space.text(),
        format!(
            "{HEADER}\n\
             1,alice@example.com,test-client,test-secret,test-refresh-1,test-access-1,test-grant-1,\
             1764000000000,https://example.com/cb?a=1&b=2,https://www.zohoapis.eu\n\
             2,bob@example.com,,,test-refresh-bob@example.com,,,,,\n"
        )
    );
    store.delete_tokens().await.unwrap();
    assert_eq!(space.text(), format!("{HEADER}\n"));
}

#[tokio::test]
async fn the_quoted_dialect_has_these_bytes_and_reads_them_exactly() {
    let space = Space::new();
    let names = ["O'Neil, \"Bob\" \\x \u{e9}", "a\r\nb\rc\nd", "\"", " a ", "\u{1f600}\ttab"];
    let store = space.open_quoted();
    for name in names {
        store.save_token(&token(name)).await.unwrap();
    }
    assert!(space.text().contains("1,\"O'Neil, \"\"Bob\"\" \\x \u{e9}\",,,"));
    let reopened = space.open_quoted();
    for (at, name) in names.into_iter().enumerate() {
        let found = find(&reopened, name).await.unwrap();
        assert_eq!(found.user_name(), Some(name));
        assert_eq!(found.id().unwrap().as_str(), (at + 1).to_string());
    }
    // The same through another program's eyes.
    let bytes = space.bytes();
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let read: Vec<_> = reader.records().map(|row| row.unwrap()[1].to_owned()).collect();
    assert_eq!(read, names);
}

#[tokio::test]
async fn the_shared_dialect_refuses_before_it_writes() {
    let space = Space::new();
    let store = space.open();
    store.save_token(&full("alice")).await.unwrap();
    let before = space.bytes();
    for value in ["a,b", "a\"b", "a\\b", "a\nb", "a\rb", "a\0b"] {
        let error = store.save_token(&token(value)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(error.to_string().contains("user_name"), "{error}");
        assert!(error.hint().unwrap().contains("SQLite"), "{error:?}");
        assert!(!format!("{error:?}").contains(value));
        let error = store.save_token(&access("alice", value)).await.unwrap_err();
        assert!(error.to_string().contains("access_token"), "{error}");
    }
    let named = token("header").with_id(id("id"));
    assert_eq!(store.save_token(&named).await.unwrap_err().kind(), StoreErrorKind::Invalid);
    assert_eq!(space.bytes(), before);
}

const ALICE: &str = "1,alice,test-client,test-secret,test-refresh-a,test-access-a,,1764000000000,\
                     https://example.com/cb,https://www.zohoapis.com";
const BOB: &str = "2,bob,test-client,test-secret,test-refresh-b,test-access-b,test-grant-b,\
                   1764000000001,https://example.com/cb,https://www.zohoapis.eu";

/// Files of the official SDKs, and what they have in common.
fn dialects() -> Vec<(&'static str, Vec<u8>)> {
    let quoted = |row: &str| {
        row.split(',').map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(",")
    };
    let (qa, qb) = (quoted(ALICE), quoted(BOB));
    let python = HEADER.replace("redirect_url", "redirect_uri");
    let typescript = HEADER.replace("user_name", "user_mail");
    [
        ("lf", format!("{HEADER}\n{ALICE}\n{BOB}\n")),
        ("no newline at the end", format!("{HEADER}\n{ALICE}\n{BOB}")),
        ("python", format!("{python}\r\n{ALICE}\r\n{BOB}\r\n")),
        ("python on windows", format!("{HEADER}\r\r\n{ALICE}\r\r\n{BOB}\r\r\n")),
        ("mixed", format!("{HEADER}\r\n{ALICE}\n{BOB}\r\r\n")),
        ("stray carriage return at the end", format!("{HEADER}\n{ALICE}\r\n{BOB}\r")),
        ("byte order mark", format!("\u{feff}{HEADER}\n{ALICE}\n{BOB}\n")),
        ("no header, byte order mark", format!("\u{feff}{ALICE}\n{BOB}\n")),
        ("every value quoted", format!("{HEADER}\n{qa}\n{qb}\n")),
        ("quoted header", format!("{}\n{ALICE}\n{BOB}\n", quoted(HEADER))),
        ("blank lines", format!("\n{HEADER}\n\n{ALICE}\n\r\n{BOB}\n\n")),
        ("blank row", format!("{HEADER}\n{ALICE}\n,,,,,,,,,\n{BOB}\n,\n")),
        ("no header", format!("{ALICE}\n{BOB}\n")),
        ("header twice", format!("{HEADER}\n{ALICE}\n{HEADER}\n{BOB}\n")),
        ("typescript", format!("{typescript}\n{ALICE}\n{BOB}")),
        ("eleven columns", format!("{HEADER},extra\n{ALICE},x\n{BOB},\n")),
    ]
    .into_iter()
    .map(|(name, text)| (name, text.into_bytes()))
    .collect()
}

#[tokio::test]
async fn every_dialect_is_read() {
    for (name, content) in dialects() {
        let space = Space::with(&content);
        let store = space.open();
        let tokens = store.get_tokens().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ids(&tokens), ["1", "2"], "{name}");
        assert_eq!(tokens[0].user_name(), Some("alice"), "{name}");
        assert_eq!(tokens[0].api_domain(), Some("https://www.zohoapis.com"), "{name}");
        assert_eq!(tokens[1].api_domain(), Some("https://www.zohoapis.eu"), "{name}");
        assert_eq!(tokens[1].expiry_time(), Some(Timestamp::from_millis(1_764_000_000_001)));
        assert_eq!(find(&store, "bob").await.as_ref(), Some(&tokens[1]), "{name}");
        assert_eq!(store.find_token_by_id(&id("id")).await.unwrap(), None, "{name}");
        assert_eq!(space.bytes(), content, "reading must not write: {name}");
    }
}

#[tokio::test]
async fn every_dialect_is_written_as_one_that_all_can_read() {
    for (name, content) in dialects() {
        let space = Space::with(&content);
        let store = space.open();
        let before = store.get_tokens().await.unwrap();
        store.save_token(&access("bob", "test-access-new")).await.unwrap();
        let saved = store.save_token(&token("carol")).await.unwrap();
        assert_eq!(saved.id(), Some(&id("3")), "{name}");
        let text = space.text();
        assert!(!text.contains('\r') && !text.contains("\n\n") && text.ends_with('\n'), "{name}");
        assert!(!text.starts_with('\u{feff}'), "{name}");
        assert_eq!(text.lines().count(), 4, "{name}: {text}");
        let after = space.open().get_tokens().await.unwrap();
        assert_eq!(ids(&after), ["1", "2", "3"], "{name}");
        assert_eq!(after[0], before[0], "{name}");
        assert_eq!(after[1].refresh_token(), before[1].refresh_token(), "{name}");
        assert_eq!(after[1].access_token().unwrap().expose_secret(), "test-access-new");
    }
}

#[tokio::test]
async fn header_names_extra_columns_and_foreign_rows_are_kept() {
    let header = HEADER.replace("redirect_url", "redirect_uri");
    let space = Space::with(format!("{header},note\r\n{ALICE},\"x, y\"\r\n{BOB},z\r\n"));
    let store = space.open();
    store.save_token(&access("alice", "test-access-new")).await.unwrap();
    store.save_token(&token("carol")).await.unwrap();
    assert_eq!(
        space.text(),
        format!(
            "{header},note\n{},\"x, y\"\n{BOB},z\n3,carol,,,test-refresh-carol,,,,,,\n",
            ALICE.replace("test-access-a", "test-access-new")
        )
    );
}

#[tokio::test]
async fn quoted_values_of_others_survive_the_shared_dialect() {
    let row = "1,\"O'Neil, \"\"Bob\"\" \\x\",test-client,test-secret,test-refresh-a,test-access-a,,\
               soon,\"https://example.com/cb?a=1,2\",https://www.zohoapis.com";
    let space = Space::with(format!("{HEADER}\n{row}\n"));
    let store = space.open();
    let name = "O'Neil, \"Bob\" \\x";
    let found = find(&store, name).await.unwrap();
    assert_eq!(found.redirect_url(), Some("https://example.com/cb?a=1,2"));
    assert_eq!(found.expiry_time(), None);
    store.save_token(&token("carol")).await.unwrap();
    assert!(space.text().contains(row));
    // An update changes its own columns and no others.
    store.save_token(&access(name, "test-access-new")).await.unwrap();
    assert!(space.text().contains(&row.replace("test-access-a", "test-access-new")));
    let later = OAuthToken::builder()
        .user_name(name)
        .access_token("test-access-newer")
        .expiry_time(Timestamp::from_millis(5))
        .build()
        .unwrap();
    store.save_token(&later).await.unwrap();
    assert!(space.text().contains(",test-access-newer,,5,\"https"));
}

#[tokio::test]
async fn nine_columns_and_text_ids_are_used_in_place() {
    let rows = "python_alice_US_PRD_ab12,alice,test-client,test-secret,test-refresh-a,test-access-a,,\
                1764000000000,https://example.com/cb\n\
                7,bob,test-client,test-secret,test-refresh-b,,test-grant-b,,\n";
    let header = "id,user_mail,client_id,client_secret,refresh_token,access_token,grant_token,\
                  expiry_time,redirect_uri";
    let space = Space::with(format!("{header}\n{rows}"));
    let store = space.open();
    let tokens = store.get_tokens().await.unwrap();
    assert_eq!(ids(&tokens), ["7", "python_alice_US_PRD_ab12"]);
    assert_eq!(space.text(), format!("{header}\n{rows}"));
    let saved = store.save_token(&full("carol")).await.unwrap();
    assert_eq!(saved.id(), Some(&id("8")));
    let moved = access("alice", "test-access-new").with_api_domain("https://www.zohoapis.in");
    store.save_token(&moved.unwrap()).await.unwrap();
    assert_eq!(
        space.text(),
        format!(
            "{header},api_domain\n\
             python_alice_US_PRD_ab12,alice,test-client,test-secret,test-refresh-a,test-access-new,,\
             1764000000000,https://example.com/cb,https://www.zohoapis.in\n\
             7,bob,test-client,test-secret,test-refresh-b,,test-grant-b,,,\n\
             8,carol,test-client,test-secret,test-refresh-1,test-access-1,test-grant-1,\
             1764000000000,https://example.com/cb?a=1&b=2,https://www.zohoapis.eu\n"
        )
    );
}

#[tokio::test]
async fn ids_count_by_number_beside_text_and_are_not_given_again() {
    let space = Space::with(format!(
        "{HEADER}\n9,a,,,test-a,,,,,\n10,b,,,test-b,,,,,\ncrm-x,c,,,test-c,,,,,\n\
         99999999999,d,,,test-d,,,,,\n"
    ));
    let store = space.open();
    assert_eq!(store.save_token(&token("e")).await.unwrap().id(), Some(&id("11")));
    assert!(store.delete_token(&id("11")).await.unwrap());
    assert!(!store.delete_token(&id("11")).await.unwrap());
    assert_eq!(space.open().save_token(&token("f")).await.unwrap().id(), Some(&id("12")));
    assert_eq!(store.delete_tokens().await.unwrap(), 5);
    assert_eq!(space.open().save_token(&token("g")).await.unwrap().id(), Some(&id("13")));
}

#[tokio::test]
async fn a_cleared_field_is_an_empty_column() {
    let space = Space::with(format!("{HEADER}\n{BOB}\n"));
    let store = space.open();
    let given = access("bob", "test-access-new").clear(Field::GrantToken);
    let saved = store.save_token(&given).await.unwrap();
    assert_eq!(saved.grant_token(), None);
    assert!(space.text().contains(",test-access-new,,1764"));
}

#[tokio::test]
async fn an_sdk_and_we_write_in_turn() {
    let space = Space::new();
    let store = space.open();
    for round in 0..20 {
        store.save_token(&token(&format!("ours{round}"))).await.unwrap();
        // As the Node.js SDK would: everything rewritten in place, no newline at the end.
        let mut text = space.text();
        text.push_str(&format!("{},theirs{round},,,test-theirs-{round},,,,,", 2 * round + 2));
        space.write(&text);
        let theirs = find(&store, &format!("theirs{round}")).await.unwrap();
        assert_eq!(theirs.id(), Some(&id(&(2 * round + 2).to_string())));
        // As the Python SDK would: CRLF, and an update of one of ours.
        let text = space.text().replace(
            &format!("test-refresh-ours{round},,"),
            &format!("test-refresh-ours{round},test-access-{round},"),
        );
        space.write(text.replace('\n', "\r\n") + "\r\n");
        let query = AccessToken::new(format!("test-access-{round}")).unwrap();
        let found = store.find_token(&TokenQuery::access_token(query)).await.unwrap();
        assert_eq!(found.unwrap().user_name(), Some(&*format!("ours{round}")));
    }
    assert_eq!(store.get_tokens().await.unwrap().len(), 40);
    assert_eq!(store.page(None, 100).await.unwrap().damage, [""; 0]);
}
