//! A day of many tokens on a virtual clock.

use super::*;

const SECOND: i64 = 1000;
const LIFE: i64 = 3600;
const DAY: usize = 86_400;
const START: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// What a day came to.
#[derive(Debug)]
struct Day {
    /// Renewals begun in each second.
    begun: Vec<u64>,
    renewals: u64,
    failures: u64,
    /// Work in the trees for each moment chosen.
    steps: f64,
}

impl Day {
    fn mean(&self) -> f64 {
        self.begun.iter().sum::<u64>() as f64 / self.begun.len() as f64
    }

    /// The busiest `bucket` seconds, as a multiple of the mean over the day.
    fn peak(&self, bucket: usize) -> f64 {
        let most = self.begun.chunks_exact(bucket).map(|chunk| chunk.iter().sum::<u64>()).max();
        most.unwrap_or(0) as f64 / bucket as f64 / self.mean()
    }

    fn first_hour(&self) -> f64 {
        self.begun[..3600].iter().max().copied().unwrap_or(0) as f64 / self.mean()
    }
}

/// The same numbers each time (splitmix64).
pub(in crate::keeper) struct Random(pub(in crate::keeper) u64);

impl Random {
    pub(in crate::keeper) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        load::mix(self.0) % bound
    }
}

/// Keeps `tokens` tokens for a day. Each of the `lives` is what is left of one when it begins.
///
/// A renewal takes from one to three seconds, and one in a hundred fails, to be tried again after a
/// pause. What a tick costs is compared with what it named, in each.
fn keep_for_a_day(lives: impl Iterator<Item = i64>, tokens: usize) -> Day {
    let settings = Settings::new(7);
    let mut schedule = Schedule::new(settings);
    let mut random = Random(1);
    let mut ends = Vec::with_capacity(tokens);
    for (number, left) in (0..).zip(lives.take(tokens)) {
        let end = START.plus_seconds(left);
        ends.push((START, end));
        assert!(schedule.insert(&TokenId::from_number(number), settings.found(START, end), START));
    }
    assert_eq!(schedule.len(), tokens);

    let mut replies = vec![Vec::new(); 4];
    let mut day = Day { begun: Vec::with_capacity(DAY), renewals: 0, failures: 0, steps: 0.0 };
    let (mut moments, steps) = (0_u64, schedule.counts().steps);
    for second in 0..DAY {
        let now = START.plus_seconds(second as i64);
        for id in std::mem::take(&mut replies[second % 4]) {
            moments += 1;
            let (renewed, end) = &mut ends[number(&id)];
            assert!(now < *end, "{id:?} expired unserved, {second} s into the day");
            if random.below(100) == 0 {
                day.failures += 1;
                assert!(schedule.retry(&id, now.plus_seconds(5), now));
                continue;
            }
            let first = *renewed == START;
            assert!(
                first || renewed.plus_seconds(LIFE / 2) <= now,
                "{id:?} was renewed twice in half a life"
            );
            (*renewed, *end) = (now, now.plus_seconds(LIFE));
            day.renewals += 1;
            assert!(!schedule.insert(&id, settings.renewed(now, *end), now));
        }
        let touched = schedule.counts().touched;
        let due = schedule.due(now, usize::MAX);
        let touched = schedule.counts().touched - touched;
        assert!(touched <= 2 * due.len() as u64, "{touched} touched for {} due", due.len());
        day.begun.push(due.len() as u64);
        for id in due {
            let reply = second + 1 + random.below(3) as usize;
            replies[reply % 4].push(id);
        }
    }
    let evening = START.plus_seconds(DAY as i64);
    assert!(ends.iter().all(|(_, end)| evening < *end));
    assert_eq!(schedule.len(), tokens);
    assert!(schedule.counts().late <= day.failures, "only what failed may be late");
    day.steps = (schedule.counts().steps - steps) as f64 / moments as f64;
    day
}

fn number(id: &TokenId) -> usize {
    usize::try_from(id.number().unwrap()).unwrap()
}

trait PlusSeconds {
    fn plus_seconds(self, seconds: i64) -> Self;
}

impl PlusSeconds for Timestamp {
    fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_millis(self.as_millis() + seconds * SECOND)
    }
}

impl Schedule {
    /// How much memory it holds, if all ids are numbers.
    fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Option<Entry>>()
            + self.gaps.capacity() * size_of::<u32>()
            + self.numbers.allocation_size()
            // Trees of the standard library: nodes at least half full, and a little to each.
            + self.seconds.len() * 3 * size_of::<(u32, u32)>()
            + self.ready.len() * 3 * size_of::<Turn>()
            + self.tiers.bytes()
            + self.standby.bytes()
    }
}

/// In any second of the day, the first hour included, at most 1.3 times the mean is begun.
#[track_caller]
fn assert_level(day: &Day) {
    let (second, minute, first_hour) = (day.peak(1), day.peak(60), day.first_hour());
    println!(
        "{} renewals, {} failed; {:.1} a second; busiest second {second:.3} of that, in the first \
         hour {first_hour:.3}, busiest minute {minute:.3}; {:.1} steps for a moment",
        day.renewals,
        day.failures,
        day.mean(),
        day.steps
    );
    assert!(second <= 1.3, "the busiest second has {second:.3} times the mean");
    assert!(minute <= 1.2, "the busiest minute has {minute:.3} times the mean");
    assert!(day.steps <= 20.0, "{:.1} steps for a moment", day.steps);
}

/// What is left of tokens that were issued at any moment of the last hour but its first minutes.
fn of_any_age() -> impl Iterator<Item = i64> {
    let mut random = Random(2);
    std::iter::from_fn(move || Some(90 + random.below(LIFE as u64 - 90) as i64))
}

/// A million under `cargo xtask soak`, which sets this variable; else a tenth of that.
fn tokens() -> usize {
    let long = std::env::var_os("TOKENKEEP_SOAK").is_some();
    if long { 1_000_000 } else { 100_000 }
}

#[test]
fn many_tokens_issued_in_the_same_second_are_renewed_at_a_level_rate() {
    assert_level(&keep_for_a_day(std::iter::repeat(LIFE), tokens()));
}

#[test]
fn many_tokens_of_any_age_are_renewed_at_a_level_rate() {
    assert_level(&keep_for_a_day(of_any_age(), tokens()));
}

#[test]
fn a_million_tokens_that_end_in_the_same_second_cost_little_each() {
    let settings = Settings::new(7);
    // The usual hour, and one that leaves a minute for all of them.
    for ends in [LIFE, 120] {
        let mut schedule = Schedule::new(settings);
        let window = settings.found(START, START.plus_seconds(ends));
        for number in 0..1_000_000 {
            schedule.insert(&TokenId::from_number(number), window, START);
        }
        let tokens = schedule.len();
        let steps = schedule.counts().steps / tokens as u64;
        assert!(steps <= 60, "{steps} steps each");
        let bytes = schedule.bytes() / tokens;
        assert!(bytes <= 100, "{bytes} bytes each");
        println!("{steps} steps and {bytes} bytes each");
    }
}
