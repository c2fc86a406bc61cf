//! Many runs, on all processors.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{ledger::Excuse, plan::Plan, world::run};

/// How many failures are shown.
const SHOWN: usize = 12;

/// What many runs came to.
#[derive(Default)]
pub(crate) struct Tally {
    runs: usize,
    steps: u64,
    mishaps: usize,
    answers: u64,
    issued: u64,
    refusals: BTreeMap<String, u64>,
    excuses: BTreeMap<Excuse, (u64, String)>,
    /// By the command that replays it.
    failures: BTreeMap<usize, (String, Vec<String>)>,
}

impl Tally {
    /// Runs all of them: `plan` says which, and how each is replayed.
    pub(crate) fn of(runs: usize, plan: impl Fn(usize) -> (String, Plan) + Sync) -> Self {
        let tally = Mutex::new(Self::default());
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= runs {
                            break;
                        }
                        let (how, plan) = plan(n);
                        let outcome = catch_unwind(AssertUnwindSafe(|| run(&plan, false)));
                        let mut tally = tally.lock().unwrap();
                        tally.runs += 1;
                        let Ok(outcome) = outcome else {
                            tally
                                .failures
                                .insert(n, (how, vec!["at some time: a panic".to_owned()]));
                            continue;
                        };
                        tally.steps += outcome.closed.steps;
                        tally.mishaps += outcome.closed.mishaps;
                        tally.answers += outcome.closed.answers;
                        tally.issued += outcome.closed.issued;
                        for (kind, count) in outcome.closed.refusals {
                            *tally.refusals.entry(kind).or_default() += count;
                        }
                        for excuse in outcome.excuses {
                            tally.excuses.entry(excuse).or_insert_with(|| (0, how.clone())).0 += 1;
                        }
                        if !outcome.closed.violations.is_empty() {
                            tally.failures.insert(n, (how, outcome.closed.violations));
                        }
                    }
                });
            }
        });
        tally.into_inner().unwrap()
    }

    /// Fails if one of them has.
    pub(crate) fn check(&self, what: &str) {
        println!(
            "{what}: {} runs, {} steps, {} mishaps, {} refreshes, {} answers",
            self.runs, self.steps, self.mishaps, self.issued, self.answers
        );
        println!("refusals: {:?}", self.refusals);
        println!("logins lost although nobody made a mistake:");
        for (excuse, (count, example)) in &self.excuses {
            println!("  {count:>6} {excuse:?}, for example {example}");
        }
        let mut kinds: BTreeMap<String, (u64, &str)> = BTreeMap::new();
        for (how, violations) in self.failures.values() {
            // Without its numbers, a violation is a kind.
            let text = violations[0].split_once(": ").map_or("", |(_, text)| text);
            let kind: String = text.chars().filter(|it| !it.is_ascii_digit()).collect();
            kinds.entry(kind).or_insert((0, how)).0 += 1;
        }
        for (kind, (count, example)) in &kinds {
            println!("FAILED {count:>5} × {kind} (for example {example})");
        }
        for (how, violations) in self.failures.values().take(SHOWN) {
            println!(
                "replay with: {how} cargo test -p tokenkeep-manager --test faults -- replay --nocapture"
            );
            for violation in violations.iter().take(3) {
                println!("    {violation}");
            }
        }
        assert!(self.failures.is_empty(), "{} of {} {what} failed", self.failures.len(), self.runs);
    }
    pub(crate) fn assert_none_lost_by(&self, excuses: &[Excuse]) {
        for (excuse, (_, example)) in &self.excuses {
            assert!(!excuses.contains(excuse), "{excuse:?} with {example}");
        }
    }
}
