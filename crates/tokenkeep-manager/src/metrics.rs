//! What a manager counts, through the facade of the `metrics` crate.
//!
//! A program that installs a recorder, such as a Prometheus exporter, gets these; without one they
//! cost next to nothing, and serving a token from memory counts nothing at all. No label names a
//! user or a token. Several managers of one process count together.
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `tokenkeep_refreshes_total` | counter | `reason`, `outcome` | refreshes that asked the provider |
//! | `tokenkeep_refresh_requests_total` | counter | `outcome` | requests for a token, one refresh may take several |
//! | `tokenkeep_adopted_total` | counter | | tokens that another process had refreshed |
//! | `tokenkeep_saves_total` | counter | `outcome` | attempts to store a new token |
//! | `tokenkeep_save_retries_total` | counter | | attempts to store a token that could not be stored before |
//! | `tokenkeep_recovered_total` | counter | `from` | tokens stored after all that could not be stored at once |
//! | `tokenkeep_lease_lost_total` | counter | | leases that passed on to another process during a refresh |
//! | `tokenkeep_needs_login_total` | counter | | grants that the provider refuses: a user has to log in |
//! | `tokenkeep_throttled_total` | counter | `by` | refreshes that had to wait for the provider's limit |
//! | `tokenkeep_rejected_total` | counter | | access tokens that the API refused before their end |
//! | `tokenkeep_refresh_seconds` | histogram | | how long a refresh that got a token took |
//! | `tokenkeep_lease_wait_seconds` | histogram | | how long a refresh waited for its turn among processes |
//! | `tokenkeep_unsaved_tokens` | gauge | | tokens that are used and not stored yet |
//! | `tokenkeep_keeper_tokens` | gauge | | tokens that keepers keep fresh |
//! | `tokenkeep_keeper_due` | gauge | | tokens of keepers that are due and wait for their turn |
//! | `tokenkeep_keeper_late_total` | counter | | tokens that expired before a keeper came to them |
//!
//! | label | values |
//! |---|---|
//! | `reason` | `expired`, `ahead`, `rejected`, `asked`, `kept`: see [`RefreshReason`](crate::RefreshReason) |
//! | `outcome` of a refresh | `refreshed`, `failed` |
//! | `outcome` of a request | `issued`, `refused`, `lost` (no answer came; it may have been heard) |
//! | `outcome` of a save | `saved`, `superseded` (by another login or process), `gone` (the token is deleted), `failed` |
//! | `from` | `memory`, `spool`, `replay`: see [`RecoveredFrom`](crate::RecoveredFrom) |
//! | `by` | `provider` (it said so), `budget` (it would have; it was not asked) |

use std::time::Duration;

use ::metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::EventKind;

/// `tokenkeep_refreshes_total`
pub const REFRESHES: &str = "tokenkeep_refreshes_total";
/// `tokenkeep_refresh_requests_total`
pub const REFRESH_REQUESTS: &str = "tokenkeep_refresh_requests_total";
/// `tokenkeep_adopted_total`
pub const ADOPTED: &str = "tokenkeep_adopted_total";
/// `tokenkeep_saves_total`
pub const SAVES: &str = "tokenkeep_saves_total";
/// `tokenkeep_save_retries_total`
pub const SAVE_RETRIES: &str = "tokenkeep_save_retries_total";
/// `tokenkeep_recovered_total`
pub const RECOVERED: &str = "tokenkeep_recovered_total";
/// `tokenkeep_lease_lost_total`
pub const LEASE_LOST: &str = "tokenkeep_lease_lost_total";
/// `tokenkeep_needs_login_total`
pub const NEEDS_LOGIN: &str = "tokenkeep_needs_login_total";
/// `tokenkeep_throttled_total`
pub const THROTTLED: &str = "tokenkeep_throttled_total";
/// `tokenkeep_rejected_total`
pub const REJECTED: &str = "tokenkeep_rejected_total";
/// `tokenkeep_refresh_seconds`
pub const REFRESH_SECONDS: &str = "tokenkeep_refresh_seconds";
/// `tokenkeep_lease_wait_seconds`
pub const LEASE_WAIT_SECONDS: &str = "tokenkeep_lease_wait_seconds";
/// `tokenkeep_unsaved_tokens`
pub const UNSAVED_TOKENS: &str = "tokenkeep_unsaved_tokens";
/// `tokenkeep_keeper_tokens`
pub const KEEPER_TOKENS: &str = "tokenkeep_keeper_tokens";
/// `tokenkeep_keeper_due`
pub const KEEPER_DUE: &str = "tokenkeep_keeper_due";
/// `tokenkeep_keeper_late_total`
pub const KEEPER_LATE: &str = "tokenkeep_keeper_late_total";

