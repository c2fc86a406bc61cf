//! The conformance suite: one table of cases that every token store has to pass.
//!
//! [`Fixture`] tells the suite how to get at a store, [`main`] runs all cases on it.

mod case;
mod cases;
mod child;
mod fixture;
mod race;
mod run;

pub use self::{
    case::{Case, CaseResult, Context, Failure, Needs},
    cases::cases,
    fixture::{Capabilities, Fixture, SetupError, Space},
    run::{Verdict, main, run_cases},
};
