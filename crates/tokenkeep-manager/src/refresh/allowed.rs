//! Whether the provider may be asked.

use std::time::Duration;

use tokenkeep_core::{Fingerprint, InFlight, Timestamp};
use tokenkeep_oauth::{MAX_RETRY_AFTER, THROTTLE_WINDOW};

use super::Held;
use crate::{
    ManagerError, RefreshReason, budget, metrics, place,
    slot::{Slot, Want},
};

/// How much the clocks of two machines may differ.
pub(super) const SKEW: Duration = Duration::from_secs(60);

/// Whether the provider may be asked to renew what is held.
///
/// # Errors
///
/// `NeedsLogin` if it has refused this grant before, or there is nothing to ask with; `Throttled`
/// if it has said so, or would; what it answered last, if that was a moment ago; `Store` if
/// there may be a newer refresh token in the spool.
pub(super) fn may_ask(slot: &Slot, want: &Want, held: &Held) -> Result<(), ManagerError> {
    let settings = &slot.manager.0.settings;
    held.is_all(slot)?;
    let (token, state, now) = (held.token(), held.state(), slot.manager.now());
    let Some(grant) = Fingerprint::of_grant(token) else {
        slot.forget_any();
        return Err(ManagerError::needs_login(&slot.id, "it has nothing that could renew it"));
    };
    if let Some(refused) = state.refused.as_ref().filter(|refused| refused.grant == grant)
        && refused.by == place::accounts_server(settings, token, Some(state))?.to_string()
    {
        return Err(ManagerError::needs_login(&slot.id, "its grant was refused before"));
    }
    if let Some(until) = state.throttled_until
        && now < until
        && is_believed(state.throttled_at, until, now)
    {
        return Err(ManagerError::throttled(&slot.id, until));
    }
    // The answer to a request that was counted before can be had for a while, and never again.
    let replay = settings.rules.replay;
    let is_to_be_had = |it: &InFlight| it.grant == grant && replay.allows(it.since.until(now));
    let is_replay = replay.rotates() && state.in_flight.as_ref().is_some_and(is_to_be_had);
    if let Some(budget) = settings.rules.budget.as_ref().filter(|_| !is_replay)
        && let Some(until) = budget::used_up(budget, state, want.can_wait(), now)
    {
        metrics::throttled(metrics::Throttle::Budget);
        let error = ManagerError::budget(&slot.id, budget.refreshes, budget.window, until);
        return Err(error);
    }
    // A person who asks gets an answer.
    if want.reason != RefreshReason::Asked
        && let Some(error) = slot.memory.contents().pauses.pause(now)
    {
        return Err(error);
    }
    Ok(())
}

/// Whether a throttling that was noted then, until `until`, holds. A clock that was wrong may have
/// noted it.
fn is_believed(noted_at: Option<Timestamp>, until: Timestamp, now: Timestamp) -> bool {
    match noted_at {
        Some(at) => at <= now.plus(SKEW) && at.until(until) <= MAX_RETRY_AFTER,
        None => now.until(until) <= 2 * THROTTLE_WINDOW,
    }
}
