//! [`Schedule`]: which tokens are due for renewal now.
//!
//! It has no clock, no task and no randomness of its own: the same calls with the same seed give
//! the same answers. What it costs follows what is due, not what is kept.

mod load;
#[cfg(test)]
mod simulated_day;
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
///   by [`reschedule`](Self::reschedule), [`retry`](Self::retry) or [`insert`](Self::insert). Who
///   takes a token from `due` owes it one of these, or [`remove`](Self::remove), however the
///   renewal ends.
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

    /// Keeps `id` from now on, to be renewed in `window`. Says whether it was not kept before;
    /// if it was, it is as if it had been [rescheduled](Self::reschedule).
    pub(crate) fn insert(&mut self, id: TokenId, window: Window, now: Timestamp) -> bool {
        let known = self.number(&id);
        let number = known.unwrap_or_else(|| self.add(id, window.latest));
        self.move_to(number, window, now, known.is_some());
        known.is_none()
    }

    /// Gives `id` a new window after it was renewed, by whomever. Says whether it is kept; if
    /// not, nothing is changed.
    pub(crate) fn reschedule(&mut self, id: &TokenId, window: Window, now: Timestamp) -> bool {
        let number = self.number(id);
        if let Some(number) = number {
            self.move_to(number, window, now, true);
        }
        number.is_some()
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

#[cfg(test)]
mod tests {
    use super::{simulated_day::Random, *};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_764_000_000_000 + 1000 * seconds)
    }

    fn id(number: u64) -> TokenId {
        TokenId::from_number(number)
    }

    fn window(earliest: i64, latest: i64) -> Window {
        Window { earliest: at(earliest), latest: at(latest) }
    }

    fn schedule() -> Schedule {
        Schedule::new(Settings::new(1))
    }

    /// The second of each token's moment.
    fn moments(schedule: &mut Schedule, last: i64) -> BTreeMap<TokenId, i64> {
        let seconds = 0..=last;
        seconds
            .flat_map(|second| {
                let due = schedule.due(at(second), usize::MAX);
                due.into_iter().map(move |id| (id, second))
            })
            .collect()
    }

    #[test]
    fn a_token_is_due_once_inside_its_window_and_late_in_it() {
        let mut schedule = schedule();
        assert!(schedule.insert(id(1), window(1800, 3540), at(0)));
        let next = schedule.next_due().unwrap();
        assert!(at(3400) < next && next <= at(3540), "{next:?}");
        assert_eq!(schedule.due(next.minus(std::time::Duration::from_millis(1)), 9), []);
        assert_eq!(schedule.due(next, 9), [id(1)]);
        assert_eq!(schedule.due(at(9999), 9), []);
        assert_eq!((schedule.next_due(), schedule.len()), (None, 1));
        let Counts { named, late, touched, .. } = schedule.counts();
        assert_eq!((named, late, touched), (1, 0, 2));
    }

    #[test]
    fn a_token_that_was_removed_is_not_due_wherever_it_stood() {
        let mut schedule = schedule();
        // Three in one second: the first, the last and the one between are taken out of the list.
        for gone in 1..=3 {
            for number in 1..=3 {
                schedule.insert(id(number), window(10, 10), at(0));
            }
            assert!(schedule.remove(&id(gone)));
            assert!(!schedule.remove(&id(gone)));
            let mut due = schedule.due(at(10), 9);
            due.sort();
            assert_eq!(due, (1..=3).filter(|n| *n != gone).map(id).collect::<Vec<_>>());
        }
        schedule.insert(id(1), window(-5, -5), at(0));
        assert_eq!(schedule.waiting(), 1);
        assert!(schedule.remove(&id(1)));
        assert_eq!(schedule.due(at(10), 9), []);
        assert!(!schedule.reschedule(&id(1), window(0, 9), at(0)));
        assert!(!schedule.retry(&id(1), at(5), at(0)));
    }

    #[test]
    fn what_ends_first_comes_first_and_what_is_over_the_limit_stays_due() {
        let mut schedule = schedule();
        for (number, latest) in (0..).zip([-10, -30, 50, -20, -40]) {
            schedule.insert(id(number), window(-100, latest), at(0));
        }
        assert_eq!(schedule.due(at(0), 0), []);
        assert_eq!(schedule.next_due(), Some(Timestamp::from_millis(i64::MIN)));
        assert_eq!(schedule.due(at(0), 3), [id(4), id(1), id(3)]);
        assert_eq!(schedule.waiting(), 1);
        assert_eq!(schedule.due(at(50), 3), [id(0), id(2)]);
        assert_eq!(schedule.counts().late, 4);
    }

    #[test]
    fn a_clock_that_is_set_back_loses_and_doubles_nothing() {
        let mut schedule = schedule();
        for number in 0..10 {
            schedule.insert(id(number), window(100, 200), at(0));
        }
        assert_eq!(schedule.due(at(300), 4).len(), 4);
        // Ten hours back: what was due is, what comes in now has its moment by the new time.
        assert_eq!(schedule.due(at(-36_000), 4).len(), 4);
        assert!(schedule.insert(id(10), window(-35_900, -35_800), at(-36_000)));
        assert_eq!(schedule.due(at(-35_990), 9).len(), 2);
        assert_eq!(schedule.due(at(-35_800), 9), [id(10)]);
        assert_eq!(schedule.due(at(300), 9), []);
    }

    #[test]
    fn hours_asleep_make_all_due_in_the_order_they_end() {
        let mut schedule = schedule();
        let settings = *schedule.settings();
        let (tokens, limit) = (20_000, 100);
        let end = |number: u64| at(100 + (number as i64 * 7919) % 3500);
        for number in 0..tokens {
            schedule.insert(id(number), settings.found(at(0), end(number)), at(0));
        }
        let mut ends = Vec::new();
        let mut begun = vec![0; 2 * 3600];
        for second in 0..7200 {
            let now = at(36_000 + second);
            let due = schedule.due(now, limit);
            assert!(due.len() <= limit);
            for id in due {
                begun[second as usize] += 1;
                if ends.len() < tokens as usize {
                    ends.push(end(id.number().unwrap()));
                }
                let life = settings.renewed(now, now.plus(std::time::Duration::from_secs(3600)));
                schedule.reschedule(&id, life, now);
            }
        }
        assert_eq!(ends.len(), tokens as usize);
        assert!(ends.is_sorted());
        // 200 seconds at the limit; from then on as level as the second half of a life allows.
        assert!(begun[..200].iter().all(|begun| *begun == limit));
        let most = begun[200..].iter().max().copied().unwrap();
        assert!(most as f64 <= 1.3 * tokens as f64 / 1740.0, "{most} in a second");
    }

    #[test]
    fn a_retry_keeps_its_rank_and_does_not_come_with_the_others() {
        let mut schedule = schedule();
        for number in 0..100 {
            schedule.insert(id(number), window(-100, -(number as i64)), at(0));
        }
        assert_eq!(schedule.due(at(0), 100).len(), 100);
        for number in 0..100 {
            assert!(schedule.retry(&id(number), at(5), at(0)));
        }
        assert_eq!(schedule.due(at(4), 100), []);
        assert_eq!(
            schedule.due(at(5), 100).len(),
            100,
            "past the window there is no time to spread"
        );

        let alone = |number| {
            let mut schedule = self::schedule();
            schedule.insert(id(number), window(6, 100), at(5));
            assert!(schedule.retry(&id(number), at(15), at(5)));
            moments(&mut schedule, 200)[&id(number)]
        };
        let alone: BTreeSet<_> = (0..100).map(alone).collect();
        assert_eq!(alone, (15..=25).collect());

        schedule.insert(id(2), window(0, 50), at(200));
        for number in [0, 1] {
            assert!(schedule.retry(&id(number), at(205), at(200)));
        }
        assert_eq!(schedule.due(at(205), 9), [1, 0, 2].map(id), "as their windows ended");
    }

    #[test]
    fn two_hosts_do_not_come_at_the_same_moment() {
        for tokens in [100, 20_000] {
            let [one, other] = [1, 2].map(|seed| {
                let mut schedule = Schedule::new(Settings::new(seed));
                for number in 0..tokens {
                    schedule.insert(id(number), window(0, 3540), at(0));
                }
                moments(&mut schedule, 3540)
            });
            let together = one.iter().filter(|(id, at)| (other[id] - **at).abs() <= 1).count();
            assert!(together as f64 <= 0.02 * tokens as f64, "{together} of {tokens}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_moments() {
        let [one, other] = [7, 7].map(|seed| {
            let mut schedule = Schedule::new(Settings::new(seed));
            for number in 0..1000 {
                schedule.insert(id(number), window(0, 3540), at(0));
            }
            moments(&mut schedule, 3540)
        });
        assert_eq!(one, other);
    }

    #[test]
    fn tokens_that_live_for_months_are_levelled_over_months() {
        let mut schedule = schedule();
        let (day, tokens) = (86_400, 20_000);
        for number in 0..tokens {
            schedule.insert(id(number), window(0, 90 * day), at(0));
        }
        // Fewer than one a second is no load, so a faster pace is allowed for; but not one burst.
        let days = (0..=90).map(|number| schedule.due(at(number * day), usize::MAX).len());
        let days: Vec<_> = days.collect();
        assert_eq!(days.iter().sum::<usize>(), tokens as usize);
        let most = days.iter().max().copied().unwrap();
        assert!(most as f64 <= 1.3 * tokens as f64 / (90.0 / 16.0), "{days:?}");
    }

    /// What each token was last told, in the plainest way there is.
    #[derive(Clone, Copy, Debug)]
    enum Told {
        Named,
        Wanted { earliest: i64, latest: i64 },
    }

    #[test]
    fn whatever_is_done_each_token_is_due_in_its_window_and_only_once() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let mut schedule = Schedule::new(Settings::new(seed));
            let mut told: BTreeMap<TokenId, Told> = BTreeMap::new();
            let mut now = 0;
            let mut farthest = 0;
            for _ in 0..300 {
                let token = id(random.below(20));
                let earliest = now + random.below(400) as i64 - 100;
                let latest = earliest + random.below(10_000) as i64 - 100;
                let wanted = Told::Wanted { earliest, latest };
                match random.below(8) {
                    0 | 1 => {
                        let new = schedule.insert(token.clone(), window(earliest, latest), at(now));
                        assert_eq!(new, told.insert(token, wanted).is_none());
                    }
                    2 => {
                        let kept = schedule.reschedule(&token, window(earliest, latest), at(now));
                        assert_eq!(kept, told.contains_key(&token));
                        told.entry(token).and_modify(|told| *told = wanted);
                    }
                    3 => {
                        let pause = random.below(60) as i64;
                        let kept = schedule.retry(&token, at(now + pause), at(now));
                        assert_eq!(kept, told.contains_key(&token));
                        let (earliest, latest) = (now + pause, now + 2 * pause);
                        let wanted = Told::Wanted { earliest, latest };
                        told.entry(token).and_modify(|told| *told = wanted);
                    }
                    4 => assert_eq!(schedule.remove(&token), told.remove(&token).is_some()),
                    5 => now -= random.below(500) as i64,
                    _ => now += random.below(1000) as i64,
                }
                farthest = farthest.max(now);
                let limit = if random.below(2) == 0 { usize::MAX } else { 2 };
                for id in schedule.due(at(now), limit) {
                    match told.insert(id.clone(), Told::Named) {
                        Some(Told::Wanted { earliest, latest }) => {
                            assert!(earliest.min(latest) <= farthest, "{id:?} is early");
                        }
                        other => panic!("seed {seed}: {id:?} is due, but {other:?}"),
                    }
                }
                for (id, told) in &told {
                    if let Told::Wanted { earliest, latest } = told
                        && limit > 2
                    {
                        let over = (*latest).max(*earliest) < now;
                        assert!(!over, "seed {seed}: {id:?} is not due at {now}, but {told:?}");
                    }
                }
                assert_eq!(schedule.len(), told.len());
                assert!(schedule.tiers.known() <= told.len() as u64);
            }
            assert!(told.keys().all(|id| schedule.remove(id)));
            assert_eq!((schedule.len(), schedule.next_due()), (0, None));
            assert_eq!(schedule.tiers.known(), 0);
        }
    }
}
