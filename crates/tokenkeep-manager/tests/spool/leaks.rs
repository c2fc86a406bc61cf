//! No secret shows in an error, in `Debug` or in a trace, nor in a sealed file.

use std::fmt::Debug;

use tokenkeep_core::{OAuthToken, StoreError};
use tokenkeep_manager::{Spool, SpoolKey, Spooled};
use tokenkeep_testkit::LeakCanary;

use crate::support::{ISSUED_AT, files, grant, id, only_file, spool, write};

fn marked(canary: &LeakCanary) -> Spooled {
    let token = OAuthToken::builder()
        .user_name("alice@example.com")
        .client("test-client-id", canary.mark("client-secret"))
        .refresh_token(canary.mark("refresh-token"))
        .access_token(canary.mark("access-token"))
        .grant_token(canary.mark("grant-token"))
        .build()
        .unwrap();
    Spooled::new(id("7"), grant("test-refresh-old"), token, ISSUED_AT)
}

/// A key whose bytes are watched for.
fn watched_key(canary: &LeakCanary) -> SpoolKey {
    let text = canary.mark("key");
    let bytes: [u8; 32] = text.as_bytes()[text.len() - 32..].try_into().unwrap();
    SpoolKey::new(bytes)
}

fn show(canary: &LeakCanary, thing: &dyn Debug) {
    canary.capture(&format!("{thing:?} {thing:#?}"));
}

fn show_error(canary: &LeakCanary, error: &StoreError) {
    show(canary, error);
    canary.capture(&format!("{error} {:?}", error.hint()));
}

#[tokio::test]
async fn a_sealed_file_shows_no_secret_and_a_clear_one_does() {
    let canary = LeakCanary::new();
    for sealed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = spool(dir.path());
        if sealed {
            spool = spool.sealed_with(watched_key(&canary));
        }
        let entry = marked(&canary);
        spool.put(&entry).await.unwrap();
        let content = std::fs::read(only_file(dir.path())).unwrap();
        let leaks = canary.search(&content);
        assert_eq!(leaks.len(), if sealed { 0 } else { 4 }, "{leaks:?}");
        let contains = |text: &str| content.windows(text.len()).any(|at| at == text.as_bytes());
        assert_eq!(contains("alice@example.com"), !sealed);
        let names = format!("{:?}", files(dir.path()));
        assert!(canary.search(names.as_bytes()).is_empty() && !names.contains("alice"), "{names}");
    }
}

/// An entry whole, cut at many places and changed, read by spools with this key, another and none.
#[test]
fn no_secret_shows_in_an_error_in_debug_or_in_a_trace() {
    let canary = LeakCanary::new();
    tracing::subscriber::set_global_default(canary.subscriber()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        for key in [None, Some(watched_key(&canary))] {
            show(&canary, &key);
            read_damaged(&canary, key).await;
        }
    });
    canary.capture(&format!("{:?}", SpoolKey::parse(&canary.mark("key-text")).unwrap_err()));
    let captured = canary.captured();
    assert!(captured.contains("cannot be read"), "the errors were captured");
    canary.assert_clean([captured]);
}

async fn read_damaged(canary: &LeakCanary, key: Option<SpoolKey>) {
    let dir = tempfile::tempdir().unwrap();
    let open = |key: Option<SpoolKey>| match key {
        Some(key) => spool(dir.path()).sealed_with(key),
        None => spool(dir.path()),
    };
    let entry = marked(canary);
    let own = open(key.clone());
    own.put(&entry).await.unwrap();
    show(canary, &(&own, &entry, own.get(&entry.id, &entry.grant).await.unwrap()));

    let file = only_file(dir.path());
    let whole = std::fs::read(&file).unwrap();
    let mut contents: Vec<_> =
        (0..whole.len()).step_by(11).map(|at| whole[..at].to_vec()).collect();
    for at in (0..whole.len()).step_by(11) {
        // A value that becomes a list, a name that becomes a value …
        let mut changed = whole.clone();
        changed[at] = b'[';
        contents.push(changed);
    }
    contents.push(whole);
    let mut errors = 0;
    for content in contents {
        write(&file, content);
        for key in [key.clone(), Some(watched_key(canary)), None] {
            let spool = open(key);
            match spool.get(&entry.id, &entry.grant).await {
                Ok(got) => show(canary, &got),
                Err(error) => {
                    errors += 1;
                    show_error(canary, &error);
                }
            }
            show(canary, &spool.list().await.unwrap());
        }
    }
    assert!(errors > 50, "{errors}");
}
