//! `cargo xtask soak`: the long forms of the tests that have one, one after the other.

use std::{process::Command, time::Instant};

use anyhow::{Result, bail};

use crate::{mutants, process, test::Summary};

/// Set to `1`, tests run in their long form.
const SOAK: &str = "TOKENKEEP_SOAK";

/// How many tokens a simulated fleet keeps for a day.
const FLEET_TOKENS: &str = "TOKENKEEP_FLEET_TOKENS";

/// The parts by name, in the order they run.
const PARTS: [(&str, Part); 8] = [
    ("processes", Part::Command(processes)),
    ("faults", Part::Command(faults)),
    ("keeper", Part::Command(keeper)),
    ("fleet", Part::Command(fleet)),
    ("fleet-servers", Part::Command(fleet_servers)),
    ("flight", Part::Command(flight)),
    ("model", Part::Command(model)),
    ("mutants", Part::Task(|| mutants::run(&[]))),
];

#[derive(Clone, Copy)]
enum Part {
    Command(fn() -> Command),
    Task(fn() -> Result<()>),
}

/// Runs the parts named, or all, each whatever became of those before it.
///
/// # Errors
///
/// If a part fails, after all have run.
#[expect(clippy::disallowed_methods, reason = "shows how long a part took, nothing depends on it")]
pub(crate) fn run(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        let known = PARTS.map(|(part, _)| part).join(", ");
        bail!("there is no part {unknown:?}; there are {known}");
    }
    let mut rows = Vec::new();
    for (name, part) in PARTS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("\n== {name}");
            let began = Instant::now();
            let (verdict, figures) = part.run();
            if let Err(error) = &verdict {
                eprintln!("{error:#}");
            }
            let seconds = began.elapsed().as_secs_f64();
            rows.push(Row { name, succeeded: verdict.is_ok(), seconds, figures });
        }
    }
    print!("{}", table(&rows));
    let failed: Vec<_> = rows.iter().filter(|row| !row.succeeded).map(|row| row.name).collect();
    if failed.is_empty() { Ok(()) } else { bail!("soak: failed: {}", failed.join(", ")) }
}

impl Part {
    /// Runs it; what it says of itself goes into the table.
    fn run(self) -> (Result<()>, Vec<String>) {
        let command = match self {
            Self::Task(task) => return (task(), Vec::new()),
            Self::Command(command) => command,
        };
        let (mut summary, mut figures) = (Summary::default(), Vec::new());
        let succeeded = process::follow(command().env(SOAK, "1"), |line| {
            summary.read(line);
            figures.extend(figure(line).map(str::to_owned));
        });
        if summary.passed + summary.failed > 0 {
            figures.push(format!("{} tests passed, {} failed", summary.passed, summary.failed));
        }
        let verdict = match succeeded {
            Ok(true) => Ok(()),
            Ok(false) => Err(anyhow::anyhow!("failed: {}", summary.failures.join(", "))),
            Err(error) => Err(error),
        };
        (verdict, figures)
    }
}

/// What a line says that is to be seen in the table: how much was run.
fn figure(line: &str) -> Option<&str> {
    let figure = line.split_once("figures: ").map_or(line, |(_, figures)| figures);
    (figure != line || line.contains(" runs, ")).then_some(figure)
}

struct Row {
    name: &'static str,
    succeeded: bool,
    seconds: f64,
    figures: Vec<String>,
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("\n");
    for Row { name, succeeded, seconds, figures } in rows {
        let verdict = if *succeeded { "ok" } else { "FAILED" };
        text.push_str(&format!("{name:13}  {verdict:6}  {seconds:>5.0} s\n"));
        for line in figures {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

/// The tests of one target of the manager, built to be fast.
fn manager_tests<const N: usize>(target: [&str; N], tests: &[&str]) -> Command {
    let mut command = process::cargo(["test", "--release", "--package", "tokenkeep-manager"]);
    command.args(target).arg("--").args(tests);
    command
}

/// 200 rounds of eight processes for each store, with rotation and without, side by side: they
/// mostly wait.
fn processes() -> Command {
    manager_tests(["--test", "processes"], &["--nocapture", "--test-threads", "4"])
}

fn faults() -> Command {
    let mut command = manager_tests(["--test", "faults"], &["--nocapture"]);
    command.env("TOKENKEEP_FAULT_SEEDS", "200000");
    command
}

fn keeper() -> Command {
    manager_tests(["--lib"], &["keeper::", "--include-ignored", "--skip", "simulated_fleet"])
}

/// A day of 1, 4 and 16 nodes; `TOKENKEEP_FLEET_TOKENS` says how many tokens they keep.
fn fleet() -> Command {
    let mut command = manager_tests(["--lib"], &["simulated_fleet", "--nocapture"]);
    if std::env::var_os(FLEET_TOKENS).is_none() {
        command.env(FLEET_TOKENS, "1000000");
    }
    command
}

/// Processes on real servers that are killed, two minutes for each kind of server.
fn fleet_servers() -> Command {
    let mut command = process::cargo(["test", "--release", "--package", "tokenkeep-interop"]);
    command.args(["--test", "fleet", "--", "--nocapture"]);
    command
}

fn flight() -> Command {
    manager_tests(["--test", "flight_shuttle"], &[])
}

fn model() -> Command {
    process::cargo(["run", "--release", "--package", "tokenkeep-model", "--", "--big"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_from_what_tests_print() {
        assert_eq!(figure("figures: sqlite: 200 rounds"), Some("sqlite: 200 rounds"));
        // The harness does not end its line before a test that prints.
        assert_eq!(figure("test a::b ... figures: 3 rounds"), Some("3 rounds"));
        assert_eq!(
            figure("7 runs, 0 failed, 9 states, 1 s"),
            Some("7 runs, 0 failed, 9 states, 1 s")
        );
        assert_eq!(figure("test a::b ... ok"), None);
    }

    #[test]
    fn a_row_says_what_ran() {
        let rows = [
            Row { name: "model", succeeded: true, seconds: 61.4, figures: vec!["3 runs".into()] },
            Row { name: "faults", succeeded: false, seconds: 5.0, figures: Vec::new() },
        ];
        let expected =
            "\nmodel          ok         61 s\n    3 runs\nfaults         FAILED      5 s\n";
        assert_eq!(table(&rows), expected);
    }
}
