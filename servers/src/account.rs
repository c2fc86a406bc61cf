//! Whom servers run as: nobody, where we are root, for PostgreSQL refuses that and Galera fails.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::program::Program;

const NOBODY: u32 = 65_534;

/// The user and group of servers, if it is not ours.
pub(crate) fn of_servers() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(NOBODY)
}

/// A command that runs `program` in `directory` as servers run: in a session of its own, with
/// nothing of our environment. Its process id is the program's.
pub(crate) fn command<A: AsRef<OsStr>>(
    program: &Program,
    directory: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new("setsid");
    if let Some(id) = of_servers() {
        command.arg("setpriv").arg(format!("--reuid={id}")).arg(format!("--regid={id}"));
        command.arg("--clear-groups");
        if !is_open_to_all(program.path()) {
            // As well where it asks first whether it may.
            command.arg("--securebits=+no_setuid_fixup");
            command.args(["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]);
        }
    }
    command.args(["env", "--ignore-environment", "LANG=C.UTF-8", "TZ=UTC"]);
    for (name, value) in [("HOME", directory), ("TMPDIR", directory)] {
        command.arg(pair(name, value.as_os_str()));
    }
    for (name, value) in program.environment() {
        command.arg(pair(name, &value));
    }
    command.arg(program.path()).args(arguments).current_dir(directory).stdin(Stdio::null());
    command
}

fn pair(name: &str, value: &OsStr) -> std::ffi::OsString {
    let mut pair = std::ffi::OsString::from(name);
    pair.push("=");
    pair.push(value);
    pair
}

/// Whether everybody may enter all directories above, and above what it is a link to.
fn is_open_to_all(path: &Path) -> bool {
    let Ok(target) = path.canonicalize() else { return false };
    path.ancestors()
        .skip(1)
        .chain(target.ancestors().skip(1))
        .filter(|above| !above.as_os_str().is_empty())
        .all(|above| {
            fs::metadata(above).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
        })
}
