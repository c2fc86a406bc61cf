//! `/emulator/…`, injected faults, starting and stopping.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokenkeep_emulator::{Config, DropWhen, Emulator, Fault, Stats};
use tokio::time::{Instant, timeout};

use crate::bench::{Bench, CLIENT_ID, CLIENT_SECRET, EMAIL, refresh_form};

const TOKEN: &str = "/oauth/v2/token";

#[tokio::test]
async fn everything_is_steered_over_http() {
    let bench = Bench::start().await;
    let body = json!({ "email": EMAIL, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET });
    let user = bench.post_json("/emulator/users", &body).await;
    assert_eq!(user.status, StatusCode::OK);
    bench.exchange(&user.token("grant_token"), &[]).await.token("access_token");
    let config = json!({ "access_token_lifetime_s": 7, "enforce_limits": false });
    assert_eq!(bench.post_json("/emulator/config", &config).await.status, StatusCode::OK);
    let reply = bench.refresh(&user.token("refresh_token")).await;
    assert_eq!(reply.json()["expires_in"], 7);
    assert!(bench.works(&reply.token("access_token")).await);
    assert_eq!(bench.post("/emulator/expire", &[]).await.status, StatusCode::OK);
    assert!(!bench.works(&reply.token("access_token")).await);

    let stats = bench.get("/emulator/stats").await.json();
    assert_eq!(
        stats,
        json!({
            "token_requests": { "authorization_code": 1, "refresh_token": 1 },
            "throttled": 0, "revocations": 0, "api_requests": 2, "api_unauthorized": 1,
            "faults": 0, "refreshes_granted": 1, "refreshes_replayed": 0, "families_revoked": 0,
        })
    );
    assert_eq!(serde_json::from_value::<Stats>(stats).unwrap(), bench.emulator.stats());

    let of_an_older_one = json!({
        "token_requests": {}, "throttled": 0, "revocations": 0, "api_requests": 0,
        "api_unauthorized": 0,
    });
    assert_eq!(serde_json::from_value::<Stats>(of_an_older_one).unwrap(), Stats::default());

    assert_eq!(bench.post("/emulator/reset", &[]).await.status, StatusCode::OK);
    assert_eq!(bench.emulator.stats(), Stats::default());
    assert_eq!(bench.refresh(&user.token("refresh_token")).await.error(), "invalid_client");
}

#[tokio::test]
async fn bad_input_names_its_field() {
    let bench = Bench::start().await;
    for (path, body, field) in [
        ("/emulator/users", json!([]), "body"),
        ("/emulator/users", json!({ "client_id": "a", "client_secret": "b" }), "email"),
        ("/emulator/users", json!({ "email": 1, "client_id": "a", "client_secret": "b" }), "email"),
        (
            "/emulator/users",
            json!({ "email": "a", "client_id": "", "client_secret": "b" }),
            "client_id",
        ),
        ("/emulator/users", json!({ "mail": "a" }), "mail"),
        ("/emulator/config", json!({ "grace_ms": -1 }), "grace_ms"),
        ("/emulator/config", json!({ "nonsense": 1 }), "nonsense"),
        ("/emulator/config", json!({ "fail_next": [{ "drop": 1 }] }), "fail_next[0].drop"),
        ("/emulator/device/accept", json!({ "user_code": "none", "email": "a" }), "user_code"),
    ] {
        let answer = bench.post_json(path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["field"], field);
        assert!(answer.token("message").contains(field));
    }
    let secret = bench.client.post(bench.url("/emulator/users")).body("{\"test-secret");
    let answer = secret.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(!answer.text().await.unwrap().contains("test-secret"));
}

#[tokio::test]
async fn a_fault_answers_in_its_place_and_once() {
    let bench = Bench::start().await;
    let user = bench.user();
    let faults = json!({ "fail_next": [
        { "path": TOKEN, "status": 503, "body": "<html>busy</html>" },
        { "path": TOKEN, "body": { "error": "general_error" } },
        { "path": "/crm/*", "status": 429, "body": { "code": "TOO_MANY_REQUESTS" } },
        { "path": TOKEN },
    ] });
    assert_eq!(bench.post_json("/emulator/config", &faults).await.status, StatusCode::OK);
    let first = bench.refresh(&user.refresh_token).await;
    assert_eq!(
        (first.status, first.text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "<html>busy</html>")
    );
    let second = bench.refresh(&user.refresh_token).await;
    assert_eq!((second.status, second.error()), (StatusCode::OK, "general_error".to_owned()));
    let third = bench.refresh(&user.refresh_token).await;
    assert_eq!(third.status, StatusCode::INTERNAL_SERVER_ERROR);
    let access = bench.refresh(&user.refresh_token).await.token("access_token");
    let limited = bench.read("/crm/v8/org", &access).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(bench.works(&access).await);
    let stats = bench.emulator.stats();
    assert_eq!((stats.faults, stats.token_requests_of("refresh_token")), (4, 1));
}

