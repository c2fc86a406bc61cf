//! Tokens that are kept for a while only.

use std::time::Duration;

use tokenkeep_core::{SharedStore, TokenState, TokenStore};
use tokenkeep_servers::Address;

use crate::scene::{Admin, config, prefix, token, until, user};

pub(crate) async fn expires(nodes: Vec<Address>) {
    let (node, prefix) = (&nodes[0], prefix());
    let lasting = config(node, &prefix).open().await.unwrap();
    let brief =
        config(node, &prefix).expire_after(Duration::from_millis(400)).open().await.unwrap();
    let bob = lasting.save_token(&token("bob", "0")).await.unwrap();
    let alice = brief.save_token(&token("alice", "0")).await.unwrap();
    let id = alice.id().unwrap();
    lasting.replace_state(id, None, &TokenState::default()).await.unwrap();
    let mark = lasting.change_mark().await.unwrap();
    assert_eq!(lasting.find_token(&user("alice")).await.unwrap().as_ref(), Some(&alice));

    until("the token expires", || async {
        lasting.find_token(&user("alice")).await.unwrap().is_none()
    })
    .await;
    // Without anybody's write the store is another one now.
    assert_ne!(lasting.change_mark().await.unwrap(), mark);
    assert_eq!(lasting.get_tokens().await.unwrap(), [bob]);
    assert_eq!(lasting.page(None, 1).await.unwrap().next, None);
    let inspection = lasting.inspect().await.unwrap();
    assert_eq!((inspection.tokens, inspection.vanished), (1, 0));

    // The next write forgets what is left, and the id is not given again.
    let carol = lasting.save_token(&token("carol", "0")).await.unwrap();
    assert_eq!(carol.id().unwrap().number(), Some(3));
    let admin = Admin::of(node).await;
    let mut keys: Vec<String> = admin.ask(&["KEYS", &format!("{{{prefix}}}:*")]).await;
    keys.retain(|key| {
        key.contains(":token:") || key.contains(":beside:") || key.ends_with("expiry")
    });
    keys.sort();
    assert_eq!(keys, [format!("{{{prefix}}}:token:1"), format!("{{{prefix}}}:token:3")]);
    let places: u64 = admin.ask(&["ZCARD", &format!("{{{prefix}}}:ids")]).await;
    assert_eq!(places, 2);
    assert_eq!(lasting.delete_tokens().await.unwrap(), 2);
}

pub(crate) async fn shared_index(nodes: Vec<Address>) {
    let (node, prefix) = (&nodes[0], prefix());
    let lasting = config(node, &prefix).open().await.unwrap();
    let brief =
        config(node, &prefix).expire_after(Duration::from_millis(300)).open().await.unwrap();
    let with_client = |client: &str| {
        let token = tokenkeep_core::OAuthToken::builder().user_name("alice");
        token
            .client(client, "test-client-secret")
            .refresh_token(format!("test-{client}"))
            .build()
            .unwrap()
    };
    let stays = lasting.save_token(&with_client("one")).await.unwrap();
    let goes = brief.save_token(&with_client("two")).await.unwrap();
    until("the token expires", || async {
        lasting.find_token_by_id(goes.id().unwrap()).await.unwrap().is_none()
    })
    .await;
    assert_eq!(lasting.find_token(&user("alice")).await.unwrap().as_ref(), Some(&stays));

    // What is saved again without a time stays.
    let kept = brief.save_token(&token("bob", "0")).await.unwrap();
    let kept = lasting.save_token(&kept).await.unwrap();
    let last = brief.save_token(&token("carol", "0")).await.unwrap();
    until("the last token expires", || async {
        lasting.find_token_by_id(last.id().unwrap()).await.unwrap().is_none()
    })
    .await;
    assert_eq!(lasting.find_token(&user("bob")).await.unwrap(), Some(kept));
    assert_eq!(lasting.inspect().await.unwrap().not_indexed, []);
}
