//! The official Python SDK against the emulator.
//!
//! Runs `interop/sdk_emulator.py` with the interpreter that `TOKENKEEP_SDK_PYTHON` names, or with
//! the one that `cargo xtask test` made in `target/interop/venv`. Where neither is there the test
//! shows as ignored, and as failed if `TOKENKEEP_REQUIRE` is `all`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use libtest_mimic::{Arguments, Failed, Trial};
use tokenkeep_emulator::Emulator;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let python = interpreter();
    let required = variable("TOKENKEEP_REQUIRE").is_some_and(|value| value == "all");
    let ignored = python.is_none() && !required;
    let reason = if ignored { " (skipped: TOKENKEEP_SDK_PYTHON is not set)" } else { "" };
    let name = format!("official_python_sdk_logs_in_refreshes_and_writes_a_lead{reason}");
    let trial = Trial::test(name, move || match python {
        Some(python) => run(&python),
        None => Err("TOKENKEEP_SDK_PYTHON is not set, and TOKENKEEP_REQUIRE is `all`".into()),
    })
    .with_ignored_flag(ignored);
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn run(python: &Path) -> Result<(), Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let emulator = Emulator::builder().location("us").start().await?;
        let url = emulator.url().to_owned();
        let mut script = Command::new(python);
        script.arg(workspace().join("interop/sdk_emulator.py")).arg(url).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || script.output()).await??;
        emulator.stop().await;
        if output.status.success() {
            return Ok(());
        }
        Err(Failed::from(format!(
            "{}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        )))
    })
}

fn interpreter() -> Option<PathBuf> {
    let made = workspace().join("target/interop/venv/bin/python");
    variable("TOKENKEEP_SDK_PYTHON").map(PathBuf::from).or_else(|| made.exists().then_some(made))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "how this test is configured")]
    env::var(name).ok().filter(|value| !value.is_empty())
}
