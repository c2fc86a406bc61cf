//! A model of how a token is refreshed by several processes, and a program that visits every state
//! it can get into: every order of the steps, with processes that die between any two of them,
//! answers that are lost, leases that end under a holder at work, saves that fail, and a login by
//! an official SDK in the middle.
//!
//! ```text
//!            try_lease          read token,       replace_state
//!                               notes, spool
//!  wants ──► TakeLease ───────► ReadAgain ──────► Record ─────────► Ask ─────► Receive
//!    ▲           │ stored by        │   │ left over   │ notes          ▲  lost  │   │ refused
//!    │           │ others           │   │ unsaved     │ changed        └────────┤   ▼
//!    │           ▼                  ▼   │             ▼                         │  ReadRefused
//!    │         Done             Release │           Renew ◄─── another grant ───┼───┤
//!    │                              ▲   │             ▲                         ▼   ▼ same grant
//!    │                              │   └─────────────┼──────────┐             Spool Mark ─► Release
//!    │                              │                 │          ▼              │
//!    │                            Clear ◄─ Unspool ◄──┼─ saved ─ Save ◄─────────┘
//!    │                                                │          │  ▲  unknown
//!    │                                                └─ newer ──┤  └───────► ReadBack
//!    └──────────────────── not saved: kept, used, saved later ───┘
//! ```
//!
//! Each step is one transaction of the store, one request, or one write to the process's own disk;
//! between two of them anything can happen.
//!
//! | step of the model | step of the protocol | in `tokenkeep-manager` |
//! |---|---|---|
//! | a process | one flight a process (1) | `Slot::flight` |
//! | `TakeLease` | take the lease, or adopt what others stored (2) | `refresh/lease.rs`: `take_lease` |
//! | `Renew` | start again, with the lease if it is still ours | `refresh.rs`: `renew`, `still_ours` |
//! | `ReadAgain` | read under the lease; save what was left first (3) | `refresh/recover.rs`: `bring_home` |
//! | `Record` | note the refresh in flight, by comparison (4) | `refresh/ask.rs`: `Request::record` |
//! | `Ask`, `Receive` | the exchange; a lost answer is asked for again (5) | `refresh/ask.rs`: `ask`, `failed` |
//! | `Spool` | keep it in the slot, then in the spool (6) | `refresh/recover.rs`: `remember` |
//! | `Save`, `ReadBack` | compare and swap, with the fence (7) | `refresh/save.rs`: `save` |
//! | `Unspool` | remove the spool entry (7) | `refresh/recover.rs`: `forget` |
//! | `Clear`, `Release` | clear the note, give the lease back (8) | `Issued::clear`; `refresh/lease.rs`: `release` |
//! | `ReadRefused`, `Mark` | a dead grant: read once more, then mark it | `refresh/ask.rs`: `refused` |
//!
//! # What holds
//!
//! [`properties`] has them, A to H. [`runs`] has the runs in which they hold: four kinds of
//! providers, with faults. It also has the protocol without one of its rules, [`Variant`] by
//! [`Variant`], and the property that then breaks: that is how we know that the properties can
//! break, and what each rule is for.
//!
//! That everybody is served *in the end* (F) is a statement on states in which nothing is left to
//! do. [`every_run_ends`] shows that every run gets to one.
//!
//! # How to run it, and how to read a counterexample
//!
//! ```text
//! cargo test -p tokenkeep-model
//! cargo run --release -p tokenkeep-model -- --big
//! cargo run --release -p tokenkeep-model -- --broken OthersRecordCleared
//! ```
//!
//! A counterexample is a list of what happened, with how things stand after each:
//!
//! ```text
//!  13. p1 Record
//!      store     R1/A1, lease 2 held, R1 in flight by lease 2
//!      provider  newest R1 and the one before, 1 answers
//!      p0        Clear, lease 1
//!      p1        Ask, lease 2
//! ```
//!
//! The second process wrote its record. `R1` is the refresh token that took the place of `R0`, `L0`
//! is that of the login, `A1` the first access token that was issued. The provider takes `R1`, and
//! `R0` for a while. Next the first process clears the record, with a lease that has passed on; and
//! the second asks. Generations get the lowest numbers that keep their order, so a number may fall.
//!
//! # What the model leaves out
//!
//! - Time. A lease, a grace window and an access token end when the checker says so, at any moment.
//! - The contents of tokens. Access tokens are numbered as issued; which of two is newer, a manager
//!   reads from the time of issue.
//! - A request that does not reach the provider, or a save that is not applied and is tried again:
//!   that is a step not yet made. A request or a write that arrives after its sender gave it up.
//! - Processes that share a spool: each has its own, which is the harder case. All answers are
//!   spooled, also those that did not rotate.
//! - Backoff, budgets, throttling, deletion, several tokens: they do not meet here.
//!
//! The checker keeps 64 bits of each state, so it would miss a state that shares them with another:
//! once in 300,000 runs of ten million states.
#![forbid(unsafe_code)]

mod check;
mod config;
mod process;
pub mod properties;
mod protocol;
mod provider;
pub mod runs;
mod steps;
mod store;
mod token;

pub use self::{
    check::{Counterexample, Report, check, every_run_ends, shortest_counterexample},
    config::{Config, Faults, Rotation, Variant},
};
