//! Runs the cases.

use std::{process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Case, CaseResult, Context, Failure, Fixture, cases, child};

/// How long a case may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(300);

/// What became of one case.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The case.
    pub case: Case,
    /// Whether the store passed.
    pub result: CaseResult,
}

/// Runs all cases that fit on all fixtures: the body of a test with `harness = false`.
///
/// It takes the arguments of an ordinary test program (a filter, `--list`, `--test-threads`), and
/// names the cases `store::case`. It runs the test program again as a child process, so call it
/// first thing in `main`, with the same fixtures each time.
#[must_use]
pub fn main(fixtures: Vec<Box<dyn Fixture>>) -> ExitCode {
    let fixtures: Vec<Arc<dyn Fixture>> = fixtures.into_iter().map(Arc::from).collect();
    if let Some(job) = child::job() {
        return child::main(&fixtures, &job);
    }
    let trials = fixtures
        .iter()
        .flat_map(|fixture| {
            cases().into_iter().filter(|case| case.fits(fixture.capabilities())).map(|case| {
                let fixture = Arc::clone(fixture);
                Trial::test(format!("{}::{}", fixture.name(), case.name), move || {
                    run(case, fixture).map_err(|failure| Failed::from(failure.to_string()))
                })
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs the cases that fit and that `wanted` picks, one after the other, and reports on each.
///
/// Those with child processes are left out: they need [`main`].
pub fn run_cases(fixture: Arc<dyn Fixture>, wanted: impl Fn(&Case) -> bool) -> Vec<Verdict> {
    cases()
        .into_iter()
        .filter(|case| case.fits(fixture.capabilities()) && !case.needs.processes && wanted(case))
        .map(|case| Verdict { case, result: run(case, Arc::clone(&fixture)) })
        .collect()
}

/// Runs one case on a runtime of its own; a panic is a failure.
fn run(case: Case, fixture: Arc<dyn Fixture>) -> CaseResult {
    let runtime = runtime()?;
    runtime.block_on(async {
        let run = async move {
            let context = Context::new(fixture).await?;
            (case.run)(&context).await
        };
        match tokio::time::timeout(LIMIT, tokio::spawn(run)).await {
            Ok(joined) => joined?,
            Err(elapsed) => Err(elapsed.into()),
        }
    })
}

/// More workers than the machine may have cores, so that tasks are interrupted anywhere.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?)
}
