//! The runs that are made: by `cargo test`, by the command, and those that must fail.

use crate::{
    config::{Config, Faults, Rotation, Variant},
    properties::{
        ALL_SERVED, KEPT_BEFORE_USED, MARKED_RIGHTLY, NEVER_LOST, NO_WASTE, NOT_OVERWRITTEN,
        NOT_SPENT_TWICE, ONE_SAVER,
    },
};

/// A run of the protocol as it is built. Everything holds in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// What to call it.
    pub name: String,
    /// What it is made of.
    pub config: Config,
}

/// A run without one of the rules, and a property that does not hold in it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Broken {
    /// What it is made of.
    pub config: Config,
    /// What does not hold.
    pub property: &'static str,
}

const NONE: Faults =
    Faults { crashes: 0, lost_answers: 0, lost_leases: 0, failed_saves: 0, logins: 0, expiries: 0 };
const ONE_OF_EACH: Faults =
    Faults { crashes: 1, lost_answers: 1, lost_leases: 1, failed_saves: 1, logins: 1, expiries: 0 };
/// As many deaths as there are processes.
const DEATHS: Faults = Faults { crashes: 3, lost_answers: 1, lost_leases: 1, ..NONE };
/// A second round on what the first one left.
const TWO_ROUNDS: Faults = Faults { logins: 0, expiries: 1, ..ONE_OF_EACH };

const ROTATIONS: [(&str, Rotation); 4] = [
    ("no rotation", Rotation::None),
    ("rotation with grace", Rotation::Grace),
    ("strict rotation", Rotation::Strict),
    ("reuse detection", Rotation::Reuse),
];

/// What `cargo test` runs: seconds.
#[must_use]
pub fn small() -> Vec<Run> {
    each(&[
        ("no fault", 3, NONE),
        ("three deaths", 3, DEATHS),
        ("one of each", 3, ONE_OF_EACH),
        ("two rounds", 2, TWO_ROUNDS),
    ])
}

/// What `--big` runs: minutes.
#[must_use]
pub fn big() -> Vec<Run> {
    let two_of_most = Faults { lost_leases: 2, crashes: 3, lost_answers: 2, ..NONE };
    let everything = Faults { crashes: 2, ..ONE_OF_EACH };
    let two_rounds = Faults { expiries: 1, logins: 0, ..ONE_OF_EACH };
    let with_login = Faults { expiries: 1, ..ONE_OF_EACH };
    each(&[
        ("three deaths, two of the other faults", 3, two_of_most),
        ("two deaths, one of each", 3, everything),
        ("two rounds, two of most", 2, Faults { crashes: 2, failed_saves: 2, ..two_rounds }),
        ("two rounds and a login", 2, with_login),
        ("two rounds of three", 3, two_rounds),
    ])
}

fn each(runs: &[(&str, u8, Faults)]) -> Vec<Run> {
    let mut all = Vec::new();
    for (what, processes, faults) in runs {
        for (rule, rotation) in ROTATIONS {
            let config = Config {
                processes: *processes,
                rotation,
                faults: *faults,
                variant: Variant::Faithful,
            };
            all.push(Run { name: format!("{processes} processes, {rule}, {what}"), config });
        }
    }
    all
}

/// For each rule: the protocol without it, with no more faults than it takes, and what breaks.
#[must_use]
pub fn broken() -> Vec<Broken> {
    use Rotation::{Grace, None as NoRotation, Strict};
    let crash = Faults { crashes: 1, ..NONE };
    let lost_answer = Faults { lost_answers: 1, ..NONE };
    let lost_lease = Faults { lost_leases: 1, ..NONE };
    let failed_save = Faults { failed_saves: 1, ..NONE };
    let login = Faults { logins: 1, ..NONE };
    let lost_lease_in_two_rounds = Faults { expiries: 1, ..lost_lease };
    let lost_lease_and_crash = Faults { crashes: 1, ..lost_lease_in_two_rounds };
    let lost_lease_and_failed_save = Faults { failed_saves: 1, ..lost_lease_in_two_rounds };
    [
        (Variant::NoFence, NoRotation, lost_lease, ONE_SAVER),
        (Variant::NoComparison, NoRotation, login, NOT_OVERWRITTEN),
        (Variant::NoReadUnderLease, NoRotation, NONE, NO_WASTE),
        (Variant::NoReadUnderLease, Strict, NONE, NOT_SPENT_TWICE),
        (Variant::PublishBeforeSave, NoRotation, NONE, KEPT_BEFORE_USED),
        (Variant::NoSpool, Strict, crash, NEVER_LOST),
        (Variant::NoSpool, Grace, crash, NEVER_LOST),
        (Variant::SpoolRemovedBeforeSave, Strict, crash, NEVER_LOST),
        (Variant::RefreshTokenCleared, NoRotation, NONE, NEVER_LOST),
        (Variant::NoRecordInFlight, Grace, crash, NEVER_LOST),
        (Variant::NoRecordInFlight, NoRotation, lost_answer, ALL_SERVED),
        (Variant::RecordUncompared, Grace, lost_lease_and_crash, NEVER_LOST),
        (Variant::OthersRecordCleared, Grace, lost_lease_and_crash, NEVER_LOST),
        (Variant::DroppedWithTheLease, Strict, lost_lease, NEVER_LOST),
        (Variant::OldLeftoversSaved, NoRotation, failed_save, NOT_OVERWRITTEN),
        (Variant::StartsAgainWithoutLease, NoRotation, lost_lease_in_two_rounds, NO_WASTE),
        (Variant::RotatedAgainUnsaved, Grace, lost_lease_and_failed_save, NEVER_LOST),
        (
            Variant::MarkWithoutFingerprint,
            Strict,
            Faults { logins: 1, ..lost_answer },
            MARKED_RIGHTLY,
        ),
    ]
    .map(|(variant, rotation, faults, property)| {
        let config = Config { processes: 2, rotation, faults, variant };
        Broken { config, property }
    })
    .into()
}
