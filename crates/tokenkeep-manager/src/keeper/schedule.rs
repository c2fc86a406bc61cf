//! [`Schedule`]: which tokens are due for renewal now.
//!
//! It has no clock, no task and no randomness of its own: the same calls with the same seed give
//! the same answers. What it costs follows what is due, not what is kept.

mod load;
#[cfg(test)]
mod simulated_day;
#[cfg(test)]
mod simulated_fleet;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt::{self, Debug},
    hash::{Hash, Hasher},
};

use hashbrown::HashTable;
use tokenkeep_core::{Timestamp, TokenId};

use self::load::{Load, Span, Tiers};
pub(crate) use self::window::{Settings, Window};

/// Knows when each of many tokens is to be renewed, and says which are due.
///
/// A token is given with the [`Window`] in which its renewal is wanted. The schedule chooses a
/// moment in it: late, because a renewal too early is wasted; but not where many others are
/// already, so that the load is level. The moment differs by host, so that of two hosts which
/// keep the same tokens one comes first and the other finds the work done.
///
/// # Guarantees
///
/// - A token is due no later than the second in which its window ends, and not before the window
///   begins unless the window is shorter than a second.
/// - A token that [`due`](Self::due) has named is not named again until it is given a new moment
///   by [`insert`](Self::insert) or [`retry`](Self::retry). Who takes a token from `due` owes it
///   one of these, or [`remove`](Self::remove), however the renewal ends.
/// - What has become due stays due until it is named or given a new moment, also when the clock is
///   set back.
/// - Each operation on one token takes O(log n); `due` takes O(log n) for each token that becomes
///   due or is named.
pub(crate) struct Schedule {
    settings: Settings,
    /// All that is kept, by number; what was removed leaves a gap that is filled again.
    entries: Vec<Option<Entry>>,
    gaps: Vec<u32>,
    /// The number of each id.
    numbers: HashTable<u32>,
    /// The first of the tokens whose moment is in that second.
    seconds: BTreeMap<u32, u32>,
    /// Those whose moment has come, the ones that end first in front.
    ready: BTreeSet<Turn>,
    tiers: Tiers,
    counts: Counts,
}

/// What a [`Schedule`] has done so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tokens named by [`Schedule::due`].
    pub(crate) named: u64,
    /// Those of them whose window had ended when they were named.
    pub(crate) late: u64,
    /// Entries looked at to name them.
    pub(crate) touched: u64,
    /// Steps made to choose moments for those that got one.
    pub(crate) steps: u64,
}

struct Entry {
    id: TokenId,
    /// Of the id and the seed.
    hash: u64,
    /// The end of its window.
    latest: Timestamp,
    place: Place,
    load: Load,
    /// Neighbours in the list of its second; itself at the ends.
    before: u32,
    after: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Waits for this second.
    Second(u32),
    /// Its second has come.
    Ready,
    /// Was named by `due`, and has no moment yet.
    Named,
}

/// A place in the queue of what is due: end of the window, hash, number. Tokens that end at the
/// same moment take their turns in an order that differs by host.
type Turn = (Timestamp, u64, u32);

