//! A process that is killed in the middle of a change of several secrets.

use std::time::Duration;

use tokenkeep_core::{OAuthToken, TokenQuery, TokenStore as _};

use crate::{
    answers::{Answer, Answers},
    open, prefix, said, spawn,
};

/// What the child saves: the user of a token that is there without one.
pub(crate) fn named() -> OAuthToken {
    let token = OAuthToken::builder().user_name("alice").access_token("test-access-new");
    token.refresh_token("test-refresh-login").build().unwrap()
}

/// It is killed at each request of a save that makes two tokens one, opening included.
pub(crate) async fn at_any_request(moto: u16) {
    let (mut left_over, mut old, mut new) = (0, 0, 0);
    for is_done in [false, true] {
        for request in 0.. {
            let (proxy, prefix) = (Answers::start(moto).await, prefix());
            let store = open(&prefix, moto).await;
            let alice = crate::token("alice", "old");
            let alice = store.save_token(&alice).await.unwrap();
            let login = OAuthToken::builder().refresh_token("test-refresh-login").build().unwrap();
            let login = store.save_token(&login).await.unwrap();
            let answers = std::iter::repeat_n(Answer::Pass, request);
            proxy.next(answers.chain([Answer::Hang { is_done }]));

            let mut child = spawn("name -", proxy.port, &prefix);
            // Either it hangs, or it is done before.
            let is_killed = tokio::select! {
                () = proxy.hanging() => true,
                () = ended(&mut child) => false,
            };
            if is_killed {
                child.kill().unwrap();
            } else {
                assert_eq!(said(child), ["saved"]);
                break;
            }
            child.wait().unwrap();

            // There are both tokens as they were, or the one that they have become.
            let tokens = store.get_tokens().await.unwrap();
            let query = TokenQuery::user("alice").unwrap();
            let found = store.find_token(&query).await.unwrap().unwrap();
            if found.access_token() == named().access_token() {
                assert_eq!(tokens, [found], "{is_done}, {request}");
                new += 1;
            } else {
                assert_eq!(tokens, [alice.clone(), login], "{is_done}, {request}");
                old += 1;
            }
            // Whoever comes next is not kept waiting by the dead.
            let saved = store.save_token(&named()).await.unwrap();
            assert_eq!(saved.id(), alice.id());
            assert_eq!(store.get_tokens().await.unwrap(), std::slice::from_ref(&saved));
            left_over += store.sweep(Duration::ZERO).await.unwrap();
            assert_eq!(store.get_tokens().await.unwrap(), [saved]);
            assert_eq!(store.delete_secrets(None).await.unwrap(), 3, "{is_done}, {request}");
        }
    }
    assert!(old > 5 && new > 0, "{old} kills before the moment of the change, {new} after");
    assert!(left_over > 0, "no kill left a secret behind, so that nothing was shown");
}

async fn ended(child: &mut std::process::Child) {
    while child.try_wait().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
