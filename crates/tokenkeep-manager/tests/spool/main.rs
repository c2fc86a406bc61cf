//! The spool in a directory: what it keeps, who may read it, and what a kill leaves.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod directory;
mod entries;
mod kill;
mod leaks;
mod support;
