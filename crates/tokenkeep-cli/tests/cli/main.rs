//! The command as scripts and people see it: output, errors and exit codes of the real binary.
#![expect(clippy::unwrap_used, reason = "what supports the tests is not inside a test function")]

mod bad_input;
mod demo;
mod device;
mod disk;
mod doctor;
mod emulator;
mod help;
mod import_export;
mod keep;
mod leaks;
mod login;
mod migrate;
mod processes;
mod provider;
mod spool;
mod stored;
mod support;
