//! The SDK against the emulator, by itself.

use std::process::Stdio;

use tokenkeep_emulator::Emulator;

use crate::language::{Language, workspace};

pub(crate) fn the_sdk_logs_in_refreshes_and_writes_a_lead() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let emulator = runtime.block_on(Emulator::start()).unwrap();
    let output = Language::Python
        .command()
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
