//! The server without a port: under paused time, so that nothing waits and nothing differs.

use std::time::Duration;

use serde_json::json;
use tokenkeep_emulator::{Config, Emulator};
use tokio::time::{Instant, advance, timeout};

use crate::bench::{CLIENT_ID, CLIENT_SECRET, EMAIL, Local, json_of, refresh_form, text};

const TOKEN: &str = "/oauth/v2/token";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn it_is_the_same_server() {
    let local = Local::new();
    let exchange = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("code", &local.user.grant_token),
    ];
    let reply = local.post(TOKEN, &exchange).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.content_type.as_deref(), Some("application/json;charset=UTF-8"));
    let body = json_of(&reply);
    assert_eq!(body["api_domain"], "http://127.0.0.1");

    let authorization = format!("Zoho-oauthtoken {}", text(&body, "access_token"));
    let headers = [("authorization", &*authorization)];
    let url = format!("{}/crm/v8/users?type=CurrentUser", local.server.url());
    let me = local.server.call("GET", &url, &headers, b"").await.unwrap();
    assert_eq!(json_of(&me)["users"][0]["email"], EMAIL);

    let again = local.post(TOKEN, &exchange).await.unwrap();
    assert_eq!(json_of(&again), json!({ "error": "invalid_code" }));
    assert_eq!(local.server.stats().token_requests_of("authorization_code"), 2);
    assert_eq!(local.server.stats().refreshes_granted, 0);

    let config = json!({ "access_token_lifetime_s": 7 }).to_string();
    local.server.call("POST", "/emulator/config", &[], config.as_bytes()).await.unwrap();
    assert_eq!(local.refreshed(&local.user.refresh_token).await["expires_in"], 7);
}

