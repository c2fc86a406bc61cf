//! `cargo run --release -p tokenkeep-model`: checks the refresh protocol, and shows how it breaks
//! without one of its rules.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]

use std::{env, process::ExitCode, thread, time::Instant};

use tokenkeep_model::{
    Config, Counterexample, Variant, check,
    runs::{self, Run},
    shortest_counterexample,
};

const HELP: &str = "\
Checks the refresh protocol in every order of its steps and faults.

  tokenkeep-model                 the small runs, those of `cargo test`: seconds
  tokenkeep-model --big           the big ones: minutes; build with --release
  tokenkeep-model --list          what these runs are, and which rules can be left out
  tokenkeep-model --broken        what breaks without each rule, in how many steps
  tokenkeep-model --broken RULE   those steps
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let as_expected = match arguments.as_slice() {
        [] => check_all(&runs::small()),
        ["--big"] => check_all(&runs::big()),
        ["--list"] => list(),
        ["--broken"] => show_broken(None),
        ["--broken", rule] => show_broken(Some(rule)),
        ["--help" | "-h"] => {
            print!("{HELP}");
            true
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "shows how long a run took, nothing depends on it")]
fn check_all(runs: &[Run]) -> bool {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (began, mut states, mut failed) = (Instant::now(), 0, 0);
    for run in runs {
        let began = Instant::now();
        let report = check(run.config, threads);
        let verdict = if report.holds() { "holds" } else { "FAILS" };
        println!(
            "{verdict}  {:>11} states  {:>11} steps  depth {:>3}  {:>6.1} s  {}",
            report.states,
            report.steps,
            report.depth,
            began.elapsed().as_secs_f64(),
            run.name,
        );
        for what in &report.unreached {
            println!("  never reached: {what}");
        }
        for found in &report.broken {
            // The one that was found first may be a detour.
            match shortest_counterexample(run.config, found.property) {
                Some(shortest) => show(&shortest),
                None => show(found),
            }
        }
        states += report.states;
        failed += usize::from(!report.holds());
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} runs, {failed} failed, {states} states, {seconds:.0} s", runs.len());
    failed == 0
}

fn list() -> bool {
    for (title, runs) in [("small", runs::small()), ("big", runs::big())] {
        println!("{title}:");
        for Run { name, config: Config { faults, .. }, .. } in runs {
            println!("  {name}");
            println!("    {faults:?}");
        }
    }
    println!("rules that can be left out:");
    for rule in Variant::BROKEN {
        println!("  {rule:?}");
    }
    true
}

fn show_broken(rule: Option<&str>) -> bool {
    let (mut as_expected, mut known) = (true, false);
    for broken in runs::broken() {
        let name = format!("{:?}", broken.config.variant);
        if rule.is_some_and(|rule| rule != name) {
            continue;
        }
        known = true;
        let Some(found) = shortest_counterexample(broken.config, broken.property) else {
            println!("{name}: NOT FOUND: {}", broken.property);
            as_expected = false;
            continue;
        };
        let steps = found.steps.len() - 1;
        println!(
            "{name}, {:?}, {steps} steps, broken: {}",
            broken.config.rotation, broken.property
        );
        if rule.is_some() {
            show(&found);
        }
    }
    if !known {
        eprintln!("there is no such rule; `--list` has them");
    }
    as_expected && known
}

fn show(found: &Counterexample) {
    println!("  does not hold: {}", found.property);
    for (number, step) in found.steps.iter().enumerate() {
        println!("  {number:>3}. {step}");
    }
}
