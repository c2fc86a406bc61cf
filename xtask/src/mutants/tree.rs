//! A copy of what is committed, to be broken and tested.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::patch::{Killer, Patch};
use crate::process;

/// How long the tests of one killer may take. One that waits for ever is no test that fails.
const LIMIT: Duration = Duration::from_secs(300);

/// A work tree of `HEAD` under `target`, with a target directory of its own that lasts from one
/// patch to the next, and from one run to the next.
pub(super) struct Tree {
    directory: PathBuf,
    target: PathBuf,
    commit: String,
}

/// How the tests of a killer ended.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) output: String,
    pub(super) passed: usize,
    /// Their names.
    pub(super) failed: Vec<String>,
}

impl Tree {
    /// What is committed now. What is not committed is not in it.
    pub(super) fn of_head() -> Result<Self> {
        let git = |arguments: &[&str]| {
            process::output(Command::new("git").current_dir(process::root()).args(arguments))
        };
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
        let directory = process::target("mutants/tree");
        if !directory.join(".git").exists() {
            let place = directory.to_str().context("the target directory is not UTF-8")?;
            // Somebody may have removed the directory without telling git.
            git(&["worktree", "prune"])?;
            git(&["worktree", "add", "--quiet", "--force", "--detach", place, &commit])?;
        }
        let tree = Self { directory, target: process::target("mutants/target"), commit };
        // Files that are as they were are not touched, and so are not built again.
        tree.git(&["checkout", "--quiet", "--force", "--detach", &tree.commit])?;
        tree.git(&["clean", "--quiet", "--force", "-d"])?;
        Ok(tree)
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Applies `patch` until the answer is dropped.
    pub(super) fn apply(&self, patch: &Patch) -> Result<Applied<'_>> {
        let applied = Applied(self);
        let path = patch.path.to_str().context("the patch's path is not UTF-8")?;
        self.git(&["apply", path])?;
        Ok(applied)
    }

    /// Builds the target of `killer` and runs its tests.
    pub(super) fn test(&self, killer: &Killer) -> Result<Outcome> {
        let mut build = process::cargo(["test", "--quiet", "--no-run"]);
        build
            .arg("--message-format=json-render-diagnostics")
            .args(&killer.target)
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", &self.target);
        let messages = process::output(&mut build).context("does not build")?;
        let mut outcome = Outcome::default();
        for (executable, package) in test_executables(&messages) {
            let mut command = Command::new(executable);
            command.current_dir(package).arg("--exact").args(&killer.tests);
            let lines = output_within(&mut command, LIMIT)?;
            outcome.read(&lines);
            outcome.output.push_str(&lines);
        }
        Ok(outcome)
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        process::output(Command::new("git").current_dir(&self.directory).args(arguments))
    }
}

/// A patch that is applied.
pub(super) struct Applied<'a>(&'a Tree);

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        let Self(tree) = self;
        let undone = tree
            .git(&["checkout", "--quiet", "--force", "--", "."])
            .and_then(|_| tree.git(&["clean", "--quiet", "--force", "-d"]));
        if let Err(error) = undone {
            // The next patch fails to apply then.
            eprintln!("the patch could not be undone: {error:#}");
        }
    }
}

impl Outcome {
    fn read(&mut self, lines: &str) {
        for line in lines.lines() {
            let Some((name, verdict)) =
                line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "))
            else {
                continue;
            };
            // A test that is to panic says so beside its name.
            let name = name.split(" - ").next().unwrap_or(name);
            match verdict {
                "ok" => self.passed += 1,
                "FAILED" => self.failed.push(name.to_owned()),
                _ => {}
            }
        }
    }
}

/// The test binaries that cargo has built, and the directories of their packages.
fn test_executables(messages: &str) -> Vec<(PathBuf, PathBuf)> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| {
            let manifest = Path::new(message["manifest_path"].as_str()?).parent()?;
            Some((message["executable"].as_str()?.into(), manifest.into()))
        })
        .collect()
}

/// What `command` wrote to stdout, whether it succeeded or not.
fn output_within(command: &mut Command, limit: Duration) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("the tests could not be started")?;
    let mut stdout = child.stdout.take().context("the tests have no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        // Nobody waits for it if it comes too late.
        drop(sender.send(stdout.read_to_string(&mut text).map(|_| text)));
    });
    let Ok(read) = receiver.recv_timeout(limit) else {
        child.kill()?;
        child.wait()?;
        bail!("the tests do not end within {} s", limit.as_secs());
    };
    child.wait()?;
    Ok(read?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_are_read_and_others_are_counted() {
        let mut outcome = Outcome::default();
        outcome.read(
            "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\n\
             test d - should panic ... FAILED\ntest e ... ignored\n\
             test result: FAILED. 1 passed; 1 failed",
        );
        assert_eq!((outcome.passed, outcome.failed), (1, vec!["c".to_owned(), "d".to_owned()]));
    }

    #[test]
    fn the_executables_of_tests_are_found_among_what_cargo_says() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"a/Cargo.toml","profile":{"test":false},"executable":"a/bin"}
{"reason":"compiler-artifact","manifest_path":"a/Cargo.toml","profile":{"test":true},"executable":"a/test"}
{"reason":"compiler-artifact","manifest_path":"a/Cargo.toml","profile":{"test":true},"executable":null}
{"reason":"build-finished","success":true}"#;
        assert_eq!(test_executables(messages), [("a/test".into(), "a".into())]);
    }

    #[test]
    fn tests_that_do_not_end_are_ended() {
        let mut endless = Command::new("sh");
        endless.args(["-c", "echo begun; exec sleep 600"]);
        let error = output_within(&mut endless, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("do not end"), "{error}");
        let mut short = Command::new("sh");
        short.args(["-c", "echo done; exit 3"]);
        assert_eq!(output_within(&mut short, LIMIT).unwrap(), "done\n");
    }
}
