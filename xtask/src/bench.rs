//! `cargo xtask bench`: runs the benchmarks in release and leaves their summary under `target`.

use anyhow::Result;

use crate::{process, python};

/// Runs the benchmarks with `options`, which are theirs.
pub(crate) fn run(options: &[String]) -> Result<()> {
    let summary = process::target("bench/summary.json");
    let mut command = process::cargo(["run", "--release", "--package", "tokenkeep-benches"]);
    // They take long to build, and only a migration needs them.
    if options.iter().any(|option| option == "migrate") {
        command.args(["--features", "slow-stores"]);
    }
    command.arg("--").arg("--summary").arg(&summary).args(options);
    if !options.iter().any(|option| option == "--no-peer" || option == "--help") {
        match python::environment() {
            Ok(interpreter) => {
                command.env(python::INTERPRETER, interpreter);
            }
            Err(error) => {
                command.arg("--no-peer");
                eprintln!("without the peer: {error:#}");
            }
        }
    }
    process::run(&mut command)
}
