//! The Python environment of the official-SDK checks: made once, made again when the
//! requirements or the interpreter change.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::process;

/// Where the checks tell tests which interpreter has the official SDK.
pub(crate) const INTERPRETER: &str = "TOKENKEEP_SDK_PYTHON";

/// The interpreter with everything that `interop/requirements.txt` names.
///
/// # Errors
///
/// What is missing: Python, its venv module, pip, or the packages.
pub(crate) fn environment() -> Result<PathBuf> {
    let requirements = process::root().join("interop/requirements.txt");
    let wanted = fs::read_to_string(&requirements).context("no interop/requirements.txt")?;
    let version = process::output(Command::new("python3").arg("--version"))
        .context("the official-SDK checks need python3")?;
    let stamp_text = format!("{version}{wanted}");

    let directory = process::target("interop/venv");
    let interpreter = directory.join("bin/python");
    let stamp = directory.join("made-from.txt");
    if interpreter.exists() && fs::read_to_string(&stamp).is_ok_and(|text| text == stamp_text) {
        return Ok(interpreter);
    }

    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))
        .context("python3 has no working venv module (Debian: apt install python3-venv)")?;
    process::run(
        Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
            .arg("--requirement")
            .arg(&requirements),
    )
    .context("pip could not install the official SDK")?;
    process::write(&stamp, &stamp_text)?;
    Ok(interpreter)
}
