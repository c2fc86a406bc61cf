//! Whether this machine's clock agrees with the accounts servers.

use std::{collections::BTreeSet, time::Duration};

use jiff::fmt::rfc2822;
use tokenkeep::{AccountsServer, DataCenter, Timestamp, TokenMeta};

use super::{Check, Verdict};
use crate::{context::Context, error::Failure};

/// Clocks that differ by more than this make tokens expire early or late.
const TOLERANCE: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn examine(
    context: &Context,
    metas: &[TokenMeta],
    checks: &mut Vec<Check>,
) -> Result<(), Failure> {
    let servers = match context.accounts_server()? {
        Some(server) => BTreeSet::from([server]),
        None => metas.iter().filter_map(server_of).collect(),
    };
    if servers.is_empty() {
        checks.push(Check::new("clock", Verdict::Skipped, "no token names its accounts server"));
        return Ok(());
    }
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| {
            Failure::failed(format!("the HTTP client cannot be made: {}", error.without_url()))
        })?;
    for server in servers {
        checks.push(clock(context, &http, &server).await);
    }
    Ok(())
}

/// The accounts server of a token, as far as it is known.
fn server_of(meta: &TokenMeta) -> Option<AccountsServer> {
    let state = meta.state.as_ref();
    let stored = state.and_then(|state| state.accounts_server.as_deref());
    if let Some(server) = stored.and_then(|server| AccountsServer::parse(server).ok()) {
        return Some(server);
    }
    let (data_center, _) = DataCenter::of_api_domain(meta.api_domain.as_deref()?)?;
    Some(data_center.accounts_server())
}

async fn clock(context: &Context, http: &reqwest::Client, server: &AccountsServer) -> Check {
    let before = context.clock.now();
    let answer = match http.get(format!("{server}/oauth/serverinfo")).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let why = crate::error::with_causes(&error.without_url());
            return Check::new(
                "clock",
                Verdict::Warning,
                format!("{server} does not answer: {why}"),
            )
            .hint("tokens cannot be refreshed while it does not; `--offline` skips this");
        }
    };
    let after = context.clock.now();
    let date = answer.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
    match date.and_then(|date| rfc2822::parse(date).ok()) {
        Some(date) => {
            let theirs = Timestamp::from_millis(date.timestamp().as_millisecond());
            judge(server, theirs, before, after)
        }
        None => Check::new("clock", Verdict::Skipped, format!("{server} answers without a date")),
    }
}

/// `theirs` is cut to whole seconds, and was written between `before` and `after`.
fn judge(server: &AccountsServer, theirs: Timestamp, before: Timestamp, after: Timestamp) -> Check {
    let latest = theirs.plus(Duration::from_secs(1));
    let (off, direction) = if before > latest {
        (latest.until(before), "ahead of")
    } else {
        (after.until(theirs), "behind")
    };
    if off <= TOLERANCE {
        return Check::new("clock", Verdict::Ok, format!("agrees with {server}"));
    }
    Check::new(
        "clock",
        Verdict::Failed,
        format!("this machine is {} s {direction} {server}", off.as_secs()),
    )
    .hint("set the clock, with NTP for example: tokens expire early or late by as much")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(ours: i64) -> Check {
        let server = AccountsServer::parse("http://127.0.0.1:9").unwrap();
        let ours = Timestamp::from_millis(ours);
        let theirs = Timestamp::from_millis(1_764_000_000_000);
        judge(&server, theirs, ours, ours.plus(Duration::from_millis(50)))
    }

    #[test]
    fn a_clock_may_be_off_by_half_a_minute_either_way() {
        for off in [0, 500, 30_000, -30_000] {
            assert_eq!(judged(1_764_000_000_000 + off).result, Verdict::Ok, "{off}");
        }
        let ahead = judged(1_764_000_090_000);
        assert_eq!(ahead.detail, "this machine is 89 s ahead of http://127.0.0.1:9");
        let behind = judged(1_763_999_900_000);
        assert_eq!(behind.result, Verdict::Failed);
        assert!(behind.detail.contains("99 s behind"), "{}", behind.detail);
    }
}
