//! [`TimedSpool`]: a spool that does not keep its callers for longer than it may.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{Fingerprint, Outcome, StoreError, StoreErrorKind, TokenId};

use super::{Spool, SpoolListing, Spooled};
use crate::timed::within;

/// A spool around a spool: a call that has no answer within the limit is an error. A disk that
/// hangs must not keep a lease.
#[derive(Debug)]
pub(crate) struct TimedSpool {
    inner: Arc<dyn Spool>,
    limit: Duration,
}

impl TimedSpool {
    /// `inner`, with `limit` for each call.
    pub(crate) fn new(inner: Arc<dyn Spool>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn run<T: Send>(
        &self,
        outcome: Outcome,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        within(self.limit, call).await.unwrap_or_else(|| {
            let what = format!("the spool has not answered within {:?}", self.limit);
            Err(StoreError::new(StoreErrorKind::Unavailable, what)
                .with_outcome(outcome)
                .with_hint("see whether its disk is in order"))
        })
    }
}

#[async_trait]
impl Spool for TimedSpool {
    async fn put(&self, entry: &Spooled) -> Result<(), StoreError> {
        self.run(Outcome::Unknown, self.inner.put(entry)).await
    }

    async fn get(&self, id: &TokenId, grant: &Fingerprint) -> Result<Option<Spooled>, StoreError> {
        self.run(Outcome::NotApplied, self.inner.get(id, grant)).await
    }

    async fn remove(&self, id: &TokenId, grant: &Fingerprint) -> Result<bool, StoreError> {
        self.run(Outcome::Unknown, self.inner.remove(id, grant)).await
    }

    async fn list(&self) -> Result<SpoolListing, StoreError> {
        self.run(Outcome::NotApplied, self.inner.list()).await
    }
}
