//! How many renewals there are at each moment, and where the next one goes.
//!
//! Tokens are grouped by how long they live, in tiers: each counts its renewals in a ring of slots,
//! of a second for tokens that live an hour or two, of more for those that live longer. A slot is
//! filled up to what an even pace would bring, and somewhat more; only when the whole window is
//! full, the emptiest slot takes what comes.

use tokenkeep_core::Timestamp;

use super::{Renewed, Window};

/// Slots of a ring. A power of two, so that a slot's place in it is its last bits.
const SLOTS: usize = 1 << 13;
const LAST: u32 = (1 << 13) - 1;

/// One token, as a slot counts it. Below that is a fraction that differs by slot, so that on
/// average over many slots a limit of 2.4 means 2.4.
const ONE: u64 = 1 << 16;

/// A token that is renewed each second, as a pace counts it.
const EACH_SECOND: u64 = 1 << 40;

/// What a slot may take over the even pace: an eighth.
const SLACK: u128 = 8;

/// A pace of this many a second is no load; below it, nothing is renewed sooner to level it.
const NO_LOAD: u64 = 1;

/// What a token weighs at least.
const LEAST_WEIGHT: u64 = ONE / 256;

/// The part of a window, at its end, in which moments are drawn.
const DRAWN: u32 = 16;

/// The second that a moment is in; what is out of range is the first or the last there is.
pub(super) fn second(at: Timestamp) -> u32 {
    let seconds = at.as_millis().div_euclid(1000);
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// When a second begins.
pub(super) fn timestamp(second: u32) -> Timestamp {
    Timestamp::from_millis(i64::from(second) * 1000)
}

/// Scatters the bits of a number (the finaliser of splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The seconds in which a token may be renewed, the first and the last included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    now: u32,
    /// When what is renewed in it was renewed before, if that is known.
    since: Option<u32>,
    first: u32,
    last: u32,
    /// How many seconds at the end of it a moment is drawn from.
    drawn: u32,
}

impl Span {
    /// The whole seconds of a window that have not yet begun.
    pub(super) fn of(window: Window, now: Timestamp) -> Self {
        let (now, last) = (second(now), second(window.latest));
        let begins = second(window.earliest);
        let begins = begins.saturating_add(u32::from(timestamp(begins) < window.earliest));
        let first = begins.max(now.saturating_add(1)).min(last);
        let since = match window.renewed {
            Renewed::Unknown => None,
            Renewed::Here(at) | Renewed::Elsewhere(at) => Some(second(at)),
        };
        Self { now, since, first, last, drawn: (last - first) / DRAWN }
    }

    /// But `seconds` at its end, or one part of so many of it if that is less.
    pub(super) fn but_its_end(self, seconds: u32, parts: u32) -> Self {
        let last = self.last - seconds.min((self.last - self.first) / parts);
        Self { last, drawn: (last - self.first) / DRAWN, ..self }
    }

    /// Preferably in the last `seconds`, or a part of it if that is less; with a gap before and
    /// after.
    pub(super) fn at_its_end(self, seconds: u32, gap: u32) -> Self {
        let end = seconds.min((self.last - self.first) / DRAWN);
        let gap = gap.min(end / 2);
        Self { last: self.last - gap, drawn: end - 2 * gap, ..self }
    }

    /// The same seconds, each as good as the others.
    pub(super) fn evenly(self) -> Self {
        Self { drawn: self.last - self.first, ..self }
    }

    /// Whether there is nothing left to choose from.
    pub(super) fn has_ended(self) -> bool {
        self.last <= self.now
    }

    /// How long it is from now to the end.
    fn ahead(self) -> u32 {
        self.last.saturating_sub(self.now)
    }

    /// How long it is from one renewal to the next, if that is known.
    fn period(self) -> Option<u32> {
        let since = self.since?;
        Some(self.last.saturating_sub(since).max(self.ahead()))
    }
}

/// What a token adds to the load of its tier.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    /// How often it is renewed: each this many seconds. Zero if that is not yet known.
    each: u32,
    tier: u8,
    by: By,
}

/// Who renewed a token last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum By {
    #[default]
    Nobody,
    Us,
    Others,
}

