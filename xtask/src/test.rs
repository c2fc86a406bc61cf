//! `cargo xtask test`: builds and runs every test, and sums up.

use std::env;

use anyhow::{Result, bail};

use crate::{node, process, python, servers::ForTests};

/// Set to `all`, it turns a test that cannot run here into a failure.
const REQUIRE: &str = "TOKENKEEP_REQUIRE";

/// Runs all tests whose names contain one of `filters`, or all if there are none.
pub(crate) fn run(filters: &[String], require_all: bool) -> Result<()> {
    let require_all = require_all || env::var_os(REQUIRE).is_some_and(|value| value == "all");
    let mut summary = Summary::default();
    let mut command = process::cargo(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    if require_all {
        command.env(REQUIRE, "all");
    }
    match python::environment() {
        Ok(interpreter) => {
            command.env(python::INTERPRETER, interpreter);
        }
        Err(error) => {
            command.env_remove(python::INTERPRETER);
            summary.missing.push(format!("the official Python SDK: {error:#}"));
        }
    }
    match node::environment() {
        Ok(directory) => {
            command.env(node::DIRECTORY, directory);
        }
        Err(error) => {
            command.env_remove(node::DIRECTORY);
            summary.missing.push(format!("the official Node SDK: {error:#}"));
        }
    }
    // They are there until this function ends, however it does.
    let servers = ForTests::start();
    command.envs(servers.variables());
    summary.missing.extend(servers.missing());
    if !filters.is_empty() {
        command.arg("--").args(filters);
    }

    let succeeded = process::follow(&mut command, |line| summary.read(line))?;
    print!("{}", summary.show());
    if !succeeded || summary.failed > 0 {
        bail!("tests failed");
    }
    if let Some(fault) = servers.fault() {
        bail!("a server did not start: {fault}");
    }
    if require_all && !summary.missing.is_empty() {
        bail!("{REQUIRE}=all, and something that tests need is missing");
    }
    if summary.passed + summary.ignored == 0 {
        bail!("there is no such test");
    }
    Ok(())
}

/// What the lines of `cargo test` add up to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// The test binary or doctest whose lines are coming.
    current: String,
    binaries: u64,
    doctests: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    ignored: u64,
    pub(crate) failures: Vec<String>,
    skips: Vec<String>,
    /// How the names of the cases begin that the current test binary skips as a whole.
    suites: Vec<String>,
    /// What the machine lacks.
    missing: Vec<String>,
}

impl Summary {
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(binary) = line.trim_start().strip_prefix("Running ") {
            self.current = binary_name(binary);
            self.binaries += 1;
            self.suites.clear();
        } else if let Some(package) = line.trim_start().strip_prefix("Doc-tests ") {
            self.current = format!("{package} (doctests)");
            self.doctests += 1;
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
            self.ignored += count(counts, "ignored");
        } else if let Some(suite) = line.strip_prefix("skipped ") {
            // A conformance suite with all its cases, which are not listed one by one.
            self.skips.push(format!("{}: {suite}", self.current));
            let (name, _reason) = suite.split_once(": ").unwrap_or((suite, ""));
            self.suites.push(format!("{name}::"));
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, reason)) = test.split_once(" ... ignored") {
                if self.suites.iter().any(|suite| name.starts_with(suite)) {
                    return;
                }
                self.skips.push(format!("{}: {}{reason}", self.current, name.trim_end()));
            } else if let Some(name) = test.strip_suffix(" ... FAILED") {
                self.failures.push(format!("{}: {}", self.current, name.trim_end()));
            }
        } else if line.starts_with("error: ") {
            self.failures.push(line.to_owned());
        }
    }

    fn show(&self) -> String {
        let mut text = format!(
            "\ntest binaries {}, packages with doctests {}\npassed {}, failed {}, skipped {}\n",
            self.binaries, self.doctests, self.passed, self.failed, self.ignored
        );
        for (title, lines) in
            [("missing", &self.missing), ("skipped", &self.skips), ("failed", &self.failures)]
        {
            for line in lines {
                text.push_str(&format!("  {title}: {line}\n"));
            }
        }
        text
    }
}

/// `tests/sdk.rs (target/debug/deps/sdk-0123)` and the like, without the path of the binary's
/// directory and its hash: `sdk tests/sdk.rs`.
fn binary_name(running: &str) -> String {
    let (source, path) = running.split_once(" (").unwrap_or((running, ""));
    let file = path.trim_end_matches(')').rsplit(['/', '\\']).next().unwrap_or_default();
    let name = file.rsplit_once('-').map_or(file, |(name, _hash)| name);
    format!("{name} {}", source.trim_start_matches("unittests "))
}

/// The number before `word` in `ok. 3 passed; 0 failed; 1 ignored; …`.
fn count(counts: &str, word: &str) -> u64 {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().split_once(' '))
        .find(|(_, what)| *what == word)
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_test_add_up() {
        let mut summary = Summary::default();
        for line in [
            "     Running unittests src/lib.rs (target/debug/deps/tokenkeep_core-0123abcd)",
            "test matching::tests::a ... ok",
            "test matching::tests::b ... FAILED",
            "test matching::tests::c ... ignored, needs a server",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "     Running tests/official_sdk.rs (target/debug/deps/official_sdk-0123abcd)",
            "test login (skipped: no Python here)   ... ignored",
            "test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "     Running tests/conformance.rs (target/debug/deps/conformance-0123abcd)",
            "skipped mysql: no mariadbd here",
            "test mysql::save    ... ignored",
            "test mysql::find    ... ignored",
            "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
            "   Doc-tests tokenkeep_core",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            summary.read(line);
        }
        assert_eq!((summary.binaries, summary.doctests), (3, 1));
        assert_eq!((summary.passed, summary.failed, summary.ignored), (13, 1, 4));
        assert_eq!(summary.failures, ["tokenkeep_core src/lib.rs: matching::tests::b"]);
        assert_eq!(
            summary.skips,
            [
                "tokenkeep_core src/lib.rs: matching::tests::c, needs a server",
                "official_sdk tests/official_sdk.rs: login (skipped: no Python here)",
                "conformance tests/conformance.rs: mysql: no mariadbd here"
            ]
        );
    }
}
