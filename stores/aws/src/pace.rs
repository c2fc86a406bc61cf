//! How something is asked: without a word, and again after a pause.

use std::{
    error::Error,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokenkeep_core::{Operation, Outcome, StoreError, StoreErrorKind};
use tracing::{debug, instrument::WithSubscriber, subscriber::NoSubscriber};

use crate::error::{Fault, fault};

/// A request, without what the SDK logs of it: that has values.
pub(crate) fn quietly<F: Future>(request: F) -> impl Future<Output = F::Output> {
    Box::pin(request).with_subscriber(NoSubscriber::new())
}

/// Pauses between tries: short at first, longer each time, and never the same for two.
pub(crate) struct Pace(ExponentialBackoff);

impl Pace {
    pub(crate) fn new() -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(500))
            .with_factor(1.6)
            .without_max_times()
            .with_jitter();
        Self(pauses.build())
    }

    /// Waits for a moment. Who sets the limit in time ends the waiting.
    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(Duration::from_millis(500))).await;
    }
}

/// How far an operation has come.
#[derive(Default)]
pub(crate) struct Progress {
    /// Whether a write is under way, of which nobody knows whether it has been done.
    pub(crate) undecided: AtomicBool,
    /// What failed last.
    last: Mutex<Option<StoreError>>,
}

impl Progress {
    pub(crate) fn failed(&self, error: StoreError) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// Ends `work` after `limit`, and says what holds then.
pub(crate) async fn limited<T>(
    limit: Duration,
    progress: &Progress,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || {
        let last = progress.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.unwrap_or_else(|| {
            StoreError::new(
                StoreErrorKind::Busy,
                format!("it was not done within {} ms", limit.as_millis()),
            )
            .with_hint("try again, or give it more time")
        })
        .with_outcome(Outcome::NotApplied)
    };
    let result = match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(late()),
    };
    match result {
        Err(error) if progress.undecided.load(Ordering::SeqCst) => {
            Err(error.with_outcome(Outcome::Unknown))
        }
        result => result,
    }
}

/// Runs `work` in a task of its own, so that it goes on if its caller leaves.
pub(crate) async fn detached<T: Send + 'static>(
    operation: Operation,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(|error| error.during(operation)),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down.
        Err(_cancelled) => Err(StoreError::new(StoreErrorKind::Unavailable, "it was ended")
            .with_outcome(Outcome::Unknown)
            .during(operation)),
    }
}

/// One operation under way.
pub(crate) struct Attempt {
    pub(crate) progress: Arc<Progress>,
    pub(crate) pace: Pace,
    /// What is asked for, in words: a table, a secret.
    pub(crate) what: &'static str,
}

impl Attempt {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { progress: Arc::default(), pace: Pace::new(), what }
    }

    /// Makes a request that may be made twice, until it is answered.
    pub(crate) async fn ask<T, E, F>(&mut self, request: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        loop {
            match quietly(request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => match fault(&error, self.what) {
                    Fault::Final(error) => return Err(error),
                    Fault::Passing(error) | Fault::Lost(error) => self.again(error).await,
                },
            }
        }
    }

    /// Waits before something is tried again because of `error`.
    pub(crate) async fn again(&mut self, error: StoreError) {
        debug!(reason = %error, "a request to AWS is made again");
        self.progress.failed(error);
        self.pace.pause().await;
    }
}
