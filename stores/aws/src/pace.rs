//! How something is asked: without a word, and again after a pause.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

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
