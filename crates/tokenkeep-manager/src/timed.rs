//! [`TimedStore`]: a store that does not keep its callers for longer than it may.

use std::{fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Outcome, Page, Replaced, SharedStore,
    StateReplaced, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenState, TokenStore,
};

/// A store around a store: a call that has no answer within the limit is an error.
///
/// The error is of the kind unavailable. What a read has not answered is not applied; what a write
/// has not answered is unknown, for it may have been made and may still be. The call itself is
/// dropped then.
pub(crate) struct TimedStore {
    inner: Arc<dyn TokenStore>,
    limit: Duration,
}

impl TimedStore {
    /// `inner`, with `limit` for each call.
    pub(crate) fn new(inner: Arc<dyn TokenStore>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn read<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.run(operation, Outcome::NotApplied, call).await
    }

    async fn write<T: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.run(operation, Outcome::Unknown, call).await
    }

    async fn run<T: Send>(
        &self,
        operation: Operation,
        outcome: Outcome,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        within(self.limit, call).await.unwrap_or_else(|| Err(self.no_answer(operation, outcome)))
    }

    fn no_answer(&self, operation: Operation, outcome: Outcome) -> StoreError {
        StoreError::new(
            StoreErrorKind::Unavailable,
            format!("the store has not answered within {:?}", self.limit),
        )
        .with_outcome(outcome)
        .during(operation)
        .with_hint("see whether the store is overloaded or cannot be reached")
    }

    fn inner_shared(&self) -> Result<&dyn SharedStore, StoreError> {
        self.inner.shared().ok_or_else(|| {
            StoreError::new(StoreErrorKind::Unsupported, "the store does not coordinate processes")
        })
    }
}

/// The answer of `call`, if there is one within `limit`; else the call is dropped.
pub(crate) async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    let mut call = pin!(call);
    // Most answers are there at once: those need no timer, and no look at the clock.
    if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        return Some(answer);
    }
    tokio::time::timeout(limit, call).await.ok()
}

