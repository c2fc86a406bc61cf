//! Changes of several secrets that race with changes of one of them, through two instances.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{OAuthToken, TokenId, TokenStore as _, update_state};
use tokenkeep_store_aws::secretsmanager::SecretsManagerStore;

use crate::{open, prefix};

const ROUNDS: usize = 12;
const WRITERS: usize = 3;

fn login(round: usize) -> OAuthToken {
    OAuthToken::builder().refresh_token(format!("test-refresh-{round}")).build().unwrap()
}

fn named(round: usize) -> OAuthToken {
    login(round).with_user_name(format!("user{round}")).unwrap()
}

/// A token's user becomes known, and so it moves to another secret, while others write what is
/// known of it: each write that was acknowledged is there.
pub(crate) async fn moves(moto: u16) {
    let prefix = prefix();
    let stores = [Arc::new(open(&prefix, moto).await), Arc::new(open(&prefix, moto).await)];
    for round in 0..ROUNDS {
        let saved = stores[0].save_token(&login(round)).await.unwrap();
        let id = saved.id().unwrap().clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, id) = (Arc::clone(&stores[writer % 2]), id.clone());
                tokio::spawn(count(store, id, writer, Arc::clone(&is_over)))
            })
            .collect();
        let token = stores[1].save_token(&named(round)).await.unwrap();
        assert_eq!(token.id(), Some(&id));
        is_over.store(true, Ordering::SeqCst);
        let mut counted = Vec::new();
        for writer in writers {
            counted.push(writer.await.unwrap());
        }
        let state = stores[0].shared().unwrap().state(&id).await.unwrap().unwrap();
        for (writer, counted) in counted.into_iter().enumerate() {
            assert_eq!(state.unknown[&writer.to_string()], counted, "of writer {writer}");
        }
    }
    assert_eq!(stores[0].get_tokens().await.unwrap().len(), ROUNDS);
}

/// Counts in the state of a token until it is over, and twice at least; says how far it came.
async fn count(
    store: Arc<SecretsManagerStore>,
    id: TokenId,
    writer: usize,
    is_over: Arc<AtomicBool>,
) -> u64 {
    let (key, shared) = (writer.to_string(), store.shared().unwrap());
    let mut counted = 0;
    while counted < 2 || !is_over.load(Ordering::SeqCst) {
        counted += 1;
        let written = update_state(shared, &id, |state| {
            let before = state.unknown.get(&key).and_then(serde_json::Value::as_u64);
            assert_eq!(before.unwrap_or(0) + 1, counted, "a write was lost");
            state.unknown.insert(key.clone(), counted.into());
        });
        written.await.unwrap().unwrap();
    }
    counted
}

/// One process stores a login without its user, another one the same login as that of a user who
/// has a token: whoever comes first, it is one token, and the user's.
pub(crate) async fn folds(moto: u16) {
    let prefix = prefix();
    let stores = [Arc::new(open(&prefix, moto).await), Arc::new(open(&prefix, moto).await)];
    for round in 0..ROUNDS {
        let name = format!("user{round}");
        let first = stores[0].save_token(&crate::token(&name, "old")).await.unwrap();
        // In any order: the requests of the two come in between each other.
        let saves =
            [(login(round), &stores[0]), (named(round), &stores[1])].map(|(token, store)| {
                let store = Arc::clone(store);
                tokio::spawn(async move { store.save_token(&token).await.unwrap() })
            });
        for save in saves {
            save.await.unwrap();
        }
        let tokens = stores[0].get_tokens().await.unwrap();
        assert_eq!(tokens.len(), round + 1, "the same login is stored twice: {tokens:?}");
        let stored = stores[0].find_token_by_id(first.id().unwrap()).await.unwrap().unwrap();
        assert_eq!(stored.user_name(), Some(&*name));
        assert_eq!(stored.refresh_token(), login(round).refresh_token());
    }
    assert_eq!(stores[0].sweep(Duration::ZERO).await.unwrap(), 0);
}
