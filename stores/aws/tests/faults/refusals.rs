//! Answers that are none, and what a person is told.

use std::time::Duration;

use tokenkeep_core::{
    LeaseAttempt, Outcome, Replaced, SharedStore, StateReplaced, StoreErrorKind, TokenQuery,
    TokenState, TokenStore,
};
use tokenkeep_store_aws::dynamodb::DynamoDbConfig;

use crate::{
    answers::{Answer, Answers},
    check_shown, name, secret, table, token,
    work::{self, Work},
};

const THROTTLED: Answer = Answer::Refuse("ThrottlingException", 400);
const EXCEEDED: Answer = Answer::Refuse("ProvisionedThroughputExceededException", 400);
const FAILED: Answer = Answer::Refuse("InternalServerError", 500);

/// Throttled once, done but not told, refused for a moment: the answer is right in the end, and
/// nothing is done twice.
pub(crate) async fn waited_out(moto: u16) {
    let proxy = Answers::start(moto).await;
    let name = name();
    table(&name, moto).create_table().await.expect("a table");
    let dynamodb = table(&name, proxy.port).open().await.expect("a store");
    let secrets = secret(&name, proxy.port).open().await.expect("a store");
    let stores: [&dyn TokenStore; 2] = [&dynamodb, &secrets];
    for store in stores {
        for (round, answers) in [
            vec![THROTTLED, EXCEEDED, FAILED],
            vec![Answer::Pass, THROTTLED],
            vec![Answer::Pass, Answer::DoneButFailed],
            vec![Answer::Pass, Answer::Pass, THROTTLED, Answer::DoneButFailed],
            vec![Answer::Pass, Answer::Pass, Answer::DoneButFailed, FAILED],
        ]
        .into_iter()
        .enumerate()
        {
            proxy.next(answers);
            let alice = token("alice", &round.to_string());
            let saved = store.save_token(&alice).await.expect("it is saved in the end");
            while !proxy.is_done() {
                store.get_tokens().await.expect("they are there");
            }
            assert_eq!(saved.access_token(), alice.access_token());
            let query = TokenQuery::user("alice").expect("a query");
            assert_eq!(store.find_token(&query).await.expect("it is found"), Some(saved));
            assert_eq!(store.get_tokens().await.expect("they are there").len(), 1);
        }
    }
    let alice = dynamodb.get_tokens().await.expect("they are there").remove(0);
    let id = alice.id().expect("an id").clone();
    proxy.next([Answer::Pass, Answer::DoneButFailed]);
    let attempt = dynamodb.try_lease(&id, "a", Duration::from_secs(60)).await.expect("an answer");
    let LeaseAttempt::Granted(lease) = attempt else { panic!("nobody has it: {attempt:?}") };
    proxy.next([Answer::Pass, Answer::DoneButFailed]);
    let state = TokenState::default();
    let written = dynamodb.replace_state(&id, None, &state).await.expect("an answer");
    assert_eq!(written, StateReplaced::Written);
    proxy.next([Answer::Pass, Answer::DoneButFailed]);
    let new = token("alice", "new");
    let replaced = dynamodb.replace_token(&alice, &new, Some(&lease)).await.expect("an answer");
    assert!(matches!(replaced, Replaced::Saved(_)), "{replaced:?}");
    proxy.next([Answer::Pass, Answer::DoneButFailed]);
    assert!(dynamodb.delete_token(&id).await.expect("an answer"));
    assert!(proxy.is_done());
}

/// Each request of each operation is throttled, fails, or is done and not told, once: it is done in
/// the end, and once.
pub(crate) async fn each(moto: u16) {
    let proxy = Answers::start(moto).await;
    let name = name();
    let store = secret(&name, proxy.port).open().await.expect("a store");
    let witness = secret(&name, moto).open().await.expect("a store");
    for (number, answer) in [THROTTLED, FAILED, Answer::DoneButFailed].into_iter().enumerate() {
        for work in Work::ALL {
            for request in 0.. {
                let user = format!("{work:?}-{number}-{request}");
                let scene = work::prepare(&witness, work, &user).await;
                proxy.next(std::iter::repeat_n(Answer::Pass, request).chain([answer]));
                let claim = scene.run(&store).await;
                let is_done = proxy.is_done();
                proxy.clear();
                scene.check(&witness, &claim, &format!("{answer:?} to request {request}")).await;
                claim.expect("it is done in the end");
                if !is_done {
                    assert!(request > 1, "{work:?}: nothing was asked");
                    break;
                }
            }
        }
    }
    let tokens = witness.get_tokens().await.expect("they are there").len() as u64;
    witness.sweep(Duration::ZERO).await.expect("an answer");
    let secrets = witness.delete_secrets(None).await.expect("an answer");
    assert_eq!(secrets, tokens + 2, "a secret a token, the index and the root");
}

