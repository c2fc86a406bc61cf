//! Secrets that somebody has changed or removed, and what stands in them.

use std::time::Duration;

use serde_json::{Value, json};
use tokenkeep_core::{
    AccessToken, LeaseAttempt, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenState,
    TokenStore,
};

use crate::{check_shown, name, secret, token};

/// What a person does to secrets without the store.
struct Console {
    client: reqwest::Client,
    moto: u16,
}

impl Console {
    fn new(moto: u16) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { client, moto }
    }

    async fn ask(&self, what: &str, body: Value) -> Value {
        let request = self.client.post(format!("http://127.0.0.1:{}/", self.moto));
        let request = request
            .header("x-amz-target", format!("secretsmanager.{what}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 \
                 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, \
                 SignedHeaders=host, Signature=test",
            );
        let answer = request.body(body.to_string()).send().await.expect("an answer");
        serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
    }

    /// The secrets below a prefix.
    async fn list(&self, prefix: &str) -> Vec<Value> {
        let (mut listed, mut next) = (Vec::new(), Value::Null);
        loop {
            let mut body = json!({"Filters": [{"Key": "name", "Values": [prefix]}]});
            if !next.is_null() {
                body["NextToken"] = next;
            }
            let answer = self.ask("ListSecrets", body).await;
            listed.extend(answer["SecretList"].as_array().cloned().unwrap_or_default());
            next = answer["NextToken"].clone();
            if next.is_null() {
                return listed;
            }
        }
    }

    async fn text(&self, name: &str) -> String {
        let body = json!({"SecretId": name, "VersionStage": "AWSCURRENT"});
        let answer = self.ask("GetSecretValue", body).await;
        answer["SecretString"].as_str().expect("a text").to_owned()
    }

    async fn put(&self, name: &str, text: &str) {
        self.ask("PutSecretValue", json!({"SecretId": name, "SecretString": text})).await;
    }

    /// The secret that is the index, and what is in it.
    async fn index(&self, prefix: &str) -> (String, Value) {
        let root: Value = serde_json::from_str(&self.text(&format!("{prefix}/root")).await)
            .expect("the root is JSON");
        let name = format!("{prefix}/index/{}", root["index"].as_str().expect("a name"));
        let index = serde_json::from_str(&self.text(&name).await).expect("the index is JSON");
        (name, index)
    }

    /// The secret of a token.
    async fn secret_of(&self, prefix: &str, id: &TokenId) -> String {
        let (_name, index) = self.index(prefix).await;
        let end = index["tokens"][id.as_str()][0].as_str().expect("a name").to_owned();
        format!("{prefix}/token/{end}")
    }
}

