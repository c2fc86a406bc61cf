//! The command as scripts and people see it: output, errors and exit codes of the real binary.

#[path = "support.rs"]
mod support;

mod bad_input;
mod demo;
mod doctor;
mod emulator;
mod help;
mod import_export;
mod leaks;
mod login;
mod processes;
mod provider;
mod stored;
