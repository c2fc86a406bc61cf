//! What tests of tokenkeep and of stores for it are made with: the [conformance] suite that every
//! token store has to pass, and a [clock](ManualClock) that is moved by hand.
#![forbid(unsafe_code)]

mod clock;
pub mod conformance;

pub use self::clock::ManualClock;
