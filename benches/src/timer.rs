//! Medians of two ways to do one thing, measured in turn.

use std::time::{Duration, Instant};

/// How long a sample should take, so that the clock does not matter.
const SAMPLE: Duration = Duration::from_micros(500);

/// Measures in samples of as many calls as fill [`SAMPLE`], for a time.
#[derive(Debug)]
pub(crate) struct Timer {
    warm_up: Duration,
    budget: Duration,
    fewest: usize,
}

/// Medians: nanoseconds a call, unless something else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Medians {
    pub(crate) ours: f64,
    pub(crate) limit: f64,
}

impl Timer {
    pub(crate) fn new(quick: bool) -> Self {
        let millis = if quick { 150 } else { 1_000 };
        Self {
            warm_up: Duration::from_millis(millis / 5),
            budget: Duration::from_millis(millis),
            fewest: if quick { 5 } else { 15 },
        }
    }

    /// The same with more samples, for work that waits for a disk: what that costs comes in bursts.
    pub(crate) fn for_writes(&self) -> Self {
        Self { warm_up: self.warm_up, budget: self.budget * 5, fewest: self.fewest }
    }

    /// The medians of `ours` and `limit`. Each is called with a number that counts up.
    pub(crate) async fn compare(
        &self,
        mut ours: impl AsyncFnMut(usize),
        mut limit: impl FnMut(usize),
    ) -> Medians {
        let mut calls = (0, 0);
        let once = self.warm_up(&mut ours, &mut limit, &mut calls).await;
        let batch = |once: Duration| {
            usize::try_from(SAMPLE.as_nanos() / once.as_nanos().max(1)).unwrap_or(1).max(1)
        };
        let batches = (batch(once.0), batch(once.1));
        let mut samples = (Vec::new(), Vec::new());
        let started = now();
        while samples.0.len() < self.fewest || started.elapsed() < self.budget {
            // In turn, and who goes first in turn too.
            for ours_now in [samples.0.len() % 2 == 0, samples.0.len() % 2 == 1] {
                if ours_now {
                    samples.0.push(batch_of(batches.0, &mut calls.0, &mut ours).await);
                } else {
                    let from = calls.1;
                    calls.1 += batches.1;
                    let begun = now();
                    (from..calls.1).for_each(&mut limit);
                    samples.1.push(per_call(begun.elapsed(), batches.1));
                }
            }
        }
        Medians { ours: median(samples.0), limit: median(samples.1) }
    }

    /// The medians of `ours` and `limit`, called once a sample and each time after a `prepare`,
    /// which is not measured. Each is called with a number that counts up.
    pub(crate) async fn prepared(
        &self,
        mut prepare: impl AsyncFnMut(usize),
        mut ours: impl AsyncFnMut(usize),
        mut limit: impl AsyncFnMut(usize),
    ) -> Medians {
        let mut samples = (Vec::new(), Vec::new());
        let mut call = 0;
        // Some to warm up.
        let warm_up = self.fewest;
        let started = now();
        while samples.0.len() < warm_up + self.fewest || started.elapsed() < self.budget {
            for ours_now in [samples.0.len() % 2 == 0, samples.0.len() % 2 == 1] {
                prepare(call).await;
                let begun = now();
                if ours_now {
                    ours(call).await;
                    samples.0.push(nanos(begun.elapsed()));
                } else {
                    limit(call).await;
                    samples.1.push(nanos(begun.elapsed()));
                }
                call += 1;
            }
        }
        let median = |samples: Vec<f64>| median(samples.into_iter().skip(warm_up).collect());
        Medians { ours: median(samples.0), limit: median(samples.1) }
    }

    /// The medians of `ours` and `limit`, which wait for a server, so that one call is a sample: in
    /// turn. Each is called with a number that counts up over both.
    pub(crate) async fn alternate(
        &self,
        ours: impl AsyncFnMut(usize),
        limit: impl AsyncFnMut(usize),
    ) -> Medians {
        self.prepared(async |_| {}, ours, limit).await
    }

    /// How long one thing is measured.
    pub(crate) fn budget(&self) -> Duration {
        self.budget
    }

    /// The medians of what `works` measure themselves, in turn.
    pub(crate) fn in_turn<const N: usize>(&self, works: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
        let mut samples = [const { Vec::new() }; N];
        let started = now();
        while samples[0].len() <= self.fewest || started.elapsed() < self.budget {
            let first = samples[0].len();
            for index in (0..N).map(|index| (first + index) % N) {
                samples[index].push(works[index]());
            }
        }
        // The first of each was to warm up.
        samples.map(|samples| median(samples.into_iter().skip(1).collect()))
    }

    /// How often something is done that is too long for a budget of time.
    pub(crate) fn rounds(&self) -> usize {
        self.fewest
    }

    /// Runs both for a while; returns how long one call of each takes, roughly.
    async fn warm_up(
        &self,
        ours: &mut impl AsyncFnMut(usize),
        limit: &mut impl FnMut(usize),
        calls: &mut (usize, usize),
    ) -> (Duration, Duration) {
        let started = now();
        while calls.0 == 0 || started.elapsed() < self.warm_up {
            ours(calls.0).await;
            calls.0 += 1;
        }
        let ours_took = started.elapsed();
        let started = now();
        while calls.1 == 0 || started.elapsed() < self.warm_up {
            limit(calls.1);
            calls.1 += 1;
        }
        let each = |took: Duration, calls: usize| took / u32::try_from(calls).unwrap_or(u32::MAX);
        (each(ours_took, calls.0), each(started.elapsed(), calls.1))
    }
}

async fn batch_of(batch: usize, calls: &mut usize, work: &mut impl AsyncFnMut(usize)) -> f64 {
    let from = *calls;
    *calls += batch;
    let begun = now();
    for call in from..*calls {
        work(call).await;
    }
    per_call(begun.elapsed(), batch)
}

#[expect(clippy::disallowed_methods, reason = "this is what a benchmark is for")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn per_call(took: Duration, calls: usize) -> f64 {
    nanos(took) / calls as f64
}

pub(crate) fn nanos(took: Duration) -> f64 {
    took.as_nanos() as f64
}

pub(crate) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples.len() {
        0 => 0.0,
        n if n % 2 == 1 => samples[middle],
        _ => f64::midpoint(samples[middle - 1], samples[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
