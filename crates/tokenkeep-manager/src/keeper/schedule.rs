//! [`Schedule`]: which tokens are due for renewal now.
//!
//! It has no clock, no task and no randomness of its own: the same calls with the same seed give
//! the same answers. What it costs follows what is due, not what is kept.

mod id;
mod load;
#[cfg(test)]
pub(super) mod simulated_day;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Debug},
};

use hashbrown::HashTable;
use tokenkeep_core::{Timestamp, TokenId};

pub(crate) use self::window::{Renewed, Settings, Window};
use self::{
    id::Id,
    load::{Load, Span, Tiers},
};

/// Knows when each of many tokens is to be renewed, and says which are due.
///
/// A token is given with the [`Window`] in which its renewal is wanted. The schedule chooses a
/// moment in it: late, because a renewal too early is wasted; but not where many others are
/// already, so that the load is level.
///
/// # Several hosts
///
/// Hosts that keep the same tokens do not know each other. What a host sees is who renewed a token
/// last: it, another one, or nobody that is known ([`Renewed`]). By that they share the work:
///
/// - **What it renewed itself** it levels among its own, as if there were nothing else, and is done a
///   little before the window ends: it leaves the end to others, or to itself after an interruption.
/// - **What another one renewed** it comes to at the end of the window, at a moment that differs by
///   host: then it has usually been renewed, and the one that did it goes on with it. If not, that
///   one has died or cannot follow, and the first of the others takes the token over.
/// - **What nobody is known to have renewed** all plan alike, because all know the same; when its
///   moment has come and others are at work, each stands back for a while that differs by host, so
///   that one comes first.
///
/// So each level plan is that of one host, their sum is level too, and hosts do not meet. A host that
/// has seen no other one at work does not stand back.
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
    /// The load of what is renewed here: what was, and what may be because nobody is known to have.
    tiers: Tiers,
    /// The load of what others have renewed.
    standby: Tiers,
    lately: Lately,
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

/// What a host remembers of a token, beside its moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    /// When it ends, as far as is known.
    pub(crate) ends: Timestamp,
    /// How often its renewal has failed since the last one that did not.
    pub(crate) failures: u8,
}

/// There are millions of these: 56 bytes each.
struct Entry {
    id: Id,
    /// The end of its window.
    latest: Timestamp,
    ends: Timestamp,
    load: Load,
    /// The second it waits for, if it does.
    second: u32,
    /// Neighbours in the list of its second; itself at the ends.
    before: u32,
    after: u32,
    place: Place,
    failures: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Waits for the second that was chosen for it.
    Waits,
    /// Its second had come, and it waits for a later one: another host may come first.
    StandsBack,
    /// Its second has come.
    Ready,
    /// Was named by `due`, and has no moment yet.
    Named,
}

