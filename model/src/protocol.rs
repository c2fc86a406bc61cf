//! The steps of the protocol and the faults: which can be next, and what each does.

use std::fmt;

use stateright::{Model, Property, Representative};

use crate::{
    config::{Config, Faults, Variant},
    process::{Outcome, Process, Step},
    properties,
    provider::Provider,
    steps::Turn,
    store::{Notes, Store},
    token::{Grant, RefreshToken, Token},
};

/// The most processes there can be.
pub(crate) const PROCESSES: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) provider: Provider,
    /// Those that the configuration does not have are dead, and stay so.
    pub(crate) processes: [Process; PROCESSES],
    /// The faults that may still come.
    pub(crate) left: Faults,
    /// The access tokens up to this one are too old to be used.
    pub(crate) stale: u8,
}

/// What happens next: a step of the process with that index, or a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The process does what its step says.
    Go(usize, Step),
    /// Without a lease, it uses what somebody else has stored.
    Adopt(usize),
    Crash(usize),
    Restart(usize),
    LoseAnswer(usize),
    /// The save is not applied, and the process gives up on it for now.
    SaveFails(usize),
    /// The save is applied, and the process does not learn that.
    SaveUnknown(usize),
    /// Time passes beyond the end of the lease.
    LeaseEnds,
    /// Time passes beyond the end of the grace window.
    GraceEnds(Grant),
    /// An official SDK writes a login.
    LogIn,
    /// Time passes beyond the end of all access tokens.
    TokensExpire,
}

/// The model that is checked.
#[derive(Debug)]
pub(crate) struct Protocol(pub(crate) Config);

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut processes = [Process::started(None).dead(); PROCESSES];
        for process in processes.iter_mut().take(self.0.processes.into()) {
            *process = Process::started(None);
        }
        let (store, provider) = (Store::new(), Provider::new());
        vec![State { store, provider, processes, left: self.0.faults, stale: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, process) in state.processes.iter().enumerate() {
            if index < usize::from(self.0.processes) {
                of_process(state, index, process, actions);
            }
        }
        // The lease of the dead ends by itself; that of the living is a fault.
        if state.store.held && (state.left.lost_leases > 0 || !state.holder_is_alive()) {
            actions.push(Action::LeaseEnds);
        }
        for grant in [Grant::First, Grant::Login] {
            if state.provider.has_grace(grant) {
                actions.push(Action::GraceEnds(grant));
            }
        }
        if state.left.logins > 0 {
            actions.push(Action::LogIn);
        }
        if state.left.expiries > 0 && state.provider.issued > state.stale {
            actions.push(Action::TokensExpire);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Go(index, step) => Turn { config: &self.0, state: &mut state, index }.go(step),
            Action::Adopt(index) => state.adopt(index),
            Action::Crash(index) => {
                state.left.crashes -= 1;
                let dying = state.processes[index];
                state.processes[index] = dying.dead();
                // Nobody can close this window: answered, and not yet written down.
                if matches!(dying.step, Step::Receive | Step::Spool) {
                    state.orphan_what_had(&dying);
                }
            }
            Action::Restart(index) => {
                state.processes[index] = Process::started(state.processes[index].spool);
            }
            Action::LoseAnswer(index) => {
                state.left.lost_answers -= 1;
                let before = state.processes[index];
                let process = &mut state.processes[index];
                process.answer = None;
                let asks_again = self.0.variant != Variant::NoRecordInFlight;
                process.step = if asks_again { Step::Ask } else { Step::Release(Outcome::Failed) };
                state.orphan_what_had(&before);
            }
            Action::SaveFails(index) => {
                state.left.failed_saves -= 1;
                Turn { config: &self.0, state: &mut state, index }.save_failed();
            }
            Action::SaveUnknown(index) => {
                state.left.failed_saves -= 1;
                Turn { config: &self.0, state: &mut state, index }.replace()?;
                state.processes[index].step = Step::ReadBack;
            }
            Action::LeaseEnds => {
                state.left.lost_leases -= u8::from(state.holder_is_alive());
                state.store.held = false;
            }
            Action::GraceEnds(grant) => state.provider.end_grace(grant),
            Action::LogIn => {
                state.left.logins -= 1;
                let token = state.provider.log_in();
                state.store.put(token);
            }
            Action::TokensExpire => {
                state.left.expiries -= 1;
                state.stale = state.provider.issued;
                for process in &mut state.processes {
                    if matches!(process.step, Step::Done(_)) {
                        *process = Process::started(process.spool);
                    }
                }
            }
        }
        state.number_generations();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.0)
    }
}

