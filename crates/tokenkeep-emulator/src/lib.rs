//! A Zoho accounts server and a small Zoho CRM v8, on one loopback port.
//!
//! Demos and tests log in, refresh, revoke and read records against it without an account, a
//! network or a wait. It obeys the rules that break real clients: grant codes live two minutes and
//! work once, a refresh token mints ten access tokens in ten minutes, the sixteenth live access
//! token ends the oldest, the twenty-first refresh token of a user deletes the first, and errors
//! come with HTTP status 200.
//!
//! One emulator is one data centre. Start two for two of them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tokenkeep_emulator::EmulatorError> {
//! use tokenkeep_emulator::Emulator;
//!
//! let emulator = Emulator::builder().location("eu").start().await?;
//! let user = emulator.add_user("ada@example.com", "1000.CLIENT", "test-client-secret");
//!
//! // Any client may now exchange `user.grant_token` at `{url}/oauth/v2/token`.
//! assert!(emulator.url().starts_with("http://127.0.0.1:"));
//! assert_eq!(user.email, "ada@example.com");
//! assert_eq!(emulator.stats().throttled, 0);
//! emulator.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Time is a parameter ([`EmulatorBuilder::clock`]), so a test need not wait for an hour to pass.
//! Faults are, too: see [`Config`] and [`Fault`]. [`InProcess`] is the same server without a socket, for
//! tests that must be the same each time.
//!
//! Beside Zoho's own paths it answers `/emulator/stats`, `/emulator/users`, `/emulator/config`,
//! `/emulator/expire`, `/emulator/reset` and `/emulator/device/accept`, each of which is a method
//! of [`InProcess`], and so of [`Emulator`], as well.
#![forbid(unsafe_code)]

mod accounts;
mod clients;
mod config;
mod control;
mod crm;
mod device;
mod emulator;
mod faults;
mod in_process;
mod inspect;
mod listener;
mod mint;
mod pages;
mod params;
mod reply;
mod rules;
mod scopes;
mod state;
mod stats;
mod steer;
mod tokens;

pub use config::{BadInput, Config, DropWhen, Fault};
pub use emulator::{Emulator, EmulatorBuilder, EmulatorError};
pub use in_process::{ConnectionDropped, InProcess, InProcessReply};
pub use state::NewUser;
pub use stats::Stats;