#[tokio::test(start_paused = true)]
async fn a_user_is_sent_where_the_header_says() {
    let local = Local::new();
    let path = format!(
        "/oauth/v2/auth?response_type=code&client_id={CLIENT_ID}&scope=ZohoCRM.users.READ\
         &redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb&access_type=offline&email={EMAIL}&decision=accept"
    );
    let reply = local.server.call("POST", &path, &[], b"").await.unwrap();
    assert!(reply.location.unwrap().starts_with("http://127.0.0.1:9/cb?"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_it_is_not_answered() {
    let local = Local::of(Emulator::builder().port(81));
    assert_eq!(local.server.url(), "http://127.0.0.1:81");
    assert_eq!(Emulator::builder().port(80).in_process().url(), "http://127.0.0.1");
    for (method, target, status) in [
        ("GET", "http://127.0.0.1:81/oauth/serverinfo", 200),
        ("GET", "/oauth/serverinfo", 200),
        ("GET", "/oauth/nothing", 404),
        ("GET", "/oauth/v2/token", 400),
        ("GET", "http://127.0.0.1:82/oauth/serverinfo", 421),
        ("GET", "http://127.0.0.1:811/oauth/serverinfo", 421),
        ("GET", "https://accounts.zoho.com/oauth/serverinfo", 421),
        ("GET", "", 421),
        ("GE T", "/oauth/serverinfo", 400),
        ("GET", "/oauth/server info", 400),
    ] {
        let reply = local.server.call(method, target, &[], b"").await.unwrap();
        assert_eq!(reply.status, status, "{method} {target}");
    }
    let bad = local.server.call("GET", "/", &[("a", "b\r\nc")], b"").await.unwrap();
    assert_eq!(bad.status, 400);
}

/// All that a server says in a row of requests.
async fn transcript(local: &Local) -> Vec<String> {
    local.server.configure(Config::new().rotate_refresh_tokens(true));
    let mut said = vec![serde_json::to_string(&local.user).unwrap()];
    let mut token = local.user.refresh_token.clone();
    for _ in 0..3 {
        let body = local.refreshed(&token).await;
        token = text(&body, "refresh_token");
        said.push(body.to_string());
    }
    let device = [
        ("grant_type", "device_request"),
        ("client_id", CLIENT_ID),
        ("scope", "ZohoCRM.users.READ"),
    ];
    let reply = local.post("/oauth/v3/device/code", &device).await.unwrap();
    said.push(json_of(&reply).to_string());
    said
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_it_the_same_each_time() {
    let mut local = Local::of(Emulator::builder().seed(42));
    let first = transcript(&local).await;
    assert_eq!(first, transcript(&Local::of(Emulator::builder().seed(42))).await);
    assert_ne!(first, transcript(&Local::of(Emulator::builder().seed(43))).await);
    assert_ne!(first, transcript(&Local::of(Emulator::builder())).await);
    local.server.reset();
    local.user = local.server.add_user(EMAIL, CLIENT_ID, CLIENT_SECRET);
    assert_eq!(first, transcript(&local).await);
}

#[tokio::test(start_paused = true)]
async fn a_reply_takes_tokios_time() {
    let local = Local::new();
    local.server.configure(Config::new().token_latency_ms(60_000));
    let began = Instant::now();
    local.refresh(&local.user.refresh_token).await.unwrap();
    assert_eq!(began.elapsed(), 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_has_been_made() {
    let local = Local::new();
    let config =
        Config::new().token_latency_ms(60_000).rotate_refresh_tokens(true).grace_ms(90_000);
    local.server.configure(config);
    let first = &local.user.refresh_token;
    timeout(SECOND, local.refresh(first)).await.unwrap_err();
    let stats = local.server.stats();
    assert_eq!((stats.token_requests_of("refresh_token"), stats.refreshes_granted), (1, 1));
    assert_eq!(local.server.minted_with(first), 1);
    let next = local.server.newest_refresh_token(EMAIL).unwrap();
    assert_ne!(&next, first);

    // What was lost can be had again, and is not minted again.
    let body = local.refreshed(first).await;
    assert_eq!(text(&body, "refresh_token"), next);
    let stats = local.server.stats();
    assert_eq!((stats.token_requests_of("refresh_token"), stats.refreshes_granted), (2, 1));
    assert_eq!((stats.refreshes_replayed, local.server.minted_with(first)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_tells_what_the_server_would_take() {
    let local = Local::new();
    let server = &local.server;
    server.configure(Config::new().rotate_refresh_tokens(true).grace_ms(10_000));
    let one = local.user.refresh_token.clone();
    for user in [EMAIL, &local.user.user_id] {
        assert_eq!(server.live_refresh_tokens(user), [&*one]);
        assert_eq!(server.newest_refresh_token(user).as_deref(), Some(&*one));
        assert!(server.refresh_tokens_in_grace(user).is_empty());
    }
    let body = local.refreshed(&one).await;
    let (two, access) = (text(&body, "refresh_token"), text(&body, "access_token"));
    advance(6 * SECOND).await;
    let three = text(&local.refreshed(&two).await, "refresh_token");
    for user in [EMAIL, &local.user.user_id] {
        assert_eq!(server.live_refresh_tokens(user), [&*one, &two, &three]);
        assert_eq!(server.refresh_tokens_in_grace(user), [&*one, &two]);
        assert_eq!(server.newest_refresh_token(user).as_deref(), Some(&*three));
    }
    advance(4 * SECOND).await;
    assert_eq!(server.refresh_tokens_in_grace(EMAIL), [&*two]);
    for token in [&one, &two, &three] {
        assert_eq!(server.current_refresh_token(token), Some(three.clone()));
    }
    assert_eq!([&one, &two, &three].map(|token| server.minted_with(token)), [1, 1, 0]);
    assert!(server.is_live_access_token(&access) && !server.is_live_access_token(&two));
    advance(3600 * SECOND).await;
    assert!(!server.is_live_access_token(&access));

    // A second login is a family of its own, and the latest.
    let other = server.add_user(EMAIL, "1000.OTHER", "test-other-secret").refresh_token;
    assert_eq!(server.newest_refresh_token(EMAIL), Some(other.clone()));
    assert_eq!(server.live_refresh_tokens(EMAIL), [&*three, &other]);
    assert!(server.live_refresh_tokens("nobody@example.com").is_empty());
    assert_eq!(server.newest_refresh_token("nobody@example.com"), None);
    assert_eq!(server.current_refresh_token("1000.unknown"), None);

    local.post("/oauth/v2/token/revoke", &[("token", &three)]).await.unwrap();
    assert_eq!(server.live_refresh_tokens(EMAIL), [&*other]);
    assert_eq!(server.current_refresh_token(&one), None);
    assert_eq!(server.minted_with(&one), 1, "it is still known what it did");
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_mints_nothing() {
    let local = Local::new();
    let token = &local.user.refresh_token;
    for _ in 0..12 {
        local.refreshed(token).await;
    }
    local.refreshed("1000.unknown").await;
    let stats = local.server.stats();
    assert_eq!((stats.token_requests_of("refresh_token"), stats.refreshes_granted), (13, 10));
    assert_eq!((stats.throttled, local.server.minted_with(token)), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn a_late_reuse_ends_the_family_where_that_is_configured() {
    for revoke in [false, true] {
        let local = Local::new();
        let server = &local.server;
        let config = Config::new().rotate_refresh_tokens(true).grace_ms(10_000);
        server.configure(config.revoke_family_on_reuse(revoke));
        let first = local.user.refresh_token.clone();
        let other = server.add_user(EMAIL, CLIENT_ID, CLIENT_SECRET).refresh_token;
        let body = local.refreshed(&first).await;
        let (next, access) = (text(&body, "refresh_token"), text(&body, "access_token"));

        advance(9 * SECOND).await;
        assert_eq!(local.refreshed(&first).await, body, "in its grace");
        advance(SECOND).await;
        // Not by somebody else, who has the token but not the client's secret.
        let mut thief = refresh_form(&first);
        thief[2].1 = "test-wrong";
        local.post(TOKEN, &thief).await.unwrap();
        assert!(server.is_live_access_token(&access));

        for _ in 0..2 {
            assert_eq!(local.refreshed(&first).await, json!({ "error": "invalid_code" }));
        }
        assert_eq!(server.stats().families_revoked, u64::from(revoke));
        assert_eq!(server.is_live_access_token(&access), !revoke);
        let live = server.live_refresh_tokens(EMAIL);
        assert_eq!(live.contains(&next), !revoke);
        assert!(live.contains(&other), "another login is another family");
        assert_eq!(local.refreshed(&next).await.get("error").is_some(), revoke);
    }
}

#[tokio::test(start_paused = true)]
async fn it_shows_no_tokens() {
    let local = Local::new();
    let reply = local.refresh(&local.user.refresh_token).await.unwrap();
    let shown = format!("{reply:?} {:?} {:?}", local.server, local.server.stats());
    assert!(shown.contains("127.0.0.1") && !shown.contains("1000."), "{shown}");
}
