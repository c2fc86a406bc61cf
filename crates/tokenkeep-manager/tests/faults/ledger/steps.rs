//! What processes do, step by step, and what befalls them.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{Ledger, Name, Who};
use crate::plan::{Mishap, Outage, Place, Plan};

pub(super) struct Steps {
    taken: u64,
    /// Until all was well again.
    pub(super) of_storm: u64,
    /// What each step was, if that is wanted.
    pub(super) kinds: Vec<(Place, String)>,
    verbose: bool,
    faults: BTreeMap<u64, Mishap>,
    outages: Vec<Outage>,
    healed: bool,
    /// When which host was hit by what.
    pub(super) hit: Vec<(Duration, usize, Mishap)>,
    pub(super) died: HashSet<Who>,
}

impl Steps {
    pub(super) fn new(plan: &Plan, verbose: bool) -> Self {
        Self {
            taken: 0,
            of_storm: 0,
            kinds: Vec::new(),
            verbose,
            faults: plan.faults.clone(),
            outages: plan.outages.clone(),
            healed: false,
            hit: Vec::new(),
            died: HashSet::new(),
        }
    }

    /// Counts a step; says which one it is, and what befalls it.
    fn next(&mut self, now: Duration, who: Who, place: Place, what: &str) -> (u64, Option<Mishap>) {
        self.taken += 1;
        if self.verbose {
            self.kinds.push((place, what.to_owned()));
        }
        let in_outage = |it: &&Outage| {
            it.place == place
                && it.host.is_none_or(|host| host == who.0)
                && (it.from..it.to).contains(&now)
        };
        let outage = self.outages.iter().find(in_outage).map(|it| it.mishap);
        let mishap = self.faults.get(&self.taken).copied().or(outage).filter(|_| !self.healed);
        self.hit.extend(mishap.map(|mishap| (now, who.0, mishap)));
        (self.taken, mishap)
    }
}

impl Ledger {
    /// Counts a step; says what befalls it.
    pub(crate) fn step(&self, who: Who, place: Place, what: &str) -> Option<Mishap> {
        let now = self.now();
        let mut book = self.book();
        let (step, mishap) = book.steps.next(now, who, place, what);
        match mishap {
            Some(mishap) => {
                book.note(now, format_args!("{} #{step} {what}: {mishap:?}", Name(who)));
                // What fails at once costs no refresh, unless a save or the lease depends on it.
                let quick = !mishap.is_slow()
                    && !matches!(
                        what,
                        "ReplaceToken" | "RenewLease" | "ReplaceState" | "SaveToken"
                    );
                if !quick || place == Place::Provider {
                    book.allow_all(1);
                }
            }
            None => book.note(now, format_args!("{} #{step} {what}", Name(who))),
        }
        mishap
    }

    pub(crate) fn heal(&self) {
        self.note(format_args!("-- all is well again --"));
        let steps = &mut self.book().steps;
        steps.healed = true;
        steps.of_storm = steps.taken;
    }

    pub(crate) fn died(&self, who: Who) {
        let now = self.now();
        let mut book = self.book();
        book.note(now, format_args!("{} dies", Name(who)));
        book.steps.died.insert(who);
        book.allow_all(1);
    }

    pub(crate) fn has_died(&self) -> bool {
        !self.book().steps.died.is_empty()
    }
}
