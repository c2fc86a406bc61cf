//! The manager against the emulator: real requests on loopback, a clock that is moved by hand.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::clone_on_ref_ptr, reason = "the method form turns into a trait object")]

#[path = "../support/calls.rs"]
mod calls;
mod login;
mod processes;
mod refresh;
mod revoke;
mod save;
mod scene;
