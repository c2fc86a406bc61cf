//! [`Plan`]: what a keeper makes of what it learns of tokens.
//!
//! It is all that is decided without asking anybody, so the simulated fleet uses it as it is.

use std::{collections::HashSet, time::Duration};

use tokenkeep_core::{Timestamp, TokenId};

use super::schedule::{Counts, Note, Schedule, Settings, Window};

/// How soon a renewal that failed is tried again, at the earliest; it doubles.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Which tokens are kept, until when they last, and when they are renewed.
#[derive(Debug)]
pub(super) struct Plan {
    schedule: Schedule,
    /// What was renewed while a page is read, which may have it as it was before.
    meanwhile: Option<HashSet<TokenId>>,
}

/// A token as it was seen, with what tells when to renew it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) issued_at: Option<Timestamp>,
    pub(super) expires_at: Timestamp,
    /// Whether this process had it renewed.
    pub(super) ours: bool,
}

impl Plan {
    pub(super) fn new(settings: Settings) -> Self {
        Self { schedule: Schedule::new(settings), meanwhile: None }
    }

    /// How long before its end a token is to be renewed at the latest.
    pub(super) fn margin(&self) -> Duration {
        self.schedule.settings().margin
    }

    pub(super) fn len(&self) -> usize {
        self.schedule.len()
    }

    /// How many are due and wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.schedule.waiting()
    }

    pub(super) fn counts(&self) -> Counts {
        self.schedule.counts()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.schedule.next_due()
    }

    /// Until when `id` lasts, as far as is known, if it is kept.
    pub(super) fn ends(&self, id: &TokenId) -> Option<Timestamp> {
        self.schedule.note(id).map(|note| note.ends)
    }

    /// A page is being read from now on, until [`end_page`](Self::end_page).
    pub(super) fn begin_page(&mut self) {
        self.meanwhile = Some(HashSet::new());
    }

    pub(super) fn end_page(&mut self) {
        self.meanwhile = None;
    }

    /// As [`see`](Self::see), of a token on the page that was read.
    pub(super) fn see_on_page(&mut self, id: &TokenId, seen: Seen, now: Timestamp) {
        if self.meanwhile.as_ref().is_none_or(|renewed| !renewed.contains(id)) {
            self.see(id, seen, now);
        }
    }

    /// Keeps the token from now on. If it is kept and lasts as long as is known, or its renewal is
    /// under way, whose outcome will tell, nothing changes.
    pub(super) fn see(&mut self, id: &TokenId, seen: Seen, now: Timestamp) {
        if let Some(ends) = self.ends(id)
            && (ends == seen.expires_at || !self.schedule.has_moment(id))
        {
            return;
        }
        let settings = self.schedule.settings();
        let window = match seen.issued_at.filter(|issued_at| *issued_at <= now) {
            Some(_) if seen.ours => settings.renewed(now, seen.expires_at),
            Some(issued_at) => settings.renewed_elsewhere(issued_at, seen.expires_at, now),
            None => settings.found(now, seen.expires_at),
        };
        self.give(id, seen.expires_at, window, now);
    }

    /// What a renewal has come to, here or elsewhere. Even if it is no token that lasts longer, it is
    /// given a moment, after a pause.
    pub(super) fn conclude(&mut self, id: &TokenId, seen: Seen, now: Timestamp) {
        if self.ends(id).is_none() {
            return;
        }
        if let Some(renewed) = &mut self.meanwhile {
            renewed.insert(id.clone());
        }
        let settings = self.schedule.settings();
        let window = if seen.ours {
            settings.renewed(now, seen.expires_at)
        } else {
            let issued_at = seen.issued_at.unwrap_or(now).min(now);
            settings.renewed_elsewhere(issued_at, seen.expires_at, now)
        };
        self.give(id, seen.expires_at, window, now);
    }

    fn give(&mut self, id: &TokenId, ends: Timestamp, window: Window, now: Timestamp) {
        self.schedule.insert(id, window, now);
        self.schedule.set_note(id, Note { ends, failures: 0 });
    }

    /// Has a token's renewal tried again: after a pause, and not before `at`.
    pub(super) fn fail(&mut self, id: &TokenId, at: Option<Timestamp>, now: Timestamp) {
        let Some(note) = self.schedule.note(id) else { return };
        let pause = RETRY_AFTER.saturating_mul(1 << note.failures.min(8)).min(LONGEST_PAUSE);
        self.schedule.set_note(id, Note { failures: note.failures.saturating_add(1), ..note });
        let soon = now.plus(pause);
        self.schedule.retry(id, at.unwrap_or(soon).max(soon), now);
    }

    /// The tokens whose moment has come, at most `limit`. Each is owed
    /// [`conclude`](Self::conclude), [`fail`](Self::fail) or [`drop_token`](Self::drop_token).
    pub(super) fn due(&mut self, now: Timestamp, limit: usize) -> Vec<TokenId> {
        self.schedule.due(now, limit)
    }

    pub(super) fn drop_token(&mut self, id: &TokenId) {
        self.schedule.remove(id);
    }
}
