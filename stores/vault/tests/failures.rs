//! What can be wrong with Vault: each is told with a hint, and without a secret.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use std::{fs, time::Duration};

use serde_json::{Value, json};
use support::{PREFIX, config, open, secrets, token};
use tokenkeep_core::{Outcome, SharedStore, StoreError, StoreErrorKind, TokenId, TokenStore};
use tokenkeep_store_vault::VaultConfig;
use tokenkeep_testkit::{VaultFault, VaultServer};

const SHORT: Duration = Duration::from_millis(300);

/// Fails unless the error is of this kind, has a hint, and shows nothing secret.
#[track_caller]
fn check<T>(result: Result<T, StoreError>, kind: StoreErrorKind, words: &str) -> StoreError {
    let Err(error) = result else { panic!("it works, and must not: {words}") };
    let shown = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(shown.contains(words), "{shown}");
    assert!(error.hint().is_some(), "{shown}");
    for secret in [VaultServer::ROOT, "test-other-token", "test-secret-id", "test-access"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    error
}

#[tokio::test]
async fn what_keeps_it_from_being_opened_is_told() {
    use StoreErrorKind as Kind;

    let server = VaultServer::start().unwrap();
    let wrong = config(&server).token("test-other-token").open().await;
    check(wrong, Kind::PermissionDenied, "denies");
    let wrong = config(&server).app_role("role", Some("test-secret-id".to_owned()));
    check(wrong.open().await, Kind::PermissionDenied, "AppRole");
    let elsewhere = VaultConfig::new(&server.url(), "nowhere", PREFIX).unwrap();
    check(elsewhere.token(VaultServer::ROOT).open().await, Kind::Unavailable, "no secrets engine");
    let other_team = config(&server).namespace("team").token(VaultServer::ROOT);
    check(other_team.open().await, Kind::Unavailable, "namespace");

    server.seal(true);
    let sealed = config(&server).token(VaultServer::ROOT).timeout(SHORT).open().await;
    check(sealed, Kind::Unavailable, "sealed");
    server.seal(false);

    let (url, config) = (server.url(), config(&server).token(VaultServer::ROOT).timeout(SHORT));
    drop(server);
    check(config.open().await, Kind::Unavailable, "cannot be reached");
    let plain = VaultConfig::new(&url.replace("http", "https"), "secret", PREFIX).unwrap();
    let plain = plain.token(VaultServer::ROOT).timeout(SHORT);
    check(plain.open().await, Kind::Unavailable, "cannot be reached");
}

#[tokio::test]
async fn a_mount_of_version_1_is_refused_before_it_is_given_a_secret() {
    let server = VaultServer::start().unwrap();
    server.mount("", "old", 1);
    let old = || VaultConfig::new(&server.url(), "old", PREFIX).unwrap();
    let opened = old().token(VaultServer::ROOT).open().await;
    check(opened, StoreErrorKind::Unsupported, "version 1");

    // If Vault does not tell what the mount is, the first write does.
    server.fail(1, VaultFault::Status(403));
    let store = old().token(VaultServer::ROOT).open().await.unwrap();
    let saved = store.save_token(&token("alice", "0")).await;
    check(saved, StoreErrorKind::Unsupported, "version 1");
    assert!(server.requests().iter().all(|request| !request.contains("tokens")));
}

#[tokio::test]
async fn a_standby_gets_no_token_sent_elsewhere() {
    let server = VaultServer::start().unwrap();
    let store = config(&server).token(VaultServer::ROOT).timeout(SHORT).open().await.unwrap();
    for request in 0..50 {
        server.fail(request, VaultFault::Redirect);
    }
    let found = store.find_token_by_id(&TokenId::from_number(1)).await;
    check(found, StoreErrorKind::Unavailable, "standby");
}

#[tokio::test]
async fn a_sealed_vault_changes_nothing_and_goes_on_when_it_is_unsealed() {
    let server = VaultServer::start().unwrap();
    let store = config(&server).token(VaultServer::ROOT).timeout(SHORT).open().await.unwrap();
    store.save_token(&token("alice", "0")).await.unwrap();
    server.seal(true);
    let saved = store.save_token(&token("alice", "1")).await;
    let error = check(saved, StoreErrorKind::Unavailable, "sealed");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    check(store.change_mark().await, StoreErrorKind::Unavailable, "sealed");
    // What it said first is told, also if later tries have no answer.
    for request in 1..200 {
        server.fail(request, VaultFault::HangBefore);
    }
    check(store.change_mark().await, StoreErrorKind::Unavailable, "sealed");
    assert!(server.disarm() > 0, "no try was left without an answer");
    server.seal(false);
    store.save_token(&token("alice", "2")).await.unwrap();
    assert_eq!(secrets(&server).len(), 1);
}

#[tokio::test]
async fn a_policy_that_lacks_a_path_is_told() {
    let server = VaultServer::start().unwrap();
    open(&server).await.save_token(&token("alice", "0")).await.unwrap();
    let index = format!("secret/data/{PREFIX}/index");
    let metadata = format!("secret/metadata/{PREFIX}/index");
    server.add_token("test-other-token", None, &[&index, &metadata]);
    let store = config(&server).token("test-other-token").open().await.unwrap();
    let saved = store.save_token(&token("bob", "0")).await;
    let error = check(saved, StoreErrorKind::PermissionDenied, "policy");
    assert_eq!(error.outcome(), Outcome::Final);
    let found = store.find_token_by_id(&TokenId::from_number(1)).await;
    check(found, StoreErrorKind::PermissionDenied, "policy");
}

#[tokio::test]
async fn damage_is_told_and_not_taken_for_absence() {
    let server = VaultServer::start().unwrap();
    let store = open(&server).await;
    store.save_token(&token("alice", "0")).await.unwrap();
    store.save_token(&token("bob", "0")).await.unwrap();
    let name = secrets(&server).into_iter().find(|name| name.starts_with("1.")).unwrap();
    let body = json!({"data": {"id": "1", "user_name": 7}});
    assert_eq!(server.ask("POST", &format!("secret/data/{PREFIX}/tokens/{name}"), &body).0, 200);

    let store = open(&server).await;
    let one = TokenId::from_number(1);
    check(store.find_token_by_id(&one).await, StoreErrorKind::Corrupt, "token 1");
    check(store.get_tokens().await, StoreErrorKind::Corrupt, "token 1");
    let page = store.page(None, 1).await.unwrap();
    assert_eq!((page.tokens.len(), page.damage.len()), (0, 1));
    let page = store.page(page.next.as_ref(), 1).await.unwrap();
    assert_eq!((page.tokens.len(), page.damage.len(), page.next), (1, 0, None));
    assert_eq!(store.inspect().await.unwrap().damage.len(), 1);
    // What is damaged can be removed.
    assert!(store.delete_token(&one).await.unwrap());
    assert_eq!(store.get_tokens().await.unwrap().len(), 1);

    let index = format!("secret/data/{PREFIX}/index");
    server.ask("DELETE", &index, &Value::Null);
    check(store.get_tokens().await, StoreErrorKind::Corrupt, "undelete");
    let opened = config(&server).token(VaultServer::ROOT).open().await;
    check(opened, StoreErrorKind::Corrupt, "undelete");
    server.ask("POST", &index, &json!({"data": {"version": 2}}));
    check(store.get_tokens().await, StoreErrorKind::Unsupported, "newer version");
    server.ask("POST", &index, &json!({"data": {"test-access": "x"}}));
    let read = store.get_tokens().await;
    assert_eq!(read.unwrap_err().kind(), StoreErrorKind::Corrupt);
}

#[tokio::test]
async fn an_index_beyond_what_vault_takes_is_full() {
    let server = VaultServer::start().unwrap();
    let store = open(&server).await;
    let id = store.save_token(&token("alice", "0")).await.unwrap().id().unwrap().clone();
    let large = support::state(&"x".repeat(1 << 20));
    let written = store.replace_state(&id, None, &large).await;
    let error = check(written, StoreErrorKind::Full, "max_entry_size");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let long = "x".repeat(1 << 20);
    let saved = store.save_token(&token("bob", &long)).await;
    check(saved, StoreErrorKind::Invalid, "larger");
    assert_eq!((store.get_tokens().await.unwrap().len(), secrets(&server).len()), (1, 1));
}

#[tokio::test]
async fn a_mount_that_requires_check_and_set_works() {
    let server = VaultServer::start().unwrap();
    server.ask("POST", "secret/config", &json!({"cas_required": true}));
    let store = open(&server).await;
    store.save_token(&token("alice", "0")).await.unwrap();
    store.save_token(&token("alice", "1")).await.unwrap();
    assert_eq!(store.get_tokens().await.unwrap().len(), 1);
    store.delete_tokens().await.unwrap();
    assert_eq!(secrets(&server).len(), 0);
}

#[tokio::test]
async fn namespaces_are_apart() {
    let server = VaultServer::start().unwrap();
    server.mount("team", "secret", 2);
    let team = config(&server).namespace("team").token(VaultServer::ROOT).open().await.unwrap();
    team.save_token(&token("alice", "0")).await.unwrap();
    assert_eq!(open(&server).await.get_tokens().await.unwrap().len(), 0);
    assert_eq!(team.get_tokens().await.unwrap().len(), 1);
}

/// Waits until the server has been asked this.
async fn asked(server: &VaultServer, path: &str) {
    let wait = async {
        while !server.requests().iter().any(|request| request.contains(path)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

#[tokio::test]
async fn a_vault_token_is_renewed_and_got_anew() {
    let server = VaultServer::start().unwrap();
    server.add_token("test-other-token", Some(Duration::from_secs(2)), &[""]);
    let given = config(&server).token("test-other-token").open().await.unwrap();
    asked(&server, "renew-self").await;
    drop(given);

    let ttl = Duration::from_secs(3600);
    server.add_role("role", "test-secret-id", ttl);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret-id");
    let write = |path: &std::path::Path, text: &str| {
        #[expect(clippy::disallowed_methods, reason = "a test's file")]
        fs::write(path, text).unwrap();
    };
    write(&path, "test-secret-id\n");
    let store = config(&server).app_role_file("role", &path).open().await.unwrap();
    store.save_token(&token("alice", "0")).await.unwrap();
    server.revoke_tokens();
    store.save_token(&token("alice", "1")).await.unwrap();
    // A server that cannot renew it is asked for another one before this one ends.
    server.add_role("short-role", "test-secret-id", Duration::from_secs(2));
    let short = config(&server).app_role_file("short-role", &path).open().await.unwrap();
    drop(server.requests());
    server.fail(0, VaultFault::Status(500));
    asked(&server, "approle/login").await;
    drop(short);
    server.revoke_tokens();
    write(&path, "\n");
    check(store.save_token(&token("alice", "2")).await, StoreErrorKind::Invalid, "empty");

    let path = directory.path().join("token");
    server.add_token("test-token-1", Some(ttl), &[""]);
    write(&path, "test-token-1");
    let store = config(&server).token_file(&path).open().await.unwrap();
    server.revoke_tokens();
    let denied = store.save_token(&token("alice", "2")).await;
    check(denied, StoreErrorKind::PermissionDenied, "denies");
    server.add_token("test-token-2", Some(ttl), &[""]);
    write(&path, "test-token-2");
    store.save_token(&token("alice", "3")).await.unwrap();
}

#[tokio::test]
async fn urls_are_read_and_hide_what_is_secret() {
    let read = |url: &str| VaultConfig::from_url(url);
    let url = "vault+https://v:8200/team%2Fkv/a/b?namespace=n&role-id=r&secret-id-file=/x&ca=/c";
    let shown = format!("{:?}", read(url).unwrap());
    for part in ["https://v:8200/v1", "\"team/kv\"", "\"a/b\"", "\"n\"", "\"/c\""] {
        assert!(shown.contains(part), "{shown}");
    }
    for url in [
        "https://v/secret/a",
        "vault+http://vault.example.com/secret/a?token-file=/x",
        "vault+https://v/secret?token-file=/x",
        "vault+https://v/secret/a?token=test-access",
        "vault+https://u:test-access@v/secret/a?token-file=/x",
        "vault+https://v/secret/a?token-env=test-access",
        "vault+https://v/secret/a?token-file=/x&role-id=r",
        "vault+https://v/secret/a?token-file=/x&colour=test-access",
    ] {
        check(read(url), StoreErrorKind::Invalid, "");
    }
    for prefix in ["..", "a/../b", "", "/"] {
        let config = VaultConfig::new("https://127.0.0.1:1", "secret", prefix).unwrap();
        let opened = config.token("test-other-token").open().await;
        assert_eq!(opened.unwrap_err().kind(), StoreErrorKind::Invalid, "{prefix}");
    }
}
