//! The client against the emulator, and against a server that says what a test tells it to.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod answers;
mod authentication;
mod lists;
mod records;
mod scripted;
mod setup;