impl Load {
    /// That of a token of which nothing more is known yet.
    pub(super) fn new(renewed: Renewed) -> Self {
        let by = match renewed {
            Renewed::Unknown => By::Nobody,
            Renewed::Here(_) => By::Us,
            Renewed::Elsewhere(_) => By::Others,
        };
        Self { by, ..Self::default() }
    }

    /// Whether another host renewed it last.
    pub(super) fn is_standby(self) -> bool {
        self.by == By::Others
    }

    /// Whether nobody is known to have renewed it.
    pub(super) fn is_of_nobody(self) -> bool {
        self.by == By::Nobody
    }

    /// For how long it is left to other hosts when its moment has come.
    pub(super) fn stands_back(self) -> u32 {
        self.each / DRAWN
    }
}

/// The load of all tokens.
pub(super) struct Tiers {
    tiers: Vec<Option<Tier>>,
    /// How many tokens there are of which it is known how often they are renewed.
    known: u64,
    seed: u64,
    /// What a token that nobody is known to have renewed weighs: of [`ONE`], the share of all that is
    /// renewed here. All hosts plan it in the same slot, and one of them renews it.
    weight: u64,
    /// Steps made in the trees.
    steps: u64,
}

/// The load of the tokens that live about equally long.
struct Tier {
    /// A slot has two to the power of this many seconds.
    width: u32,
    /// A tree of minima. The slots are the second half; the parent of `i` is `i / 2`.
    least: Box<[u64]>,
    /// How many in each slot nobody is known to have renewed.
    of_nobody: Box<[u32]>,
    /// As in [`Tiers`].
    weight: u64,
    /// The renewals each second that its tokens will need.
    pace: u64,
    tokens: u64,
    /// The sum of how many seconds there are between two renewals.
    seconds: u64,
}

impl Tiers {
    pub(super) fn new(seed: u64) -> Self {
        Self { tiers: Vec::new(), known: 0, seed, weight: ONE, steps: 0 }
    }

    /// How many steps were made in the trees so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Of how many tokens it is known how often they are renewed.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// How much memory it holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let tree = 2 * SLOTS * size_of::<u64>() + SLOTS * size_of::<u32>();
        size_of_val(&*self.tiers) + self.tiers.iter().flatten().count() * tree
    }

    /// Counts a token to where it belongs. How often it will be renewed is known once it was;
    /// before that it is taken to be as those that are like it.
    pub(super) fn enter(&mut self, load: Load, span: Span, renewed: bool) -> Load {
        if span.has_ended() {
            return Load { each: 0, tier: 0, ..load };
        }
        let ahead = span.ahead();
        let width = (u32::BITS - ahead.leading_zeros()).saturating_sub(SLOTS.trailing_zeros());
        let tier = self.tier(width);
        let each = match span.period() {
            Some(period) => period,
            None if renewed => ahead,
            None => ahead.max(tier.usual()),
        };
        tier.pace += EACH_SECOND / u64::from(each);
        tier.tokens += 1;
        tier.seconds += u64::from(each);
        self.known += 1;
        Load { each, tier: u8::try_from(width).expect("at most 32 bits"), ..load }
    }

    /// Counts a token no more.
    pub(super) fn leave(&mut self, load: Load) {
        if load.each == 0 {
            return;
        }
        let tier = self.tier(load.tier.into());
        tier.pace -= EACH_SECOND / u64::from(load.each);
        tier.tokens -= 1;
        tier.seconds -= u64::from(load.each);
        self.known -= 1;
    }

    /// Chooses the second in `span` for one of `all` tokens, and fills it.
    pub(super) fn occupy(&mut self, load: Load, span: Span, dice: u64, all: u64) -> u32 {
        let known = self.known;
        let mut steps = 0;
        let tier = self.tier(load.tier.into());
        let full = tier.full(all, known);
        let second = tier.choose(span, dice, full, &mut steps);
        tier.fill(second >> tier.width, load, &mut steps);
        self.steps += steps;
        second
    }

    /// That of so many tokens only `ours` are renewed here, if all goes on as it was lately.
    pub(super) fn weigh(&mut self, ours: u64, all: u64) {
        let weight = (ours * ONE).checked_div(all).unwrap_or(ONE).max(LEAST_WEIGHT);
        // Not at each small change: all slots are weighed anew.
        if weight.abs_diff(self.weight) > self.weight / 16 {
            self.weight = weight;
            self.tiers.iter_mut().flatten().for_each(|tier| tier.weigh(weight));
        }
    }

    /// Empties the second that a token had.
    pub(super) fn release(&mut self, load: Load, second: u32) {
        let mut steps = 0;
        let tier = self.tier(load.tier.into());
        tier.empty(second >> tier.width, load, &mut steps);
        self.steps += steps;
    }

    fn tier(&mut self, width: u32) -> &mut Tier {
        let index = width as usize;
        if self.tiers.len() <= index {
            self.tiers.resize_with(index + 1, || None);
        }
        self.tiers[index].get_or_insert_with(|| Tier::new(width, self.seed, self.weight))
    }
}

