//! What must hold in every state, and what must be possible.

use stateright::Property;

use crate::{
    config::{Config, Variant},
    process::{Outcome, Process, Step},
    protocol::{Protocol, State},
    store::Notes,
    token::RefreshToken,
};

/// A. Never do two holders save one refresh: no save passes the fence once a newer lease is out,
/// and no two pass it for the same stored token.
pub const ONE_SAVER: &str = "never do two holders of the lease both save";
/// B. A token is kept in the slot, or was stored, before any caller gets it.
pub const KEPT_BEFORE_USED: &str = "callers get no token that is neither stored nor kept";
/// C. The newest refresh token that the provider takes is never lost, but for the one window that
/// nobody can close.
///
/// It is in the store, in the memory of a live process, on its way to one, or in a spool; or, while
/// the provider still takes the one before it, the record in flight names that one, so that the
/// next holder gets the answer again. The window: the answer was lost, or the process died, after
/// the provider's effect and before the spool entry was written, and nobody else had been given
/// that answer; and the grace window, if there ever was one, is over.
pub const NEVER_LOST: &str = "the newest refresh token is never lost";
/// D. A holder that lost its lease does not overwrite what others have stored since, a login is
/// never overwritten by what is older, and no newer token by an older one.
pub const NOT_OVERWRITTEN: &str = "no newer token and no login is overwritten";
/// E. The provider answers once for each round and once for each fault, at most.
pub const NO_WASTE: &str = "the provider is asked no more often than needed";
/// F. When all is done, every caller has a token or knows that a login is needed; and if any has a
/// token, the newest refresh token is stored (or on the disk of a process that is down, or past
/// help as in C).
pub const ALL_SERVED: &str = "in the end everybody is answered and the newest token is stored";
/// G. Nothing that the provider still takes is noted as refused.
pub const MARKED_RIGHTLY: &str = "only what the provider refuses is marked needs login";
/// H. Without a fault, nobody sends a refresh token that has been replaced.
pub const NOT_SPENT_TWICE: &str = "without a fault no spent refresh token is sent";

/// Everybody can get a token.
const SERVED: &str = "everybody gets a token";
/// The spool is found after a crash.
const RECOVERED: &str = "a process that starts again saves what it finds in its spool";
/// A rotated token is saved by a process that has lost the lease.
const SAVED_UNFENCED: &str = "a token is saved by comparison alone";
/// A save that failed is made up for.
const SAVED_LATER: &str = "what could not be saved is saved later";

pub(crate) fn all(config: &Config) -> Vec<Property<Protocol>> {
    let mut all: Vec<Property<Protocol>> = vec![
        Property::always(ONE_SAVER, |_, state: &State| !state.store.seen.two_savers),
        Property::always(KEPT_BEFORE_USED, |_, state: &State| !state.store.seen.served_unkept),
        Property::always(NEVER_LOST, |_, state: &State| never_lost(state)),
        Property::always(NOT_OVERWRITTEN, |_, state: &State| !state.store.seen.overwritten),
        Property::always(NO_WASTE, no_waste),
        Property::always(ALL_SERVED, |_, state: &State| all_served(state)),
        Property::always(MARKED_RIGHTLY, |_, state: &State| marked_rightly(state)),
        Property::always(NOT_SPENT_TWICE, |model: &Protocol, state: &State| {
            !state.provider.refused || faults(model, state) > 0
        }),
    ];
    // That nothing bad can be reached says little if nothing can be reached.
    all.push(Property::sometimes(SERVED, |model: &Protocol, state: &State| {
        let served = |process: &&_| has_ended(process, Outcome::Token);
        state.processes.iter().filter(served).count() == usize::from(model.0.processes)
    }));
    let faults = config.faults;
    if faults.crashes > 0 && config.variant != Variant::NoSpool {
        all.push(Property::sometimes(RECOVERED, |_, state: &State| {
            state.processes.iter().any(|process| {
                process.step == Step::Save
                    && process.seen != Notes::default()
                    && process.spool.is_some()
                    && process.spool == process.unsaved
            })
        }));
    }
    if faults.lost_leases > 0 {
        all.push(Property::sometimes(SAVED_UNFENCED, |_, state: &State| {
            state.processes.iter().any(|process| process.step == Step::Save && !process.fenced)
        }));
    }
    if faults.failed_saves > 0 {
        all.push(Property::sometimes(SAVED_LATER, |_, state: &State| {
            state
                .processes
                .iter()
                .any(|process| process.step == Step::TakeLease && process.unsaved.is_some())
        }));
    }
    all
}

fn has_ended(process: &Process, outcome: Outcome) -> bool {
    process.step == Step::Done(outcome)
}

fn never_lost(state: &State) -> bool {
    // Where the whole grant is revoked there is nothing to lose.
    state
        .provider
        .newest()
        .is_none_or(|newest| is_kept(state, newest) || is_past_help(state, newest))
}

fn is_kept(state: &State, newest: RefreshToken) -> bool {
    let recorded = state.store.notes.in_flight.is_some_and(|record| {
        record.sent.grant == newest.grant
            && record.sent.rotation + 1 == newest.rotation
            && state.provider.takes(record.sent)
    });
    recorded || state.has_copy(newest)
}

/// The window that nobody can close, past the grace that would have opened it again.
fn is_past_help(state: &State, newest: RefreshToken) -> bool {
    state.provider.is_orphaned(newest) && !state.provider.has_grace(newest.grant)
}

fn no_waste(model: &Protocol, state: &State) -> bool {
    let rounds = 1 + model.0.faults.expiries - state.left.expiries;
    state.provider.answered <= rounds + faults(model, state)
}

/// The faults that have happened.
fn faults(model: &Protocol, state: &State) -> u8 {
    let (all, left) = (model.0.faults, state.left);
    (all.crashes - left.crashes)
        + (all.lost_answers - left.lost_answers)
        + (all.lost_leases - left.lost_leases)
        + (all.failed_saves - left.failed_saves)
}

fn all_served(state: &State) -> bool {
    let live = || state.processes.iter().filter(|process| process.is_alive());
    if live().any(|process| !matches!(process.step, Step::Done(_))) {
        return true;
    }
    if live().any(|process| has_ended(process, Outcome::Failed)) {
        return false;
    }
    let is_on_a_disk = |refresh| state.processes.iter().any(|process| process.has_spooled(refresh));
    // Where nobody has a token, each was told that a login is needed, or is dead.
    !live().any(|process| has_ended(process, Outcome::Token))
        || state.provider.newest().is_none_or(|newest| {
            state.store.token.refresh == Some(newest)
                || is_on_a_disk(newest)
                || is_past_help(state, newest)
        })
}

fn marked_rightly(state: &State) -> bool {
    state.store.notes.needs_login.is_none_or(|refused| !state.provider.takes(refused))
}
