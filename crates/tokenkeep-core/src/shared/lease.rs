//! Leases: the right to refresh one token for a while, and the rules by which it changes hands.
//!
//! The rules are pure functions over a [`LeaseRecord`], the stored form; a store calls them inside
//! its transaction.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, TokenId};

/// The right to refresh one token until a moment, held by one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The token it is for.
    pub token_id: TokenId,
    /// Who holds it.
    pub holder: String,
    /// The fence: every lease of a token has a higher one than those before it.
    pub generation: u64,
    /// When others may take it.
    pub until: Timestamp,
}

/// What became of trying to take a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseAttempt {
    /// It was taken.
    Granted(Lease),
    /// Somebody else has it, and it ends then unless renewed.
    Held {
        /// When it ends.
        until: Timestamp,
    },
    /// There is no such token.
    NoToken,
}

/// The newest lease of a token as a store keeps it, also after it has ended: the generation must
/// go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseRecord {
    /// Who held it last.
    pub holder: String,
    /// Its generation.
    pub generation: u64,
    /// When it ends or has ended.
    pub until: Timestamp,
    /// For how long it was taken or renewed last, in milliseconds; 0 where that is not known.
    #[serde(default)]
    pub ttl_ms: u64,
}

impl LeaseRecord {
    /// A record read from a store.
    #[must_use]
    pub fn new(
        holder: impl Into<String>,
        generation: u64,
        until: Timestamp,
        ttl: Duration,
    ) -> Self {
        Self { holder: holder.into(), generation, until, ttl_ms: millis(ttl) }
    }

    /// Whether somebody has it at `now`.
    ///
    /// A lease that seems to last for more than twice the time it was taken for was taken by a
    /// clock that has been set back since: it counts as ended, or its dead holder would keep
    /// everybody waiting for as long as the clock moved.
    #[must_use]
    pub fn is_held(&self, now: Timestamp) -> bool {
        let left = millis(now.until(self.until));
        self.until > now && (self.ttl_ms == 0 || left <= self.ttl_ms.saturating_mul(2))
    }

    /// Whether `lease` is the newest one, taken over by nobody.
    ///
    /// It holds even after its end, as long as nobody else has taken it.
    #[must_use]
    pub fn is(&self, lease: &Lease) -> bool {
        self.generation == lease.generation && self.holder == lease.holder
    }
}

/// Takes the lease of a token whose newest one is `current`: the record to store, and what to
/// answer.
///
/// # Errors
///
/// The moment the current lease ends, if somebody has it.
pub fn take(
    current: Option<&LeaseRecord>,
    holder: &str,
    ttl: Duration,
    now: Timestamp,
) -> Result<LeaseRecord, Timestamp> {
    match current {
        Some(record) if record.is_held(now) => Err(record.until),
        Some(_) | None => {
            let generation = current.map_or(0, |record| record.generation) + 1;
            Ok(LeaseRecord::new(holder, generation, now.plus(ttl), ttl))
        }
    }
}

/// Renews `lease`: the record to store, or `None` if it has passed to somebody else or was given
/// back.
#[must_use]
pub fn renew(
    current: Option<&LeaseRecord>,
    lease: &Lease,
    ttl: Duration,
    now: Timestamp,
) -> Option<LeaseRecord> {
    current
        .filter(|record| record.is(lease) && record.until != RELEASED)
        .map(|record| LeaseRecord::new(&record.holder, record.generation, now.plus(ttl), ttl))
}

/// Gives `lease` back: the record to store, or `None` if it has passed to somebody else.
#[must_use]
pub fn release(current: Option<&LeaseRecord>, lease: &Lease) -> Option<LeaseRecord> {
    current
        .filter(|record| record.is(lease))
        .map(|record| LeaseRecord { until: RELEASED, ..record.clone() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The end of a lease that was given back. A renewal that comes late must not bring it to life.
const RELEASED: Timestamp = Timestamp::from_millis(0);

impl Lease {
    /// The lease that `record` stands for.
    #[must_use]
    pub fn from_record(token_id: TokenId, record: &LeaseRecord) -> Self {
        Self {
            token_id,
            holder: record.holder.clone(),
            generation: record.generation,
            until: record.until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn lease(record: &LeaseRecord) -> Lease {
        Lease::from_record(TokenId::from_number(1), record)
    }

    #[test]
    fn a_held_lease_is_not_given_again_until_it_ends() {
        let first = take(None, "a", TTL, NOW).unwrap();
        assert_eq!(take(Some(&first), "b", TTL, NOW), Err(NOW.plus(TTL)));
        assert_eq!(take(Some(&first), "a", TTL, NOW), Err(NOW.plus(TTL)));
        let second = take(Some(&first), "b", TTL, NOW.plus(TTL)).unwrap();
        assert_eq!(second.generation, first.generation + 1);
    }

    #[test]
    fn generations_go_on_after_a_release() {
        let first = take(None, "a", TTL, NOW).unwrap();
        let released = release(Some(&first), &lease(&first)).unwrap();
        assert_eq!(renew(Some(&released), &lease(&first), TTL, NOW), None);
        let second = take(Some(&released), "a", TTL, NOW).unwrap();
        assert_eq!(second.generation, 2);
        assert_eq!(release(Some(&second), &lease(&first)), None);
        assert_eq!(renew(Some(&second), &lease(&first), TTL, NOW), None);
    }

    #[test]
    fn an_ended_lease_that_nobody_took_can_be_renewed() {
        let first = take(None, "a", TTL, NOW).unwrap();
        let later = NOW.plus(TTL * 3);
        assert_eq!(renew(Some(&first), &lease(&first), TTL, later).unwrap().until, later.plus(TTL));
    }

    #[test]
    fn a_lease_of_a_clock_that_was_set_back_does_not_last() {
        let first = take(None, "a", TTL, NOW).unwrap();
        let hour = Duration::from_secs(3600);
        assert!(first.is_held(NOW) && first.is_held(NOW.minus(TTL)));
        assert!(!first.is_held(NOW.minus(hour)));
        assert_eq!(take(Some(&first), "b", TTL, NOW.minus(hour)).unwrap().generation, 2);
        // Of a record without it, nothing is concluded.
        let unknown = LeaseRecord { ttl_ms: 0, ..first };
        assert!(unknown.is_held(NOW.minus(hour)));
    }
}
