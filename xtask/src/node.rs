//! The packages of the official SDK for Node: installed once, and again when the lock file or Node
//! changes.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::process;

/// Where the checks tell tests which directory has the packages.
pub(crate) const DIRECTORY: &str = "TOKENKEEP_SDK_NODE";

/// The directory in whose `node_modules` is all that `interop/package-lock.json` names.
///
/// # Errors
///
/// What is missing: Node, npm, or the packages.
pub(crate) fn environment() -> Result<PathBuf> {
    let interop = process::root().join("interop");
    let files = ["package.json", "package-lock.json", ".npmrc"];
    let version = process::output(Command::new("node").arg("--version")).context(
        "the checks of the official SDK for Node need node (Debian: apt install nodejs)",
    )?;
    let mut stamp_text = version;
    for file in files {
        let text = fs::read_to_string(interop.join(file));
        stamp_text.push_str(&text.with_context(|| format!("no interop/{file}"))?);
    }

    let directory = process::target("interop/node");
    let stamp = directory.join("made-from.txt");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == stamp_text) {
        return Ok(directory);
    }

    fs::create_dir_all(&directory)?;
    for file in files {
        fs::copy(interop.join(file), directory.join(file))?;
    }
    // No package has to run anything to be installed.
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"];
    process::run(Command::new("npm").current_dir(&directory).args(options))
        .context("npm could not install the official SDK (Debian: apt install npm)")?;
    process::write(&stamp, &stamp_text)?;
    Ok(directory)
}
