//! The provider's budget: how often it may be asked to renew one token, counted by all processes
//! in the token's state.

use tokenkeep_core::{Timestamp, TokenState};
use tokenkeep_oauth::Budget;

/// How much of the budget is left to callers that must have a token, when it is renewed early.
const RESERVE: u32 = 2;

/// Until when nobody may ask, if the budget is used up at `now`.
///
/// `early` is a renewal that can wait: it leaves a reserve to those that cannot.
pub(crate) fn used_up(
    budget: &Budget,
    state: &TokenState,
    early: bool,
    now: Timestamp,
) -> Option<Timestamp> {
    let reserve = if early { RESERVE.min(budget.refreshes.saturating_sub(1)) } else { 0 };
    let allowed = usize::try_from(budget.refreshes - reserve).unwrap_or(usize::MAX);
    let mut asked: Vec<_> = counted(budget, state, now).collect();
    asked.sort_unstable();
    // The one whose leaving the window makes room.
    let oldest_in_the_way = asked.len().checked_sub(allowed)?;
    asked.get(oldest_in_the_way).map(|at| at.plus(budget.window))
}

/// Counts a request at `now`; what has left the window is forgotten.
pub(crate) fn count(budget: Option<&Budget>, state: &mut TokenState, now: Timestamp) {
    let Some(budget) = budget else {
        state.asked_at.clear();
        return;
    };
    state.asked_at = counted(budget, state, now).collect();
    state.asked_at.push(now);
}

/// Takes back one request that never reached the provider.
pub(crate) fn uncount(state: &mut TokenState, asked_at: Timestamp) {
    if let Some(at) = state.asked_at.iter().rposition(|at| *at == asked_at) {
        state.asked_at.remove(at);
    }
}

/// The requests in the window before `now`. One that seems to come was counted by a clock that has
/// been set back since, or by another machine's: it counts as one of now, while that can be.
fn counted(budget: &Budget, state: &TokenState, now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let (begin, end) = (now.minus(budget.window), now.plus(budget.window));
    state.asked_at.iter().copied().filter(move |at| *at > begin && *at < end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);
    const WINDOW: Duration = Duration::from_secs(600);

    fn zoho() -> Budget {
        tokenkeep_oauth::ProviderRules::zoho().budget.unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn the_tenth_refresh_is_the_last_until_the_first_leaves_the_window() {
        let mut state = TokenState::default();
        for n in 0..10 {
            assert_eq!(used_up(&zoho(), &state, false, at(n)), None, "{n}");
            count(Some(&zoho()), &mut state, at(n));
        }
        assert_eq!(used_up(&zoho(), &state, false, at(10)), Some(NOW.plus(WINDOW)));
        assert_eq!(used_up(&zoho(), &state, false, NOW.plus(WINDOW)), None);
        count(Some(&zoho()), &mut state, NOW.plus(WINDOW));
        assert_eq!(state.asked_at.len(), 10, "what has left the window is forgotten");
    }

    #[test]
    fn an_early_refresh_leaves_a_reserve() {
        let mut state = TokenState::default();
        for n in 0..8 {
            assert_eq!(used_up(&zoho(), &state, true, at(n)), None, "{n}");
            count(Some(&zoho()), &mut state, at(n));
        }
        assert_eq!(used_up(&zoho(), &state, true, at(8)), Some(NOW.plus(WINDOW)));
        assert_eq!(used_up(&zoho(), &state, false, at(8)), None);
    }

    #[test]
    fn a_request_that_was_not_sent_does_not_count() {
        let mut state = TokenState::default();
        count(Some(&zoho()), &mut state, at(1));
        count(Some(&zoho()), &mut state, at(2));
        uncount(&mut state, at(2));
        uncount(&mut state, at(3));
        assert_eq!(state.asked_at, [at(1)]);
    }

    #[test]
    fn what_a_wrong_clock_counted_does_not_block_for_long() {
        let mut state = TokenState::default();
        state.asked_at = vec![at(86_400); 10];
        assert_eq!(used_up(&zoho(), &state, false, NOW), None);
        state.asked_at = vec![at(30); 10];
        assert_eq!(used_up(&zoho(), &state, false, NOW), Some(at(630)));
    }
}