/// Tells the recorder what the names mean. Call it once, after a recorder was installed.
pub fn describe() {
    let each = Unit::Count;
    describe_counter!(REFRESHES, each, "refreshes that asked the provider");
    describe_counter!(REFRESH_REQUESTS, each, "requests to the provider for a token");
    describe_counter!(ADOPTED, each, "tokens that another process had refreshed");
    describe_counter!(SAVES, each, "attempts to store a new token");
    describe_counter!(SAVE_RETRIES, each, "attempts to store one that could not be before");
    describe_counter!(RECOVERED, each, "tokens stored that could not be stored at once");
    describe_counter!(LEASE_LOST, each, "leases that passed on during a refresh");
    describe_counter!(NEEDS_LOGIN, each, "grants that the provider refuses");
    describe_counter!(THROTTLED, each, "refreshes that had to wait for the provider's limit");
    describe_counter!(REJECTED, each, "access tokens that the API refused before their end");
    describe_histogram!(REFRESH_SECONDS, Unit::Seconds, "how long a refresh took");
    describe_histogram!(LEASE_WAIT_SECONDS, Unit::Seconds, "how long a refresh waited its turn");
    describe_gauge!(UNSAVED_TOKENS, each, "tokens that are used and not stored yet");
    describe_gauge!(KEEPER_TOKENS, each, "tokens that keepers keep fresh");
    describe_gauge!(KEEPER_DUE, each, "tokens of keepers that wait for their turn");
    describe_counter!(KEEPER_LATE, each, "tokens that expired before a keeper came to them");
}

/// What an event counts for.
pub(crate) fn count(event: &EventKind) {
    match event {
        EventKind::Refreshed { reason, took, .. } => {
            refresh(reason.as_str(), "refreshed");
            histogram!(REFRESH_SECONDS).record(*took);
        }
        EventKind::RefreshFailed { reason, .. } => refresh(reason.as_str(), "failed"),
        EventKind::Adopted => counter!(ADOPTED).increment(1),
        EventKind::NeedsLogin => counter!(NEEDS_LOGIN).increment(1),
        EventKind::Recovered { from } => {
            counter!(RECOVERED, "from" => from.as_str()).increment(1);
        }
        EventKind::LeaseLost { .. } => counter!(LEASE_LOST).increment(1),
        // A save that failed, and what is unsaved, are counted where it happens.
        EventKind::Unsaved { .. } | EventKind::LoggedIn | EventKind::Revoked => {}
    }
}

fn refresh(reason: &'static str, outcome: &'static str) {
    counter!(REFRESHES, "reason" => reason, "outcome" => outcome).increment(1);
}

/// What became of a request to the provider.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// It issued a token.
    Issued,
    /// It answered, and not with a token.
    Refused,
    /// No answer came. The provider may have heard it or not.
    Lost,
}

/// A request for a token was made.
pub(crate) fn requested(outcome: Request) {
    let outcome = match outcome {
        Request::Issued => "issued",
        Request::Refused => "refused",
        Request::Lost => "lost",
    };
    counter!(REFRESH_REQUESTS, "outcome" => outcome).increment(1);
}

/// What became of a new token that was to be stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Saved {
    Done,
    Superseded,
    Gone,
    Failed,
}

/// A new token was to be stored.
pub(crate) fn saved(outcome: Saved) {
    let outcome = match outcome {
        Saved::Done => "saved",
        Saved::Superseded => "superseded",
        Saved::Gone => "gone",
        Saved::Failed => "failed",
    };
    counter!(SAVES, "outcome" => outcome).increment(1);
}

/// A token that could not be stored is tried to be stored again.
pub(crate) fn save_retried() {
    counter!(SAVE_RETRIES).increment(1);
}

/// Who keeps a refresh from being made now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Throttle {
    /// The provider, which was asked.
    Provider,
    /// What is known of its limit; it was not asked.
    Budget,
}

/// A refresh has to wait for the provider's limit.
pub(crate) fn throttled(by: Throttle) {
    let by = match by {
        Throttle::Provider => "provider",
        Throttle::Budget => "budget",
    };
    counter!(THROTTLED, "by" => by).increment(1);
}

/// The API refused an access token before its end.
pub(crate) fn rejected() {
    counter!(REJECTED).increment(1);
}

/// A refresh waited this long for its lease.
pub(crate) fn waited_for_lease(time: Duration) {
    histogram!(LEASE_WAIT_SECONDS).record(time);
}

/// A keeper came to a token after its end.
pub(crate) fn kept_late() {
    counter!(KEEPER_LATE).increment(1);
}

/// A part of a gauge: what it was last set to counts, as long as it lives.
#[derive(Debug)]
pub(crate) struct Share {
    gauge: &'static str,
    count: u32,
}

impl Share {
    /// One token that is used and not stored yet.
    pub(crate) fn of_unsaved() -> Self {
        let mut share = Self { gauge: UNSAVED_TOKENS, count: 0 };
        share.set(1);
        share
    }

    /// The tokens of a keeper: none yet.
    pub(crate) const fn of_keeper_tokens() -> Self {
        Self { gauge: KEEPER_TOKENS, count: 0 }
    }

    /// The tokens of a keeper that are due: none yet.
    pub(crate) const fn of_keeper_due() -> Self {
        Self { gauge: KEEPER_DUE, count: 0 }
    }

    pub(crate) fn set(&mut self, count: u32) {
        if count >= self.count {
            gauge!(self.gauge).increment(count - self.count);
        } else {
            gauge!(self.gauge).decrement(self.count - count);
        }
        self.count = count;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests;
