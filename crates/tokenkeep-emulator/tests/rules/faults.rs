//! Faults with delays, and on either side of the effect. In process, under paused time.

use std::time::Duration;

use serde_json::json;
use tokenkeep_emulator::{Config, DropWhen, Fault};
use tokio::time::{Instant, timeout};

use crate::bench::{Local, json_of};

const TOKEN: &str = "/oauth/v2/token";
const SECOND: Duration = Duration::from_secs(1);

/// An emulator that rotates, with this fault before it.
fn with(fault: Fault) -> Local {
    let local = Local::new();
    local.server.configure(Config::new().rotate_refresh_tokens(true).fail_next([fault]));
    local
}

/// How many refreshes were asked for, and how many were granted.
fn counted(local: &Local) -> (u64, u64) {
    let stats = local.server.stats();
    assert_eq!(stats.faults, 1);
    (stats.token_requests_of("refresh_token"), stats.refreshes_granted)
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_dropped_on_either_side_of_the_effect() {
    for (when, granted) in [(DropWhen::Before, (0, 0)), (DropWhen::After, (1, 1))] {
        let fault = Fault::dropping(TOKEN, when).delay_before_ms(2000).delay_after_ms(3000);
        let local = with(fault);
        let began = Instant::now();
        let dropped = local.refresh(&local.user.refresh_token).await.unwrap_err();
        assert_eq!(
            (dropped.when, dropped.to_string().as_str()),
            (when, "the connection was dropped")
        );
        assert_eq!(began.elapsed(), 5 * SECOND);
        assert_eq!(counted(&local), granted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_on_either_side_of_the_effect() {
    let local = with(Fault::delaying(TOKEN).delay_before_ms(2000).delay_after_ms(3000));
    let began = Instant::now();
    let looks = async {
        tokio::time::sleep(Duration::from_millis(1999)).await;
        assert_eq!(counted(&local), (0, 0));
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(counted(&local), (1, 1));
    };
    let (reply, ()) = tokio::join!(local.refresh(&local.user.refresh_token), looks);
    assert_eq!(began.elapsed(), 5 * SECOND);
    assert!(json_of(&reply.unwrap())["access_token"].is_string(), "the real reply, late");
    assert_eq!(counted(&local), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_during_a_delay_undoes_nothing_that_was_done() {
    for (fault, granted) in [
        (Fault::delaying(TOKEN).delay_before_ms(2000), (0, 0)),
        (Fault::delaying(TOKEN).delay_after_ms(2000), (1, 1)),
    ] {
        let local = with(fault);
        timeout(SECOND, local.refresh(&local.user.refresh_token)).await.unwrap_err();
        tokio::time::sleep(9 * SECOND).await;
        assert_eq!(counted(&local), granted);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_stand_in_for_that_of_what_was_done() {
    for (effect, granted) in [(false, (0, 0)), (true, (1, 1))] {
        let fault = Fault::answering(TOKEN, 504, "<html>late</html>").effect(effect);
        let local = with(fault.delay_before_ms(1000).retry_after_s(30));
        let began = Instant::now();
        let reply = local.refresh(&local.user.refresh_token).await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (504, &b"<html>late</html>"[..]));
        assert_eq!(reply.content_type.as_deref(), Some("text/html;charset=UTF-8"));
        assert_eq!(reply.retry_after.as_deref(), Some("30"));
        assert_eq!(began.elapsed(), SECOND);
        assert_eq!(counted(&local), granted);
    }
}

#[tokio::test(start_paused = true)]
async fn the_json_of_a_fault_says_the_same() {
    let local = Local::new();
    let config = json!({ "fail_next": [
        { "path": TOKEN, "delay_before_ms": 1000, "delay_after_ms": 2000 },
        { "path": TOKEN, "status": 429, "retry_after_s": 5 },
        { "path": TOKEN },
    ] });
    let config = config.to_string();
    let set = local.server.call("POST", "/emulator/config", &[], config.as_bytes()).await.unwrap();
    assert_eq!(set.status, 200);
    let began = Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let reply = local.refresh(&local.user.refresh_token).await.unwrap();
        statuses.push((reply.status, reply.retry_after.as_deref().map(str::to_owned)));
    }
    assert_eq!(statuses, [(200, None), (429, Some("5".to_owned())), (500, None), (200, None)]);
    assert_eq!(began.elapsed(), 3 * SECOND);
}
