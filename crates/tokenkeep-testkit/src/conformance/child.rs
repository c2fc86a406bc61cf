//! Child processes: the test program runs itself with a job in an environment variable.

use std::{process::ExitCode, sync::Arc};

use super::Fixture;

const VARIABLE: &str = "TOKENKEEP_TESTKIT_JOB";

/// What this process was started for, if it is a child.
pub(super) fn job() -> Option<String> {
    std::env::var_os(VARIABLE)?.into_string().ok()
}

pub(super) fn main(_fixtures: &[Arc<dyn Fixture>], _job: &str) -> ExitCode {
    ExitCode::FAILURE
}
