//! Faults at every step, one by one and at random: no login is lost, no refresh wasted.
//!
//! Each run is a few processes on one store and one provider, in virtual time; what breaks, who
//! asks and who else is at work is a [plan](plan::Plan), made from a seed. The same seed is the
//! same run:
//!
//! ```text
//! TOKENKEEP_FAULT_SEED=17 cargo test -p tokenkeep-manager --test faults -- replay --nocapture
//! TOKENKEEP_FAULT_CASE=r5h2s40LongAfter cargo test … -- replay --nocapture
//! TOKENKEEP_FAULT_SEEDS=1000000 cargo test --release … -- seeds --nocapture
//! ```
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::panic, reason = "helpers of tests are tests")]
#![expect(clippy::print_stdout, reason = "what many runs came to, and how one is replayed")]
#![expect(clippy::wildcard_enum_match_arm, reason = "most of what can happen is of no interest")]

mod dice;
mod ledger;
mod plan;
mod process;
mod provider;
mod tally;
mod verdict;
mod world;

use std::{collections::BTreeMap, time::Duration};

use self::{
    ledger::Excuse,
    plan::{Mishap, Plan},
    tally::Tally,
    world::run,
};

/// How many seeds are tried, unless the environment says otherwise.
const SEEDS: u64 = 10_000;

#[expect(clippy::disallowed_methods, reason = "how a run is chosen by hand")]
fn chosen(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

/// The scripted runs: with each way of rotation, in one process and in two, and in a store that
/// coordinates nobody.
fn scripts() -> Vec<(String, Plan)> {
    let mut scripts = Vec::new();
    for (name, rotation) in [("r-", None), ("r0", Some(0)), ("r60", Some(60))] {
        let rotation = rotation.map(Duration::from_secs);
        for (hosts, shared) in [(1, true), (2, true), (1, false)] {
            if !shared && rotation.is_none() {
                continue;
            }
            let name = format!("{name}h{hosts}{}", if shared { "" } else { "x" });
            scripts.push((name, Plan::scripted(rotation, hosts, shared)));
        }
    }
    scripts
}

/// One of the scripted runs with one fault, by its name.
fn case(name: &str) -> Option<Plan> {
    let (script, fault) = name.split_once('s')?;
    let digits = fault.find(|letter: char| !letter.is_ascii_digit())?;
    let (step, mishap) = fault.split_at(digits);
    let (_, mut plan) = scripts().into_iter().find(|(name, _)| name == script)?;
    plan.faults.insert(step.parse().ok()?, Mishap::named(mishap)?);
    Some(plan)
}

#[test]
fn every_single_fault_at_every_step_is_survived() {
    let mut cases = Vec::new();
    for (name, script) in scripts() {
        let dry = run(&script, true).closed;
        assert_eq!(dry.violations, [""; 0], "{name}, without faults");
        for (step, (place, what)) in (1..=dry.steps).zip(&dry.kinds) {
            for mishap in Mishap::at(*place, what) {
                let mut plan = script.clone();
                plan.faults = BTreeMap::from([(step, mishap)]);
                let how = format!("TOKENKEEP_FAULT_CASE={name}s{step}{mishap:?}");
                cases.push((how, plan));
            }
        }
    }
    let tally = Tally::of(cases.len(), |n| cases[n].clone());
    tally.check("single faults");
    // The same answer can be had again for a while: then one fault alone costs no login, unless
    // nobody is left to ask.
    tally.assert_none_lost_by(&[
        Excuse::AnswerLostAgain,
        Excuse::AnswerLostUnasked,
        Excuse::CrashSpoolFailed,
        Excuse::CrashWithoutSpool,
    ]);
}

#[test]
fn random_faults_of_ten_thousand_seeds_are_survived() {
    let seeds = chosen("TOKENKEEP_FAULT_SEEDS").map_or(SEEDS, |it| it.parse().unwrap());
    let of_seed = |n| {
        let seed = u64::try_from(n).unwrap();
        (format!("TOKENKEEP_FAULT_SEED={seed}"), Plan::random(seed))
    };
    Tally::of(usize::try_from(seeds).unwrap(), of_seed).check("seeds");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut all = BTreeMap::new();
    for seed in 0..40 {
        let plan = Plan::random(seed);
        let hashes = [0, 1, 2].map(|_| run(&plan, false).closed.hash);
        assert_eq!(hashes, [hashes[0]; 3], "seed {seed}");
        all.insert(hashes[0], seed);
    }
    assert_eq!(all.len(), 40, "different seeds are different runs");
}

#[test]
fn replay() {
    let plan = match (chosen("TOKENKEEP_FAULT_SEED"), chosen("TOKENKEEP_FAULT_CASE")) {
        (Some(seed), _) => Plan::random(seed.parse().unwrap()),
        (None, Some(name)) => case(&name).unwrap(),
        // Nothing was chosen: the script, to see that replaying works.
        (None, None) => Plan::scripted(Some(Duration::from_secs(60)), 2, true),
    };
    println!("{plan:#?}");
    let outcome = run(&plan, true);
    println!("{}", outcome.closed.text);
    println!("hash {:016x}, excuses {:?}", outcome.closed.hash, outcome.excuses);
    assert_eq!(outcome.closed.hash, run(&plan, false).closed.hash);
    assert_eq!(outcome.closed.violations, [""; 0]);
}