/// It is told within the limit, and that nothing was done; or that nobody knows.
pub(crate) async fn endless(moto: u16) {
    let proxy = Answers::start(moto).await;
    let name = name();
    table(&name, moto).create_table().await.expect("a table");
    let limit = Duration::from_millis(600);
    let dynamodb = table(&name, proxy.port).timeout(limit).open().await.expect("a store");
    let secrets = secret(&name, proxy.port).timeout(limit).open().await.expect("a store");
    let stores: [&dyn TokenStore; 2] = [&dynamodb, &secrets];
    for store in stores {
        proxy.all(THROTTLED);
        let error = store.save_token(&token("alice", "1")).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Busy, Outcome::NotApplied));
        check_shown(&error);
        let error = store.get_tokens().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Busy);
        proxy.all(Answer::Pass);
        let alice = store.save_token(&token("alice", "1")).await.expect("it works again");
        // What comes first passes: what is read, and a version that is not current yet. What then
        // makes the change fails and may have been done.
        let first = if format!("{store:?}").contains("SecretsManager") { 3 } else { 2 };
        proxy.next(std::iter::repeat_n(Answer::Pass, first));
        proxy.all(FAILED);
        let error = store.save_token(&token("alice", "2")).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        check_shown(&error);
        assert_eq!(error.outcome(), Outcome::Unknown, "{store:?}: {error:?}");
        proxy.clear();
        proxy.all(Answer::Pass);
        let stored = store.get_tokens().await.expect("it works again");
        assert_eq!(stored, [alice]);
    }
}

pub(crate) async fn told(moto: u16) {
    let proxy = Answers::start(moto).await;
    let name = name();
    let error = table(&name, moto).open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("no such table"), "{error}");
    check_shown(&error);

    table(&name, moto).create_table().await.expect("a table");
    let dynamodb = table(&name, proxy.port).open().await.expect("a store");
    let secrets = secret(&name, proxy.port).open().await.expect("a store");
    let stores: [&dyn TokenStore; 2] = [&dynamodb, &secrets];
    for store in stores {
        for (code, words) in [
            ("AccessDeniedException", "does not let these credentials"),
            ("UnrecognizedClientException", "does not take these credentials"),
            ("InvalidSignatureException", "does not take these credentials"),
            ("ExpiredTokenException", "have expired"),
        ] {
            proxy.all(Answer::Refuse(code, 400));
            let error = store.save_token(&token("alice", "1")).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::PermissionDenied, "{code}");
            assert_eq!(error.outcome(), Outcome::Final, "{code}");
            assert!(error.to_string().contains(words), "{error}");
            check_shown(&error);
        }
        proxy.all(Answer::Pass);
    }
    for shown in [format!("{dynamodb:?}"), format!("{secrets:?}")] {
        assert!(shown.contains(&name) && !shown.contains("test-key"), "{shown}");
    }
}

pub(crate) async fn documented(moto: u16) {
    let name = name();
    let config: DynamoDbConfig = table(&name, moto).expire_after(Duration::from_secs(86_400));
    config.create_table().await.expect("a table");
    config.create_table().await.expect("one that is there is left as it is");
    let store = config.open().await.expect("a store");
    for user in ["alice", "bob"] {
        store.save_token(&token(user, user)).await.expect("it is saved");
    }
    let inspection = store.inspect().await.expect("it is looked over");
    assert_eq!((inspection.tokens, inspection.last_id, inspection.marks), (2, 2, 16));
    assert_eq!(inspection.billing.as_deref(), Some("PAY_PER_REQUEST"));
    assert!(inspection.not_findable.is_empty() && inspection.duplicates.is_empty());
    assert_eq!((inspection.dangling, inspection.damage.len()), (0, 0));

    // No key of an item shows a name or a secret.
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let scan = client.post(format!("http://127.0.0.1:{moto}/"));
    let scan = scan.header("x-amz-target", "DynamoDB_20120810.Scan");
    let scan = scan.header("content-type", "application/x-amz-json-1.0");
    let scan = scan.header(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=test",
    );
    let all = scan.body(format!(r#"{{"TableName":"{name}"}}"#)).send().await.expect("an answer");
    let all = all.text().await.expect("text");
    assert_eq!(all.matches(r#""expire_at""#).count(), 2, "{all}");
    let keys: Vec<&str> =
        all.split(r#""pk": {"S": ""#).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    // Two tokens with three keys each, the format, the counter of ids, two marks.
    assert_eq!(keys.len(), 12, "{keys:?}");
    for key in keys {
        assert!(!key.contains("alice") && !key.contains("test-"), "{key}");
    }
    // A listing of nothing asked for is no error.
    assert!(store.page(None, 0).await.expect("a page").tokens.is_empty());
}

pub(crate) async fn unreachable() {
    // Nobody listens where nobody may.
    for error in [
        table("test-table", 1).timeout(Duration::from_millis(500)).open().await.err(),
        secret("test", 1).timeout(Duration::from_millis(500)).open().await.err(),
    ] {
        let error = error.expect("nobody is there");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
        check_shown(&error);
    }
}