impl Schedule {
    /// A schedule of no tokens.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            entries: Vec::new(),
            gaps: Vec::new(),
            numbers: HashTable::new(),
            seconds: BTreeMap::new(),
            ready: BTreeSet::new(),
            tiers: Tiers::new(settings.seed),
            counts: Counts::default(),
        }
    }

    /// What it was made with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many tokens it keeps, those that were named and wait for a new moment included.
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// How many are due and were not yet named, as of the last call of [`due`](Self::due).
    pub(crate) fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// What it has done so far.
    pub(crate) fn counts(&self) -> Counts {
        Counts { steps: self.tiers.steps(), ..self.counts }
    }

    /// Keeps `id` from now on, to be renewed in `window`; if it is kept already, because it was
    /// renewed, by whomever, that is its new one. Says whether it was not kept before.
    pub(crate) fn insert(&mut self, id: TokenId, window: Window, now: Timestamp) -> bool {
        let known = self.number(&id);
        let number = known.unwrap_or_else(|| self.add(id, window.latest));
        self.move_to(number, window, now, known.is_some());
        known.is_none()
    }

    /// Makes `id` due again from `at` on, after a renewal failed. Its window ends when it ended,
    /// so it keeps its rank among what is due. Says whether it is kept.
    ///
    /// Tokens that failed together do not come back together: each has a moment of its own between
    /// `at` and twice the pause, but before its window ends if that is after `at`.
    pub(crate) fn retry(&mut self, id: &TokenId, at: Timestamp, now: Timestamp) -> bool {
        let Some(number) = self.number(id) else { return false };
        self.withdraw(number);
        let latest = self.entry(number).latest;
        let end = at.plus(now.until(at)).min(latest.max(at));
        let span = Span::of(Window { earliest: at, latest: end }, now);
        self.settle(number, span.evenly());
        true
    }

    /// Keeps `id` no longer. Says whether it was kept.
    pub(crate) fn remove(&mut self, id: &TokenId) -> bool {
        let hash = self.hash(id);
        let found = self.numbers.find_entry(hash, |&number| is(&self.entries, number, id));
        let Ok(found) = found else { return false };
        let (number, _) = found.remove();
        self.withdraw(number);
        let entry = self.entries[number as usize].take().expect("a number names an entry");
        self.tiers.leave(entry.load);
        self.gaps.push(number);
        true
    }

    /// The tokens whose moment has come, at most `limit`, those that end first in front.
    ///
    /// What is over the limit is due in the next call. With a `now` before that of an earlier call
    /// there may be fewer, but what that call found due is still due.
    pub(crate) fn due(&mut self, now: Timestamp, limit: usize) -> Vec<TokenId> {
        self.wake(load::second(now));
        let mut named = Vec::with_capacity(limit.min(self.ready.len()));
        while named.len() < limit
            && let Some((latest, _, number)) = self.ready.pop_first()
        {
            let entry = self.entry_mut(number);
            entry.place = Place::Named;
            named.push(entry.id.clone());
            self.counts.touched += 1;
            self.counts.named += 1;
            self.counts.late += u64::from(latest < now);
        }
        named
    }

    /// When [`due`](Self::due) has something to name: until then it need not be asked. That is the
    /// beginning of time if something is due already; `None` if nothing waits for a moment.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if !self.ready.is_empty() {
            return Some(Timestamp::from_millis(i64::MIN));
        }
        let (&second, _) = self.seconds.first_key_value()?;
        Some(load::timestamp(second))
    }

    /// Puts all whose second has come into the queue.
    fn wake(&mut self, now: u32) {
        while let Some(second) = self.seconds.first_entry()
            && *second.key() <= now
        {
            let (second, mut number) = second.remove_entry();
            loop {
                let turn = self.turn(number);
                self.ready.insert(turn);
                self.counts.touched += 1;
                let entry = self.entry_mut(number);
                entry.place = Place::Ready;
                let (load, after) = (entry.load, entry.after);
                self.tiers.release(load, second);
                if after == number {
                    break;
                }
                number = after;
            }
        }
    }

    /// Chooses a moment in a new window.
    fn move_to(&mut self, number: u32, window: Window, now: Timestamp, renewed: bool) {
        self.withdraw(number);
        let span = Span::of(window, now);
        let old = self.entry(number).load;
        let load = self.tiers.transfer(old, span, renewed);
        let entry = self.entry_mut(number);
        entry.latest = window.latest;
        entry.load = load;
        self.settle(number, span);
    }

    /// Gives a token that has no moment one in `span`.
    fn settle(&mut self, number: u32, span: Span) {
        let entry = self.entry(number);
        if span.has_ended() {
            let turn = self.turn(number);
            self.entry_mut(number).place = Place::Ready;
            self.ready.insert(turn);
            return;
        }
        let (load, dice) = (entry.load, entry.dice());
        let second = self.tiers.occupy(load, span, dice, self.numbers.len());
        let next = self.seconds.insert(second, number);
        if let Some(next) = next {
            self.entry_mut(next).before = number;
        }
        let entry = self.entry_mut(number);
        entry.place = Place::Second(second);
        entry.before = number;
        entry.after = next.unwrap_or(number);
    }

    /// Takes a token's moment away, if it has one.
    fn withdraw(&mut self, number: u32) {
        let entry = self.entry(number);
        let (before, after, load) = (entry.before, entry.after, entry.load);
        match entry.place {
            Place::Named => return,
            Place::Ready => {
                let turn = self.turn(number);
                self.ready.remove(&turn);
            }
            Place::Second(second) => {
                self.tiers.release(load, second);
                let (first, last) = (before == number, after == number);
                if !first {
                    self.entry_mut(before).after = if last { before } else { after };
                }
                if !last {
                    self.entry_mut(after).before = if first { after } else { before };
                }
                if first && last {
                    self.seconds.remove(&second);
                } else if first {
                    self.seconds.insert(second, after);
                }
            }
        }
        self.entry_mut(number).place = Place::Named;
    }

    fn add(&mut self, id: TokenId, latest: Timestamp) -> u32 {
        let hash = self.hash(&id);
        let number = self.gaps.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("memory ends before 2^32 tokens")
        });
        let (place, load) = (Place::Named, Load::default());
        let entry = Entry { id, hash, latest, place, load, before: number, after: number };
        self.entries[number as usize] = Some(entry);
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |&number| entry_of(entries, number).hash);
        number
    }

    fn number(&self, id: &TokenId) -> Option<u32> {
        self.numbers.find(self.hash(id), |&number| is(&self.entries, number, id)).copied()
    }

    fn entry(&self, number: u32) -> &Entry {
        entry_of(&self.entries, number)
    }

    fn entry_mut(&mut self, number: u32) -> &mut Entry {
        self.entries[number as usize].as_mut().expect("a number names an entry")
    }

    fn turn(&self, number: u32) -> Turn {
        let entry = self.entry(number);
        (entry.latest, entry.hash, number)
    }

    fn hash(&self, id: &TokenId) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.settings.seed, id).hash(&mut hasher);
        hasher.finish()
    }
}

impl Entry {
    /// A number that is as good as random, and differs by token, host and window.
    fn dice(&self) -> u64 {
        load::mix(self.hash ^ load::mix(self.latest.as_millis().unsigned_abs()))
    }
}

impl Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("len", &self.len())
            .field("waiting", &self.waiting())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn entry_of(entries: &[Option<Entry>], number: u32) -> &Entry {
    entries[number as usize].as_ref().expect("a number names an entry")
}

fn is(entries: &[Option<Entry>], number: u32, id: &TokenId) -> bool {
    entry_of(entries, number).id == *id
}
