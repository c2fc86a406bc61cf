//! Runs the cases.

use std::{env, process::ExitCode, sync::Arc, time::Duration};

use libtest_mimic::{Arguments, Failed, Trial};

use super::{Case, CaseResult, Context, Failure, Fixture, cases, child};

/// Set to `all`, it turns a test that cannot run here into a failure.
const REQUIRE: &str = "TOKENKEEP_REQUIRE";

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
/// names the cases `store::case`. Those of a fixture that is [missing](Fixture::missing) something
/// are ignored; with `TOKENKEEP_REQUIRE=all` they fail. It runs the test program again as a child process, so call it
/// first thing in `main`, with the same fixtures each time.
#[must_use]
pub fn main(fixtures: Vec<Box<dyn Fixture>>) -> ExitCode {
    let fixtures: Vec<Arc<dyn Fixture>> = fixtures.into_iter().map(Arc::from).collect();
    if let Some(job) = child::job() {
        return child::main(&fixtures, &job);
    }
    let is_required = env::var_os(REQUIRE).is_some_and(|value| value == "all");
    libtest_mimic::run(&Arguments::from_args(), trials(&fixtures, is_required)).exit_code()
}

/// All cases that fit. Those of a fixture that cannot run here are ignored, and this says why;
/// run nevertheless, or `is_required`, they fail.
#[expect(clippy::print_stderr, reason = "for those who read what tests say")]
fn trials(fixtures: &[Arc<dyn Fixture>], is_required: bool) -> Vec<Trial> {
    let mut trials = Vec::new();
    for fixture in fixtures {
        let missing = fixture.missing();
        if let Some(reason) = missing.as_ref().filter(|_reason| !is_required) {
            eprintln!("skipped {}: {reason}", fixture.name());
        }
        for case in cases().into_iter().filter(|case| case.fits(fixture.capabilities())) {
            let is_ignored = missing.is_some() && !is_required;
            let (fixture, missing) = (Arc::clone(fixture), missing.clone());
            let name = format!("{}::{}", fixture.name(), case.name);
            let run = move || match missing {
                Some(reason) => Err(Failed::from(reason)),
                None => run(case, fixture).map_err(|failure| Failed::from(failure.to_string())),
            };
            trials.push(Trial::test(name, run).with_ignored_flag(is_ignored));
        }
    }
    trials
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

#[cfg(all(test, unix))]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::conformance::{SetupError, Space};

    struct WithoutServer;

    #[async_trait]
    impl Fixture for WithoutServer {
        fn name(&self) -> &str {
            "none"
        }

        async fn space(&self) -> Result<Box<dyn Space>, SetupError> {
            Err("it is not asked for one".into())
        }

        fn missing(&self) -> Option<String> {
            Some("no server here".to_owned())
        }
    }

    fn run_all(is_required: bool) -> libtest_mimic::Conclusion {
        // Not among the results of this test program.
        let logfile = Some("/dev/null".to_owned());
        let arguments = Arguments { logfile, ..Arguments::default() };
        libtest_mimic::run(&arguments, trials(&[Arc::new(WithoutServer)], is_required))
    }

    #[test]
    fn what_cannot_run_here_is_ignored_and_fails_where_it_is_required() {
        let skipped = run_all(false);
        assert!(skipped.num_ignored > 10, "{skipped:?}");
        assert_eq!((skipped.num_passed, skipped.num_failed), (0, 0));
        let failed = run_all(true);
        assert_eq!(failed.num_failed, skipped.num_ignored);
        assert_eq!((failed.num_passed, failed.num_ignored), (0, 0));
    }
}
