//! The manager against the emulator, called in process, and a clock that is moved by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::clone_on_ref_ptr, reason = "the method form turns into a trait object")]

mod attacks;
mod budget;
#[path = "../support/calls.rs"]
mod calls;
mod coherence;
mod freshness;
mod keeper;
mod keeper_attacks;
mod login;
mod recovery;
mod refresh;
mod revoke;
mod save;
mod scene;
mod steps;