/// What can be next for one process.
fn of_process(state: &State, index: usize, process: &Process, actions: &mut Vec<Action>) {
    let Faults { crashes, lost_answers, failed_saves, .. } = state.left;
    let step = process.step;
    if matches!(step, Step::Done(_)) {
        return;
    }
    if step == Step::Down {
        actions.push(Action::Restart(index));
        return;
    }
    if step != Step::TakeLease || !state.store.held {
        actions.push(Action::Go(index, step));
    }
    if step == Step::TakeLease && process.unsaved.is_none() {
        let may_adopt = state.is_fresh(state.store.token) || state.is_refused();
        if process.spool.is_none() && may_adopt {
            actions.push(Action::Adopt(index));
        }
        // Dying here with nothing in memory is the same as not being heard of again.
        return;
    }
    if step == Step::Receive && lost_answers > 0 {
        actions.push(Action::LoseAnswer(index));
    }
    if matches!(step, Step::Save | Step::ReadBack) && failed_saves > 0 {
        actions.push(Action::SaveFails(index));
    }
    if step == Step::Save && failed_saves > 0 {
        actions.push(Action::SaveUnknown(index));
    }
    if crashes > 0 {
        actions.push(Action::Crash(index));
    }
}

impl State {
    /// Whether `token` was issued since it was wanted.
    pub(crate) fn is_fresh(&self, token: Token) -> bool {
        token.access > self.stale
    }

    /// Whether what is stored is noted as refused.
    pub(crate) fn is_refused(&self) -> bool {
        let stored = self.store.token.refresh;
        stored.is_none() || self.store.notes.needs_login == stored
    }

    fn holder_is_alive(&self) -> bool {
        self.processes.iter().any(|process| process.lease == self.store.generation)
    }

    fn adopt(&mut self, index: usize) {
        let fresh = self.is_fresh(self.store.token);
        let outcome = if fresh { Outcome::Token } else { Outcome::NeedsLogin };
        self.finish(index, outcome);
    }

    pub(crate) fn finish(&mut self, index: usize, outcome: Outcome) {
        let process = &mut self.processes[index];
        *process = Process { step: Step::Done(outcome), ..Process::started(process.spool) };
    }

    /// Notes what `before` had been issued as lost, if it was the last one to have it.
    fn orphan_what_had(&mut self, before: &Process) {
        if let Some(newest) = self.provider.newest()
            && before.remembers(newest)
            && !self.has_copy(newest)
        {
            self.provider.orphan(newest);
        }
    }

    /// Whether anybody has `refresh`: the store, a live process, a disk, or what is on its way.
    pub(crate) fn has_copy(&self, refresh: RefreshToken) -> bool {
        self.store.token.refresh == Some(refresh)
            || self
                .processes
                .iter()
                .any(|process| process.remembers(refresh) || process.has_spooled(refresh))
    }

    /// Gives the generations the lowest numbers that keep their order. Only their order counts, so
    /// this changes nothing but makes equal what is equal.
    fn number_generations(&mut self) {
        let mut used = [false; 16];
        self.each_generation(|generation| used[usize::from(*generation)] = true);
        let mut ranks = [0; 16];
        let mut next = 0;
        for (generation, rank) in ranks.iter_mut().enumerate().skip(1) {
            if used[generation] {
                next += 1;
                *rank = next;
            }
        }
        self.each_generation(|generation| *generation = ranks[usize::from(*generation)]);
    }

    fn each_generation(&mut self, mut visit: impl FnMut(&mut u8)) {
        fn in_flight(notes: &mut Notes) -> Option<&mut u8> {
            notes.in_flight.as_mut().map(|in_flight| &mut in_flight.generation)
        }
        visit(&mut self.store.generation);
        in_flight(&mut self.store.notes).into_iter().for_each(&mut visit);
        for process in &mut self.processes {
            visit(&mut process.lease);
            in_flight(&mut process.seen).into_iter().for_each(&mut visit);
        }
    }
}

/// Processes are alike, so their order does not matter.
impl Representative for State {
    fn representative(&self) -> Self {
        let mut state = *self;
        state.processes.sort_unstable();
        state
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "       store     {:?}\n       provider  {:?}", self.store, self.provider)?;
        for (index, process) in self.processes.iter().enumerate() {
            write!(f, "\n       p{index}        {process:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Go(index, step) => write!(f, "p{index} {step:?}"),
            Self::Adopt(index) => write!(f, "p{index} uses what is stored"),
            Self::Crash(index) => write!(f, "p{index} dies"),
            Self::Restart(index) => write!(f, "p{index} starts again"),
            Self::LoseAnswer(index) => write!(f, "the answer to p{index} is lost"),
            Self::SaveFails(index) => write!(f, "p{index} cannot save"),
            Self::SaveUnknown(index) => write!(f, "p{index} saves and does not learn it"),
            Self::LeaseEnds => write!(f, "the lease ends"),
            Self::GraceEnds(_) => write!(f, "the grace window ends"),
            Self::LogIn => write!(f, "an SDK writes a login"),
            Self::TokensExpire => write!(f, "all access tokens expire"),
        }
    }
}
