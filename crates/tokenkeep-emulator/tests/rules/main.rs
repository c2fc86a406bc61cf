//! Every rule of the emulator, over its own port.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod authorise;
mod bench;
mod control;
mod crm;
mod faults;
mod in_process;
mod tokens;