#[tokio::test]
async fn a_connection_is_dropped_before_the_effect() {
    let bench = Bench::start().await;
    let user = bench.user();
    let fault = Fault::dropping(TOKEN, DropWhen::Before);
    bench.emulator.configure(Config::new().fail_next([fault]));
    let error = bench.try_post(TOKEN, &refresh_form(&user.refresh_token)).await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{:?}", error.without_url());
    assert_eq!(bench.emulator.stats().token_requests_of("refresh_token"), 0);
    bench.refresh(&user.refresh_token).await.token("access_token");
}

#[tokio::test]
async fn a_connection_is_dropped_after_the_effect() {
    let bench = Bench::start().await;
    let user = bench.user();
    bench.emulator.configure(
        Config::new()
            .rotate_refresh_tokens(true)
            .fail_next([Fault::dropping(TOKEN, DropWhen::After)]),
    );
    bench.try_post(TOKEN, &refresh_form(&user.refresh_token)).await.unwrap_err();
    assert_eq!(bench.emulator.stats().token_requests_of("refresh_token"), 1);
    assert_eq!(
        bench.refresh(&user.refresh_token).await.error(),
        "invalid_code",
        "the token was rotated and the answer is lost"
    );
}

#[tokio::test]
async fn a_reply_that_takes_time_is_not_undone() {
    let bench = Bench::start().await;
    let user = bench.user();
    bench.emulator.configure(Config::new().token_latency_ms(30));
    let start = Instant::now();
    bench.refresh(&user.refresh_token).await.token("access_token");
    assert!(start.elapsed() >= Duration::from_millis(30));

    let config = Config::new().token_latency_ms(60_000).rotate_refresh_tokens(true);
    bench.emulator.configure(config);
    let form = refresh_form(&user.refresh_token);
    let impatient = bench.try_post(TOKEN, &form);
    let counted = async {
        while bench.emulator.stats().token_requests_of("refresh_token") < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = impatient => panic!("the answer takes a minute"),
        () = counted => {}
    }
    // The client is gone, and the token has rotated: once.
    assert_eq!(bench.emulator.stats().refreshes_granted, 2);
    assert_eq!(bench.emulator.stats().token_requests_of("refresh_token"), 2);
    let current = bench.emulator.current_refresh_token(&user.refresh_token).unwrap();
    assert_ne!(current, user.refresh_token);
    assert_eq!(bench.emulator.live_refresh_tokens(EMAIL), [current]);
}

#[tokio::test]
async fn debug_output_has_no_tokens() {
    let bench = Bench::start().await;
    let user = bench.user();
    let text = format!("{user:?} {:?} {:?}", bench.emulator, bench.emulator.stats());
    assert!(text.contains(EMAIL));
    for secret in [&user.grant_token, &user.refresh_token, &CLIENT_SECRET.to_owned()] {
        assert!(!text.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn it_stops() {
    let bench = Bench::start().await;
    let url = bench.url("/emulator/stats");
    // A connection that stays open must not hold it up.
    assert_eq!(bench.get("/emulator/stats").await.status, StatusCode::OK);
    timeout(Duration::from_secs(5), bench.emulator.stop()).await.unwrap();
    let error = bench.client.get(url).send().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let first = Emulator::start().await.unwrap();
    let error = Emulator::builder().port(first.port()).start().await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on 127.0.0.1:{}", first.port()));
}

#[tokio::test]
async fn it_is_the_data_centre_it_was_told_to_be() {
    let emulator = Emulator::builder()
        .location("eu")
        .environment("sandbox")
        .api_domain("http://127.0.0.1:1")
        .start()
        .await
        .unwrap();
    let user = emulator.add_user(EMAIL, CLIENT_ID, CLIENT_SECRET);
    assert_eq!(user.location, "eu");
    assert_eq!(user.api_domain, "http://127.0.0.1:1");
    let text = serde_json::to_value(&user).unwrap();
    assert_eq!(text.get("client_secret"), None::<&Value>);
}
