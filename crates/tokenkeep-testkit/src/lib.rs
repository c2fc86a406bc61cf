//! What tests of tokenkeep and of stores for it are made with: the [conformance] suite that every
//! token store has to pass, a [clock](ManualClock) that is moved by hand, a
//! [store](FaultyStore) that fails where a test wants, and a [canary](LeakCanary) that finds secrets
//! where they must not be.
#![forbid(unsafe_code)]

mod canary;
mod clock;
pub mod conformance;
mod faulty;

pub use self::{
    canary::{Leak, LeakCanary},
    clock::ManualClock,
    faulty::{FaultyStore, Gate, When},
};
