//! The SDK against the emulator, by itself.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use tokenkeep_emulator::Emulator;

use crate::interpreter::workspace;

pub(crate) fn the_sdk_logs_in_refreshes_and_writes_a_lead(python: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let emulator = runtime.block_on(Emulator::start()).unwrap();
    let output = Command::new(python)
        .arg(workspace().join("interop/sdk_emulator.py"))
        .arg(emulator.url())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    runtime.block_on(emulator.stop());
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
