//! Real processes on one token: one refresh, whoever is killed.
//!
//! Eight processes of 32 tasks each ask for a token that has expired, on a store in a file and at
//! a provider that takes 300 ms to answer. In each round one of them is killed at a random moment.
//! Nothing else is simulated but the hours between two rounds: all go by a clock that the parent
//! sets forward.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::print_stdout, reason = "helpers of tests are tests")]
#![expect(clippy::clone_on_ref_ptr, reason = "the method form turns into a trait object")]

mod child;
mod clock;
mod figures;
mod herd;
#[path = "../support/soak.rs"]
mod soak;
mod wire;

use herd::{Herd, Kind, Rotation};

/// A few rounds, or 200 of them in `cargo xtask soak`.
async fn run(kind: Kind, rotation: Rotation) {
    let rounds = if soak::is_on() { 200 } else { 3 };
    let mut herd = Herd::start(kind, rotation).await;
    for round in 0..rounds {
        herd.round(round).await;
    }
    herd.figures().show(&format!("{kind:?}, {rotation:?}"), rounds);
    if soak::is_on() {
        // Kills that meet nothing would show nothing.
        let met = herd.figures().killed_while_asking;
        assert!(met >= rounds / 20, "only {met} of {rounds} kills met a process that was asking");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_no_token_and_at_most_one_refresh_on_sqlite() {
    run(Kind::Sqlite, Rotation::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_no_token_and_at_most_one_refresh_on_a_file() {
    run(Kind::File, Rotation::Off).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_no_rotated_token_and_no_refresh_on_sqlite() {
    run(Kind::Sqlite, Rotation::On).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_no_rotated_token_and_no_refresh_on_a_file() {
    run(Kind::File, Rotation::On).await;
}