/// Who has renewed tokens in the last one or two of their lives.
#[derive(Default)]
struct Lately {
    /// What was renewed before this was done by nobody who is at work now, for all that is known.
    began: Option<Timestamp>,
    here: u64,
    elsewhere: u64,
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
            standby: Tiers::new(settings.seed),
            lately: Lately::default(),
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
        Counts { steps: self.tiers.steps() + self.standby.steps(), ..self.counts }
    }

    /// What is remembered of `id`, if it is kept.
    pub(crate) fn note(&self, id: &TokenId) -> Option<Note> {
        let Entry { ends, failures, .. } = self.entry(self.number(&Id::of(id))?);
        Some(Note { ends: *ends, failures: *failures })
    }

    /// Whether `id` is kept and has a moment: it was not named, or was given a new one since.
    pub(crate) fn has_moment(&self, id: &TokenId) -> bool {
        let number = self.number(&Id::of(id));
        number.is_some_and(|number| self.entry(number).place != Place::Named)
    }

    /// Remembers this of `id`, if it is kept.
    pub(crate) fn set_note(&mut self, id: &TokenId, note: Note) {
        if let Some(number) = self.number(&Id::of(id)) {
            let entry = self.entry_mut(number);
            (entry.ends, entry.failures) = (note.ends, note.failures);
        }
    }

    /// Keeps `id` from now on, to be renewed in `window`; if it is kept already, because it was
    /// renewed, by whomever, that is its new one. Says whether it was not kept before.
    pub(crate) fn insert(&mut self, id: &TokenId, window: Window, now: Timestamp) -> bool {
        let id = Id::of(id);
        let known = self.number(&id);
        let number = known.unwrap_or_else(|| self.add(id, window.latest));
        self.lately.count(window.renewed, now, self.numbers.len());
        self.move_to(number, window, now, known.is_some());
        known.is_none()
    }

    /// Makes `id` due again from `at` on, after a renewal failed. Its window ends when it ended,
    /// so it keeps its rank among what is due. Says whether it is kept.
    ///
    /// Tokens that failed together do not come back together: each has a moment of its own between
    /// `at` and twice the pause, but before its window ends if that is after `at`.
    pub(crate) fn retry(&mut self, id: &TokenId, at: Timestamp, now: Timestamp) -> bool {
        let Some(number) = self.number(&Id::of(id)) else { return false };
        self.withdraw(number);
        let latest = self.entry(number).latest;
        let end = at.plus(now.until(at)).min(latest.max(at));
        let renewed = Renewed::Unknown;
        let span = Span::of(Window { earliest: at, latest: end, renewed }, now);
        let dice = self.entry(number).dice(self.settings.seed);
        self.settle(number, span.evenly(), dice);
        true
    }

    /// Keeps `id` no longer. Says whether it was kept.
    pub(crate) fn remove(&mut self, id: &TokenId) -> bool {
        let id = Id::of(id);
        let hash = id.hash(self.settings.seed);
        let found = self.numbers.find_entry(hash, |&number| is(&self.entries, number, &id));
        let Ok(found) = found else { return false };
        let (number, _) = found.remove();
        self.withdraw(number);
        let entry = self.entries[number as usize].take().expect("a number names an entry");
        self.tiers_of(entry.load).leave(entry.load);
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
            named.push(entry.id.to_token_id());
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
                self.counts.touched += 1;
                let entry = self.entry(number);
                let (place, load, after) = (entry.place, entry.load, entry.after);
                if place == Place::Waits {
                    self.tiers_of(load).release(load, second);
                }
                match self.stand_back(number) {
                    Some(later) => self.put(number, later, Place::StandsBack),
                    None => self.ready(number),
                }
                if after == number {
                    break;
                }
                number = after;
            }
        }
    }

    /// Until when a token whose second has come is left to other hosts, which came to it in the same
    /// second, as all plan alike what nobody is known to have renewed.
    fn stand_back(&self, number: u32) -> Option<u32> {
        let entry = self.entry(number);
        if entry.place != Place::Waits || !entry.load.is_of_nobody() || !self.lately.others_work() {
            return None;
        }
        let last = load::second(entry.latest).saturating_sub(self.settings.gap());
        let longest = last.saturating_sub(entry.second).min(entry.load.stands_back());
        let later = entry.second + load::below(entry.dice(self.settings.seed) >> 32, longest);
        (later > entry.second).then_some(later)
    }

    /// Chooses a moment in a new window.
    fn move_to(&mut self, number: u32, window: Window, now: Timestamp, renewed: bool) {
        self.withdraw(number);
        let span = Span::of(window, now);
        let back = self.settings.stand_back();
        let span = match window.renewed {
            Renewed::Elsewhere(_) => span.at_its_end(back, self.settings.gap()),
            Renewed::Here(_) => span.but_its_end(back, 16),
            // Enough to stand back in.
            Renewed::Unknown if self.lately.others_work() => span.but_its_end(u32::MAX, 16),
            Renewed::Unknown => span.but_its_end(u32::MAX, 64),
        };
        let old = self.entry(number).load;
        self.tiers_of(old).leave(old);
        let kind = Load::new(window.renewed);
        let load = self.tiers_of(kind).enter(kind, span, renewed);
        let entry = self.entry_mut(number);
        entry.latest = window.latest;
        entry.load = load;
        // Who comes after another one comes at a moment of its own; else all plan alike.
        let seed = if load.is_standby() { self.settings.seed } else { 0 };
        let dice = self.entry(number).dice(seed);
        self.settle(number, span, dice);
    }

    /// Gives a token that has no moment one in `span`.
    fn settle(&mut self, number: u32, span: Span, dice: u64) {
        if span.has_ended() {
            return self.ready(number);
        }
        let load = self.entry(number).load;
        let tokens = self.numbers.len() as u64;
        let ours = self.lately.share_of(tokens);
        let all = if load.is_standby() {
            self.standby.known().max(tokens - ours)
        } else {
            self.tiers.weigh(ours, tokens);
            ours
        };
        let second = self.tiers_of(load).occupy(load, span, dice, all);
        self.put(number, second, Place::Waits);
    }

    /// Puts a token that has no place into the list of `second`.
    fn put(&mut self, number: u32, second: u32, place: Place) {
        let next = self.seconds.insert(second, number);
        if let Some(next) = next {
            self.entry_mut(next).before = number;
        }
        let entry = self.entry_mut(number);
        (entry.place, entry.second) = (place, second);
        entry.before = number;
        entry.after = next.unwrap_or(number);
    }

    fn ready(&mut self, number: u32) {
        let turn = self.turn(number);
        self.ready.insert(turn);
        self.entry_mut(number).place = Place::Ready;
    }

    /// Takes a token's moment away, if it has one.
    fn withdraw(&mut self, number: u32) {
        let &Entry { before, after, load, second, place, .. } = self.entry(number);
        match place {
            Place::Named => return,
            Place::Ready => {
                let turn = self.turn(number);
                self.ready.remove(&turn);
            }
            Place::Waits | Place::StandsBack => {
                if place == Place::Waits {
                    self.tiers_of(load).release(load, second);
                }
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

    fn add(&mut self, id: Id, latest: Timestamp) -> u32 {
        let seed = self.settings.seed;
        let hash = id.hash(seed);
        let number = self.gaps.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("memory ends before 2^32 tokens")
        });
        self.entries[number as usize] = Some(Entry {
            id,
            latest,
            ends: latest,
            load: Load::default(),
            second: 0,
            before: number,
            after: number,
            place: Place::Named,
            failures: 0,
        });
        let entries = &self.entries;
        self.numbers.insert_unique(hash, number, |&it| entry_of(entries, it).id.hash(seed));
        number
    }

    fn number(&self, id: &Id) -> Option<u32> {
        let hash = id.hash(self.settings.seed);
        self.numbers.find(hash, |&number| is(&self.entries, number, id)).copied()
    }

    fn entry(&self, number: u32) -> &Entry {
        entry_of(&self.entries, number)
    }

    fn entry_mut(&mut self, number: u32) -> &mut Entry {
        self.entries[number as usize].as_mut().expect("a number names an entry")
    }

    fn tiers_of(&mut self, load: Load) -> &mut Tiers {
        if load.is_standby() { &mut self.standby } else { &mut self.tiers }
    }

    fn turn(&self, number: u32) -> Turn {
        let entry = self.entry(number);
        (entry.latest, entry.id.hash(self.settings.seed), number)
    }
}

impl Entry {
    /// A number that is as good as random, and differs by token, seed and window.
    fn dice(&self, seed: u64) -> u64 {
        load::mix(self.id.hash(seed) ^ load::mix(self.latest.as_millis().unsigned_abs()))
    }
}

impl Lately {
    fn count(&mut self, renewed: Renewed, now: Timestamp, tokens: usize) {
        let began = *self.began.get_or_insert(now);
        match renewed {
            Renewed::Here(_) => self.here += 1,
            Renewed::Elsewhere(at) if at >= began => self.elsewhere += 1,
            Renewed::Elsewhere(_) | Renewed::Unknown => return,
        }
        if self.here + self.elsewhere > 2 * tokens as u64 {
            self.here /= 2;
            self.elsewhere /= 2;
        }
    }

    /// Whether others renew tokens too.
    fn others_work(&self) -> bool {
        self.elsewhere > 0
    }

    /// How many of so many tokens are renewed here, if all goes on as it was lately.
    fn share_of(&self, tokens: u64) -> u64 {
        (tokens * self.here).checked_div(self.here + self.elsewhere).unwrap_or(tokens)
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

fn is(entries: &[Option<Entry>], number: u32, id: &Id) -> bool {
    entry_of(entries, number).id == *id
}
