//! The exit codes: what scripts rely on.

/// Done.
pub(crate) const DONE: u8 = 0;
/// It failed; the message says what to do.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage.
pub(crate) const USAGE: u8 = 2;
/// No such token.
pub(crate) const NO_TOKEN: u8 = 3;
/// The user must log in again.
pub(crate) const NEEDS_LOGIN: u8 = 4;
/// The store cannot be reached or opened.
pub(crate) const STORE: u8 = 5;
/// Throttled by the provider; try later.
pub(crate) const THROTTLED: u8 = 6;

/// The table as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  it failed; the message says what to do
  2  wrong usage
  3  no such token
  4  the user must log in again
  5  the store cannot be reached or opened
  6  throttled by the provider; try later";