impl fmt::Debug for TimedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl TokenStore for TimedStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.read(Operation::FindToken, self.inner.find_token(query)).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.read(Operation::FindTokenById, self.inner.find_token_by_id(id)).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.write(Operation::SaveToken, self.inner.save_token(token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.read(Operation::GetTokens, self.inner.get_tokens()).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.write(Operation::DeleteToken, self.inner.delete_token(id)).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.write(Operation::DeleteTokens, self.inner.delete_tokens()).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        self.inner.shared().is_some().then_some(self)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl SharedStore for TimedStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let call = self.inner_shared()?.replace_token(expected, token, fence);
        self.write(Operation::ReplaceToken, call).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        self.write(Operation::Lease, self.inner_shared()?.try_lease(id, holder, ttl)).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        self.write(Operation::RenewLease, self.inner_shared()?.renew_lease(lease, ttl)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.write(Operation::ReleaseLease, self.inner_shared()?.release_lease(lease)).await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        self.read(Operation::State, self.inner_shared()?.state(id)).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let call = self.inner_shared()?.replace_state(id, expected, state);
        self.write(Operation::ReplaceState, call).await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        self.read(Operation::ChangeMark, self.inner_shared()?.change_mark()).await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        self.read(Operation::Page, self.inner_shared()?.page(after, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::{ListStore, OAuthTokenBuilder};
    use tokenkeep_testkit::{FaultyStore, When};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const TTL: Duration = Duration::from_secs(60);

    type Store = FaultyStore<ListStore>;

    fn timed(store: &Store) -> TimedStore {
        TimedStore::new(Arc::new(store.clone()), LIMIT)
    }

    fn token() -> OAuthTokenBuilder {
        OAuthToken::builder().user_name("alice@example.com").refresh_token("test-refresh")
    }

    /// Calls `operation`; only whether it went well is told.
    async fn call(
        store: &dyn TokenStore,
        operation: Operation,
        stored: &OAuthToken,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        let (id, shared) = (stored.id().unwrap(), store.shared().unwrap());
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of operations is open")]
        match operation {
            Operation::FindToken => {
                store.find_token(&TokenQuery::user("alice@example.com").unwrap()).await.map(drop)
            }
            Operation::FindTokenById => store.find_token_by_id(id).await.map(drop),
            Operation::SaveToken => store.save_token(stored).await.map(drop),
            Operation::GetTokens => store.get_tokens().await.map(drop),
            Operation::DeleteToken => store.delete_token(id).await.map(drop),
            Operation::DeleteTokens => store.delete_tokens().await.map(drop),
            Operation::ReplaceToken => {
                shared.replace_token(stored, stored, Some(lease)).await.map(drop)
            }
            Operation::Lease => shared.try_lease(id, "test-holder-2", TTL).await.map(drop),
            Operation::RenewLease => shared.renew_lease(lease, TTL).await.map(drop),
            Operation::ReleaseLease => shared.release_lease(lease).await.map(drop),
            Operation::State => shared.state(id).await.map(drop),
            Operation::ReplaceState => {
                shared.replace_state(id, None, &TokenState::default()).await.map(drop)
            }
            Operation::ChangeMark => shared.change_mark().await.map(drop),
            Operation::Page => shared.page(None, 10).await.map(drop),
            other => panic!("not an operation of a store: {other:?}"),
        }
    }

    const READS: [Operation; 6] = [
        Operation::FindToken,
        Operation::FindTokenById,
        Operation::GetTokens,
        Operation::State,
        Operation::ChangeMark,
        Operation::Page,
    ];
    const WRITES: [Operation; 8] = [
        Operation::SaveToken,
        Operation::DeleteToken,
        Operation::DeleteTokens,
        Operation::ReplaceToken,
        Operation::Lease,
        Operation::RenewLease,
        Operation::ReleaseLease,
        Operation::ReplaceState,
    ];

    async fn scene() -> (Store, OAuthToken, Lease) {
        let store = FaultyStore::new(ListStore::new());
        let stored = store.save_token(&token().build().unwrap()).await.unwrap();
        let attempt = store.inner().shared().unwrap();
        let attempt = attempt.try_lease(stored.id().unwrap(), "test-holder", TTL).await.unwrap();
        let LeaseAttempt::Granted(lease) = attempt else { panic!("{attempt:?}") };
        (store, stored, lease)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_the_limit_and_says_what_holds() {
        let reads = READS.map(|operation| (operation, Outcome::NotApplied));
        let writes = WRITES.map(|operation| (operation, Outcome::Unknown));
        for (operation, outcome) in reads.into_iter().chain(writes) {
            for when in [When::Before, When::After] {
                let (store, stored, lease) = scene().await;
                let gate = store.stop_next(operation, when);
                let before = Instant::now();
                let error = call(&timed(&store), operation, &stored, &lease).await.unwrap_err();
                assert_eq!(before.elapsed(), LIMIT, "{operation:?}");
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{operation:?}");
                assert_eq!(error.outcome(), outcome, "{operation:?}");
                assert_eq!(error.operation(), Some(operation));
                assert!(error.to_string().ends_with("not answered within 5s"), "{error}");
                assert!(error.hint().is_some());
                gate.open();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_within_the_limit_is_passed_on() {
        for operation in READS.into_iter().chain(WRITES) {
            let (store, stored, lease) = scene().await;
            call(&timed(&store), operation, &stored, &lease).await.unwrap();
            let (store, stored, lease) = scene().await;
            store.fail_next(operation, When::After, StoreErrorKind::Full);
            let error = call(&timed(&store), operation, &stored, &lease).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Full, "{operation:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_just_before_the_limit_is_passed_on() {
        let (store, stored, _lease) = scene().await;
        let gate = store.stop_next(Operation::GetTokens, When::Before);
        let store = timed(&store);
        let opening = async {
            tokio::time::sleep(LIMIT - Duration::from_millis(1)).await;
            gate.open();
        };
        let (tokens, ()) = tokio::join!(store.get_tokens(), opening);
        assert_eq!(tokens.unwrap(), [stored]);
    }

    #[test]
    fn an_answer_that_is_there_at_once_needs_no_timer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, stored, lease) = scene().await;
            for operation in READS {
                call(&timed(&store), operation, &stored, &lease).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn a_store_of_six_methods_stays_one() {
        let (store, ..) = scene().await;
        assert!(timed(&store).shared().is_some());
        let store = timed(&store.without_shared());
        assert!(store.shared().is_none());
        let error = store.change_mark().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
    }
}
