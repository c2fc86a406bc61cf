//! Zoho's numbers, and the sliding window that most of them need. Times are in milliseconds.

use std::collections::VecDeque;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// How long a grant code may be exchanged.
pub(crate) const GRANT_LIFETIME: i64 = 2 * MINUTE;
/// The window of the two limits below.
pub(crate) const WINDOW: i64 = 10 * MINUTE;
/// Access tokens that one refresh token mints in a window.
pub(crate) const MINTS_PER_WINDOW: usize = 10;
/// Grant codes that one client gets from the authorisation page in a window.
pub(crate) const GRANTS_PER_WINDOW: usize = 10;
/// Access tokens of one refresh token that are valid at a time.
pub(crate) const LIVE_ACCESS_TOKENS: usize = 15;
/// Refresh tokens of one user with one client.
pub(crate) const REFRESH_TOKENS_PER_USER: usize = 20;
/// How long an access token is valid unless configured otherwise, in seconds.
pub(crate) const ACCESS_LIFETIME_S: u64 = 3600;
/// How long a device code waits for its user.
pub(crate) const DEVICE_LIFETIME: i64 = 5 * MINUTE;
/// How long a client waits between two polls for a device code, in seconds.
pub(crate) const DEVICE_INTERVAL_S: u64 = 30;
/// How long a page token is valid.
pub(crate) const PAGE_TOKEN_LIFETIME: i64 = 24 * 60 * MINUTE;

/// `seconds` as milliseconds; saturates.
pub(crate) fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SECOND)
}

/// The moments of what was admitted in the last [`WINDOW`].
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<i64>);

impl Window {
    /// Admits one more at `now`, or refuses because `limit` were admitted within the window.
    /// A refused one does not count.
    pub(crate) fn admit(&mut self, now: i64, limit: usize) -> bool {
        while self.0.front().is_some_and(|&moment| moment <= now.saturating_sub(WINDOW)) {
            self.0.pop_front();
        }
        if self.0.len() >= limit {
            return false;
        }
        self.0.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let mut window = Window::default();
        assert!(window.admit(0, 2));
        assert!(window.admit(1, 2));
        assert!(!window.admit(2, 2));
        assert!(!window.admit(WINDOW - 1, 2));
        assert!(window.admit(WINDOW, 2), "the first one is ten minutes old");
        assert!(!window.admit(WINDOW, 2), "the second one is not");
        assert!(window.admit(WINDOW + 1, 2));
    }
}
