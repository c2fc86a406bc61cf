//! Running the checker, and what it says.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Representative};

use crate::{
    config::Config,
    protocol::{Action, Protocol, State},
};

/// What a run found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The states that are different, after processes that are alike were taken for one another.
    pub states: usize,
    /// The steps that were taken.
    pub steps: usize,
    /// The longest way from the beginning.
    pub depth: usize,
    /// The properties that do not hold, each with a way to a state in which it does not.
    pub broken: Vec<Counterexample>,
    /// What should be possible and is not.
    pub unreached: Vec<&'static str>,
}

/// A way to a state in which a property does not hold.
#[derive(Debug)]
#[non_exhaustive]
pub struct Counterexample {
    /// The property.
    pub property: &'static str,
    /// What happened, and on the next lines how things stand then.
    pub steps: Vec<String>,
}

impl Report {
    /// Whether all properties hold, and all that should be possible is.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.unreached.is_empty()
    }
}

/// Visits every state that can be reached, until a property is found not to hold.
#[must_use]
pub fn check(config: Config, threads: usize) -> Report {
    let checker = Protocol(config)
        .checker()
        .threads(threads)
        .symmetry()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    let discoveries = checker.discoveries();
    let mut broken = Vec::new();
    let mut unreached = Vec::new();
    for property in Protocol(config).properties() {
        match (property.expectation, discoveries.get(property.name)) {
            (Expectation::Sometimes, None) => unreached.push(property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                broken.push(counterexample(property.name, path.clone()));
            }
            _ => {}
        }
    }
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        broken,
        unreached,
    }
}

/// A shortest way to a state in which `property` does not hold; `None` if it always does.
///
/// It keeps all states, so it is for small configurations, or for where there is a way.
#[must_use]
pub fn shortest_counterexample(config: Config, property: &'static str) -> Option<Counterexample> {
    let model = Protocol(config);
    let holds = model.property(property).condition;
    // The states in the order they were reached, each with the place of the one before it.
    let mut reached: Vec<(State, Option<(usize, Action)>)> = Vec::new();
    let mut seen: HashSet<State> = HashSet::new();
    for first in model.init_states() {
        seen.insert(first.representative());
        reached.push((first, None));
    }
    let mut next = 0;
    while let Some(&(state, _)) = reached.get(next) {
        if !holds(&model, &state) {
            return Some(way_to(&reached, next, property));
        }
        for (action, following) in model.next_steps(&state) {
            if seen.insert(following.representative()) {
                reached.push((following, Some((next, action))));
            }
        }
        next += 1;
    }
    None
}

fn way_to(
    reached: &[(State, Option<(usize, Action)>)],
    end: usize,
    property: &'static str,
) -> Counterexample {
    let mut steps = Vec::new();
    let mut place = Some(end);
    while let Some((state, before)) = place.map(|place| &reached[place]) {
        steps.push(step(before.as_ref().map(|(_, action)| action), state));
        place = before.map(|(before, _)| before);
    }
    steps.reverse();
    Counterexample { property, steps }
}

fn counterexample(property: &'static str, path: Path<State, Action>) -> Counterexample {
    let mut happened = None;
    let mut steps = Vec::new();
    for (state, next) in path.into_vec() {
        steps.push(step(happened.as_ref(), &state));
        happened = next;
    }
    Counterexample { property, steps }
}

fn step(happened: Option<&Action>, state: &State) -> String {
    match happened {
        Some(action) => format!("{action:?}\n{state:?}"),
        None => format!("at first\n{state:?}"),
    }
}

/// Whether every run ends: whether no state can be reached from itself.
///
/// With this, "when all is done" is where every run gets to. It keeps all states, so it is for
/// small configurations.
#[must_use]
pub fn every_run_ends(config: Config) -> bool {
    !goes_in_circles(&Protocol(config))
}

fn goes_in_circles<M: Model<State: Copy + Eq + Hash>>(model: &M) -> bool {
    // Whether a state is on the way that is being followed, or was left for good.
    let mut on_the_way: HashMap<M::State, bool> = HashMap::new();
    let mut way: Vec<(M::State, Vec<M::State>)> = Vec::new();
    for first in model.init_states() {
        on_the_way.insert(first, true);
        way.push((first, model.next_states(&first)));
    }
    while let Some((state, next)) = way.last_mut() {
        let Some(following) = next.pop() else {
            on_the_way.insert(*state, false);
            way.pop();
            continue;
        };
        match on_the_way.get(&following) {
            Some(true) => return true,
            Some(false) => {}
            None => {
                on_the_way.insert(following, true);
                way.push((following, model.next_states(&following)));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number and those that can follow it.
    struct Graph(&'static [&'static [usize]]);

    impl Model for Graph {
        type State = usize;
        type Action = usize;

        fn init_states(&self) -> Vec<usize> {
            vec![0]
        }

        fn actions(&self, state: &usize, actions: &mut Vec<usize>) {
            actions.extend(self.0[*state]);
        }

        fn next_state(&self, _: &usize, next: usize) -> Option<usize> {
            Some(next)
        }
    }

    #[test]
    fn a_circle_is_found_and_two_ways_to_one_state_are_none() {
        assert!(!goes_in_circles(&Graph(&[&[1, 2], &[3], &[3], &[]])));
        assert!(goes_in_circles(&Graph(&[&[1, 2], &[3], &[3], &[1]])));
        assert!(goes_in_circles(&Graph(&[&[0]])));
    }
}