pub(crate) async fn of_a_token(moto: u16) {
    let (console, prefix) = (Console::new(moto), name());
    let store = secret(&prefix, moto).open().await.expect("a store");
    let alice = store.save_token(&token("alice", "1")).await.expect("it is saved");
    let bob = store.save_token(&token("bob", "1")).await.expect("it is saved");
    let id = alice.id().expect("an id");
    let name = console.secret_of(&prefix, id).await;
    let whole = console.text(&name).await;
    let user = |name: &str| TokenQuery::user(name).expect("a query");
    let by_access = |text: &str| {
        TokenQuery::access_token(AccessToken::new(format!("test-access-{text}")).expect("one"))
    };

    for is_there in [true, false] {
        if is_there {
            console.put(&name, r#"{"version":1,"token":["test-access-damaged"]}"#).await;
        } else {
            let body = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
            console.ask("DeleteSecret", body).await;
        }
        // Others are found, listed and saved; of this one it is told.
        assert_eq!(store.find_token(&user("bob")).await.expect("an answer"), Some(bob.clone()));
        assert_eq!(
            store.find_token(&by_access("1")).await.expect("it is bob's"),
            Some(bob.clone())
        );
        store.save_token(&token("bob", "1")).await.expect("it is saved");
        for error in [
            store.find_token(&user("alice")).await.unwrap_err(),
            store.find_token(&by_access("nobodys")).await.unwrap_err(),
            store.find_token_by_id(id).await.unwrap_err(),
            store.get_tokens().await.unwrap_err(),
            store.save_token(&token("alice", "2")).await.unwrap_err(),
            store.shared().expect("it coordinates").state(id).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
            assert!(error.to_string().contains(&format!("token {id}")), "{error}");
            check_shown(&error);
        }
        let page = store.shared().expect("it coordinates").page(None, 10).await.expect("a page");
        assert_eq!((page.tokens.len(), page.damage.len(), page.next), (1, 1, None));
        if is_there {
            console.put(&name, &whole).await;
            assert_eq!(
                store.find_token_by_id(id).await.expect("it is mended"),
                Some(alice.clone())
            );
        }
    }
    assert!(store.delete_token(id).await.expect("it can be deleted"));
    let again = store.save_token(&token("alice", "3")).await.expect("and saved anew");
    assert_eq!(again.id(), Some(&TokenId::from_number(3)));

    // A state that cannot be read stays until it is written anew.
    let id = again.id().expect("an id");
    let name = console.secret_of(&prefix, id).await;
    let mut document: Value = serde_json::from_str(&console.text(&name).await).expect("JSON");
    document["state"] = json!("test damage");
    console.put(&name, &document.to_string()).await;
    let shared = store.shared().expect("it coordinates");
    let error = shared.state(id).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    let lease = shared.try_lease(id, "a", Duration::from_secs(9)).await.expect("an answer");
    assert!(matches!(lease, LeaseAttempt::Granted(_)), "{lease:?}");
    assert_eq!(shared.page(None, 10).await.expect("a page").damage.len(), 1);
    shared.replace_state(id, None, &TokenState::default()).await.expect("it is written");
    assert_eq!(shared.state(id).await.expect("an answer"), Some(TokenState::default()));
    assert!(format!("{store:?}").contains(&prefix));
}

pub(crate) async fn of_the_index(moto: u16) {
    let (console, prefix) = (Console::new(moto), name());
    let store = secret(&prefix, moto).open().await.expect("a store");
    store.save_token(&token("alice", "1")).await.expect("it is saved");
    let (name, _index) = console.index(&prefix).await;
    let whole = console.text(&name).await;

    console.put(&name, "test-access-damaged").await;
    let error = store.get_tokens().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
    check_shown(&error);
    console.put(&name, &whole).await;

    let root = format!("{prefix}/root");
    let body = json!({"SecretId": root, "RecoveryWindowInDays": 7});
    console.ask("DeleteSecret", body).await;
    let error = secret(&prefix, moto).open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("scheduled for deletion"), "{error}");
    check_shown(&error);
    console.ask("RestoreSecret", json!({"SecretId": root})).await;

    let body = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
    console.ask("DeleteSecret", body).await;
    let error = secret(&prefix, moto).open().await.unwrap_err();
    check_gone(&error);
    check_gone(&store.save_token(&token("bob", "1")).await.unwrap_err());
    // Nothing is swept of which nobody knows whether it is used.
    check_gone(&store.sweep(Duration::ZERO).await.unwrap_err());
    assert_eq!(console.list(&prefix).await.len(), 2);
    assert_eq!(store.delete_secrets(None).await.expect("what is there can be deleted"), 2);
    assert_eq!(store.get_tokens().await.expect("there is no store"), []);
}

fn check_gone(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains("index is gone"), "{error}");
    check_shown(error);
}

pub(crate) async fn documented(moto: u16) {
    let (console, prefix) = (Console::new(moto), name());
    let store = secret(&prefix, moto).open().await.expect("a store");
    for user in ["alice", "bob"] {
        store.save_token(&token(user, user)).await.expect("it is saved");
    }
    let listed = console.list(&prefix).await;
    assert_eq!(listed.len(), 4, "a secret a token, the index and the root: {listed:?}");
    for entry in &listed {
        let shown = entry.to_string();
        assert!(!shown.contains("alice") && !shown.contains("test-client"), "{shown}");
        assert_eq!(entry["Tags"], json!([{"Key": "tokenkeep", "Value": "1"}]));
    }
    let (_name, index) = console.index(&prefix).await;
    assert_eq!((&index["version"], &index["last_id"]), (&json!(1), &json!(2)));
    assert!(!index.to_string().contains("alice") && !index.to_string().contains("test-"));

    // A hundred changes of a token and of the index, and no secret of theirs has a hundred versions.
    for number in 0..100 {
        store.save_token(&token("alice", &number.to_string())).await.expect("it is saved");
        let saved = store.save_token(&token("carol", "1")).await.expect("it is saved");
        store.delete_token(saved.id().expect("an id")).await.expect("it is deleted");
    }
    let listed = console.list(&prefix).await;
    assert_eq!(listed.len(), 4, "what is not used any more is removed: {listed:?}");
    for entry in &listed {
        let versions = entry["SecretVersionsToStages"].as_object().expect("versions").len();
        assert!(versions <= 81, "{versions} versions: {entry}");
    }
    assert_eq!(store.get_tokens().await.expect("they are there").len(), 2);
    assert_eq!(store.sweep(Duration::ZERO).await.expect("an answer"), 0);
    // What nobody names is removed once it is old enough.
    let stray = format!("{prefix}/token/abcdefghijkl");
    let tags = json!([{"Key": "tokenkeep", "Value": "1"}]);
    let body = json!({"Name": stray, "SecretString": "test", "Tags": tags});
    console.ask("CreateSecret", body).await;
    assert_eq!(store.sweep(Duration::from_secs(86_400)).await.expect("an answer"), 0);
    assert_eq!(store.sweep(Duration::ZERO).await.expect("an answer"), 1);
    assert_eq!(store.get_tokens().await.expect("they are there").len(), 2);
}
