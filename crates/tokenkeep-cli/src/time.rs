//! Moments as text.

use tokenkeep::Timestamp;

/// A moment for a person: RFC 3339 in UTC, or milliseconds where the calendar ends.
pub(crate) fn show(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(time) => time.to_string(),
        Err(_beyond_the_calendar) => format!("{} ms", at.as_millis()),
    }
}

/// A moment as the SDKs write it: milliseconds since the epoch, as decimal digits.
pub(crate) fn column(at: Timestamp) -> String {
    at.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(show(Timestamp::from_millis(1_764_000_000_000)), "2025-11-24T16:00:00Z");
        assert_eq!(show(Timestamp::from_millis(i64::MAX)), "9223372036854775807 ms");
    }
}
