//! What tests of tokenkeep and of stores for it are made with: the [conformance] suite that every
//! token store has to pass, a [clock](ManualClock) that is moved by hand, and a
//! [store](FaultyStore) that fails where a test wants.
#![forbid(unsafe_code)]

mod clock;
pub mod conformance;
mod faulty;

pub use self::{
    clock::ManualClock,
    faulty::{FaultyStore, Gate, When},
};
