//! Tests that need servers, on libtest-mimic.

use std::{
    any::Any,
    env,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::task::JoinError;

use crate::{Address, Kind, Missing, Server, shared, start};

/// Set to `all`, it turns a test that cannot run here into a failure.
const REQUIRE: &str = "TOKENKEEP_REQUIRE";

/// How long a test may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(300);

/// The tests of a test program with `harness = false`.
///
/// Each is a future on a runtime of its own with several threads; it fails by panicking. A test
/// whose server is missing is shown as ignored, with the reason; with `TOKENKEEP_REQUIRE=all` it
/// fails. Those with servers of their own run one at a time.
#[derive(Default)]
#[must_use = "nothing runs without `run`"]
pub struct Trials {
    trials: Vec<Trial>,
}

impl Trials {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A test that needs no server.
    pub fn plain<F: Future<Output = ()> + Send + 'static>(
        mut self,
        name: impl Into<String>,
        test: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.trials.push(Trial::test(name, move || run(test())));
        self
    }

    /// A test on the [shared](shared()) servers of a kind.
    pub fn needs<F: Future<Output = ()> + Send + 'static>(
        mut self,
        kind: Kind,
        name: impl Into<String>,
        test: impl FnOnce(Vec<Address>) -> F + Send + 'static,
    ) -> Self {
        self.trials.push(Trial::ignorable_test(name, move || match shared(kind) {
            Ok(addresses) => run(test(addresses)).map(|()| Completion::Completed),
            Err(missing) => without(&missing, is_required()),
        }));
        self
    }

    /// A test with servers of its own, which it may kill.
    pub fn private<F: Future<Output = ()> + Send + 'static>(
        mut self,
        kind: Kind,
        name: impl Into<String>,
        test: impl FnOnce(Server) -> F + Send + 'static,
    ) -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        self.trials.push(Trial::ignorable_test(name, move || {
            let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            match start(kind) {
                Ok(server) => run(test(server)).map(|()| Completion::Completed),
                Err(missing) => without(&missing, is_required()),
            }
        }));
        self
    }

    /// Runs them, as the arguments of the program say: those of an ordinary test program.
    #[must_use]
    pub fn run(self) -> ExitCode {
        libtest_mimic::run(&Arguments::from_args(), self.trials).exit_code()
    }
}

impl std::fmt::Debug for Trials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.trials.iter().map(Trial::name)).finish()
    }
}

fn is_required() -> bool {
    env::var_os(REQUIRE).is_some_and(|value| value == "all")
}

fn without(missing: &Missing, is_required: bool) -> Result<Completion, Failed> {
    if is_required || missing.is_fault() {
        return Err(Failed::from(missing));
    }
    Ok(Completion::ignored_with(missing))
}

fn run(test: impl Future<Output = ()> + Send + 'static) -> Result<(), Failed> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    runtime.block_on(async {
        match tokio::time::timeout(LIMIT, tokio::spawn(test))
            .await?
            .map_err(JoinError::try_into_panic)
        {
            Ok(()) => Ok(()),
            Err(Ok(panic)) => Err(Failed::from(said(&*panic))),
            Err(Err(error)) => Err(Failed::from(error)),
        }
    })
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_ignored_unless_it_is_required_or_at_fault() {
        let absent = Missing::absent("no server here");
        let skipped = without(&absent, false).unwrap();
        assert!(
            matches!(&skipped, Completion::Ignored { reason: Some(why) } if why == "no server here")
        );
        assert!(without(&absent, true).is_err());
        assert!(without(&Missing::fault("it did not start"), false).is_err());
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message() {
        run(async {}).unwrap();
        let failed = run(async { panic!("a test of panics: {}", 42) }).unwrap_err();
        assert_eq!(failed.message(), Some("a test of panics: 42"));
        let failed = run(async {
            let child = tokio::spawn(async { panic!("a test of panics in a task") });
            child.await.unwrap();
        });
        assert!(failed.unwrap_err().message().is_some_and(|message| message.contains("in a task")));
    }
}