impl Tier {
    fn new(width: u32, seed: u64, weight: u64) -> Self {
        let mut least = vec![0; 2 * SLOTS].into_boxed_slice();
        // Of two hosts, other slots are the first to take one more.
        let seed = mix(seed);
        for (slot, load) in (0_u64..).zip(&mut least[SLOTS..]) {
            // Multiples of the golden ratio: any run of slots has fractions of all sizes.
            *load = seed.wrapping_add(slot.wrapping_mul(40_503)) % ONE;
        }
        let of_nobody = vec![0; SLOTS].into_boxed_slice();
        let mut tier = Self { width, least, of_nobody, weight, pace: 0, tokens: 0, seconds: 0 };
        tier.compare();
        tier
    }

    /// Makes the tree true to its slots.
    fn compare(&mut self) {
        for node in (1..SLOTS).rev() {
            self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]);
        }
    }

    fn weigh(&mut self, weight: u64) {
        for (load, tokens) in self.least[SLOTS..].iter_mut().zip(&self.of_nobody) {
            *load = *load - u64::from(*tokens) * self.weight + u64::from(*tokens) * weight;
        }
        self.weight = weight;
        self.compare();
    }

    fn fill(&mut self, slot: u32, load: Load, steps: &mut u64) {
        if load.is_of_nobody() {
            self.of_nobody[(slot & LAST) as usize] += 1;
        }
        let weight = if load.is_of_nobody() { self.weight } else { ONE };
        self.add(slot, weight, steps);
    }

    fn empty(&mut self, slot: u32, load: Load, steps: &mut u64) {
        if load.is_of_nobody() {
            self.of_nobody[(slot & LAST) as usize] -= 1;
        }
        let weight = if load.is_of_nobody() { self.weight } else { ONE };
        self.add(slot, weight.wrapping_neg(), steps);
    }

    /// How many seconds there usually are between two renewals.
    fn usual(&self) -> u32 {
        let usual = self.seconds.checked_div(self.tokens).unwrap_or(0);
        u32::try_from(usual).unwrap_or(u32::MAX)
    }

    /// The load at which a slot is full. Of those of which nothing is known it is taken that they
    /// are like the others.
    fn full(&self, all: u64, known: u64) -> u64 {
        let pace = u128::from(self.pace) * u128::from(all) / u128::from(known.max(1));
        let pace = pace + pace / SLACK;
        let pace = (pace / u128::from(EACH_SECOND / ONE)).max(u128::from(NO_LOAD * self.weight));
        u64::try_from(pace << self.width).unwrap_or(u64::MAX)
    }

    /// The latest second of those drawn that is not full; else one that is not full anywhere in
    /// the span; else the emptiest.
    fn choose(&self, span: Span, dice: u64, full: u64, steps: &mut u64) -> u32 {
        let Span { first, last, drawn, .. } = span;
        let (dice, other) = (dice & u64::from(u32::MAX), dice >> 32);
        let draw = last - below(dice, drawn);
        let (begin, end) = (first >> self.width, last >> self.width);
        let begin = begin.max(end.saturating_sub(LAST));
        let drawn = draw >> self.width;
        let near = (draw.saturating_sub(span.drawn) >> self.width).max(begin);
        let anywhere = begin + below(other, end - begin);
        let slot = self
            .latest_below(near, drawn.max(near), full, steps)
            .or_else(|| self.latest_below(begin, anywhere, full, steps))
            .or_else(|| self.latest_below(anywhere, end, full, steps))
            .unwrap_or_else(|| self.emptiest(begin, end, steps));
        let first_of_slot = (slot << self.width).max(first);
        let last_of_slot = ((slot << self.width) | ((1 << self.width) - 1)).min(last);
        first_of_slot + below(mix(dice ^ other) >> 32, last_of_slot - first_of_slot)
    }

    fn add(&mut self, slot: u32, load: u64, steps: &mut u64) {
        let mut node = SLOTS + (slot & LAST) as usize;
        self.least[node] = self.least[node].wrapping_add(load);
        while node > 1 {
            *steps += 1;
            node /= 2;
            let least = self.least[2 * node].min(self.least[2 * node + 1]);
            if self.least[node] == least {
                break;
            }
            self.least[node] = least;
        }
    }

    /// The latest slot from `begin` to `end` with a load below `bound`.
    fn latest_below(&self, begin: u32, end: u32, bound: u64, steps: &mut u64) -> Option<u32> {
        let (from, to) = ((begin & LAST) as usize, (end & LAST) as usize);
        let found = if from <= to {
            self.last_below(from, to, bound, steps)
        } else {
            self.last_below(0, to, bound, steps)
                .or_else(|| self.last_below(from, SLOTS - 1, bound, steps))
        }?;
        let found = u32::try_from(found).expect("the ring is small");
        Some(end - (end.wrapping_sub(found) & LAST))
    }

    /// As above, in the ring from `from` to `to` without passing its end.
    fn last_below(&self, from: usize, to: usize, bound: u64, steps: &mut u64) -> Option<usize> {
        // Goes left along the edge of what is still to be searched, one subtree at a time.
        let mut node = SLOTS + to;
        loop {
            while node > 1 && node % 2 == 1 {
                *steps += 1;
                node /= 2;
            }
            if self.least[node] < bound {
                break;
            }
            if node.is_power_of_two() {
                return None;
            }
            node -= 1;
        }
        while node < SLOTS {
            *steps += 1;
            node = 2 * node + 1;
            if self.least[node] >= bound {
                node -= 1;
            }
        }
        (node - SLOTS >= from).then_some(node - SLOTS)
    }

    /// The slot from `begin` to `end` with the least load.
    fn emptiest(&self, begin: u32, end: u32, steps: &mut u64) -> u32 {
        let (from, to) = ((begin & LAST) as usize, (end & LAST) as usize);
        let least = if from <= to {
            self.least(from, to, steps)
        } else {
            self.least(0, to, steps).min(self.least(from, SLOTS - 1, steps))
        };
        self.latest_below(begin, end, least + 1, steps).unwrap_or(end)
    }

    fn least(&self, from: usize, to: usize, steps: &mut u64) -> u64 {
        let (mut from, mut to) = (SLOTS + from, SLOTS + to + 1);
        let mut least = u64::MAX;
        while from < to {
            *steps += 1;
            if from % 2 == 1 {
                least = least.min(self.least[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                least = least.min(self.least[to]);
            }
            from /= 2;
            to /= 2;
        }
        least
    }
}

/// Where in `0..=most` a number of 32 random bits points.
pub(super) fn below(dice: u64, most: u32) -> u32 {
    let scaled = (dice * (u64::from(most) + 1)) >> 32;
    u32::try_from(scaled).expect("a part of a number of 32 bits")
}

#[cfg(test)]
mod tests {
    use super::{super::simulated_day::Random, *};

    fn tier(loads: &[(u32, u64)]) -> Tier {
        let mut tier = Tier::new(0, 3, ONE);
        for (slot, load) in loads {
            tier.add(*slot, load * ONE, &mut 0);
        }
        tier
    }

    fn load(tier: &Tier, slot: u32) -> u64 {
        tier.least[SLOTS + (slot & LAST) as usize]
    }

    #[test]
    fn the_slots_found_are_those_that_a_plain_search_finds() {
        let mut random = Random(5);
        for _ in 0..300 {
            // Also across the end of the ring.
            let begin = 50_000 + random.below(2 * SLOTS as u64) as u32;
            let end = begin + random.below(100) as u32;
            let loads: Vec<_> = (begin..=end).map(|slot| (slot, 1 + random.below(9))).collect();
            let tier = tier(&loads);
            let bound = (1 + random.below(9)) * ONE;
            let found = tier.latest_below(begin, end, bound, &mut 0);
            let plain = (begin..=end).rev().find(|slot| load(&tier, *slot) < bound);
            assert_eq!(found, plain);
            let emptiest = tier.emptiest(begin, end, &mut 0);
            let least = (begin..=end).map(|slot| load(&tier, slot)).min();
            assert_eq!(Some(load(&tier, emptiest)), least);
        }
    }

    #[test]
    fn a_slot_that_is_emptied_is_as_it_was() {
        let mut tier = tier(&[(8000, 2), (9000, 1)]);
        let before = tier.least.clone();
        tier.add(123_456, ONE, &mut 0);
        assert_ne!(tier.least, before);
        tier.add(123_456, ONE.wrapping_neg(), &mut 0);
        assert_eq!(tier.least, before);
    }

    #[test]
    fn what_all_hosts_plan_weighs_as_much_as_is_renewed_here() {
        let mut tiers = Tiers::new(3);
        let span = Span { now: 0, since: None, first: 1, last: 1000, drawn: 0 };
        let nobodys = Load::new(Renewed::Unknown);
        let ours = Load::new(Renewed::Here(timestamp(0)));
        let seconds = [nobodys, nobodys, ours].map(|load| {
            let load = tiers.enter(load, span, true);
            (load, tiers.occupy(load, span, 0, 3))
        });
        let sum = |tiers: &Tiers| tiers.tiers[0].as_ref().unwrap().least[SLOTS..].iter().sum();
        let before: u64 = sum(&tiers);
        tiers.weigh(1, 4);
        assert_eq!(before - sum(&tiers), 2 * (ONE - ONE / 4));
        // As they came: whatever it weighed when it took its place.
        for (load, second) in seconds {
            tiers.release(load, second);
        }
        let empty = Tiers::new(3).tier(0).least.clone();
        assert_eq!(tiers.tier(0).least, empty);
    }

    #[test]
    fn a_limit_with_a_fraction_is_kept_on_average() {
        let mut tier = tier(&[]);
        let full = 2 * ONE + ONE / 4;
        let mut taken = 0;
        while let Some(slot) = tier.latest_below(1000, 1999, full, &mut 0) {
            tier.add(slot, ONE, &mut 0);
            taken += 1;
        }
        assert!((2230..=2270).contains(&taken), "{taken}");
    }

    #[test]
    fn a_tier_has_slots_enough_for_the_lives_of_its_tokens() {
        let mut tiers = Tiers::new(0);
        for (ahead, width) in
            [(1, 0), (3540, 0), (8191, 0), (8192, 1), (86_340, 4), (7_776_000, 10)]
        {
            let span = Span { now: 0, since: None, first: 1, last: ahead, drawn: 0 };
            let load = tiers.enter(Load::default(), span, true);
            assert_eq!((load.each, u32::from(load.tier)), (ahead, width));
            assert!((ahead >> width) < SLOTS as u32);
            tiers.leave(load);
        }
        let kept = tiers.tiers.iter().flatten();
        assert!(kept.into_iter().all(|tier| (tier.pace, tier.tokens, tier.seconds) == (0, 0, 0)));
        assert_eq!(tiers.known, 0);
    }

    #[test]
    fn tokens_of_which_nothing_is_known_are_taken_to_be_like_the_others() {
        let mut tiers = Tiers::new(0);
        let span = Span { now: 0, since: None, first: 1, last: 1000, drawn: 0 };
        for _ in 0..8000 {
            tiers.enter(Load::default(), span, true);
        }
        let tier = tiers.tiers[0].as_ref().unwrap();
        // Eight a second and an eighth; twice that if as many more are still unknown.
        assert!(tier.full(8000, 8000).abs_diff(9 * ONE) <= 1);
        assert!(tier.full(16_000, 8000).abs_diff(18 * ONE) <= 1);
    }

    #[test]
    fn seconds_out_of_range_are_the_first_or_the_last() {
        assert_eq!(second(Timestamp::from_millis(i64::MIN)), 0);
        assert_eq!(second(Timestamp::from_millis(1999)), 1);
        assert_eq!(second(Timestamp::from_millis(i64::MAX)), u32::MAX);
        let window = Window {
            earliest: Timestamp::from_millis(0),
            latest: Timestamp::from_millis(i64::MAX),
            renewed: Renewed::Unknown,
        };
        let span = Span::of(window, Timestamp::from_millis(0));
        let mut tiers = Tiers::new(0);
        let load = tiers.enter(Load::default(), span, true);
        assert!(tiers.occupy(load, span, u64::MAX, 1) > u32::MAX / 2);
    }
}
