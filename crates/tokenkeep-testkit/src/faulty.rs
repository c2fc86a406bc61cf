//! [`FaultyStore`]: a store around a store, whose operations fail or stop where a test wants.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Outcome, Page, Replaced, SharedStore,
    StateReplaced, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenState, TokenStore,
};
use tokio::sync::Semaphore;

/// On which side of an operation's effect a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an effect has two sides")]
pub enum When {
    /// Before the inner store is asked: nothing was changed.
    Before,
    /// After the inner store has answered: the change was made, and the caller does not learn it.
    After,
}

/// A store around a store, whose operations fail or stop where a test wants.
///
/// Faults are scripted per [`Operation`] and counted from the calls that are still to come; each is
/// used up by one call, except those of [`fail_all`](Self::fail_all). An error that is injected
/// [before](When::Before) the effect has its kind's usual outcome, one
/// [after](When::After) it is [`Unknown`](Outcome::Unknown). Clones share their script and store.
///
/// ```
/// use tokenkeep_core::{ListStore, OAuthToken, Operation, StoreErrorKind, TokenStore};
/// use tokenkeep_testkit::{FaultyStore, When};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = FaultyStore::new(ListStore::new());
/// store.fail_next(Operation::SaveToken, When::After, StoreErrorKind::Unavailable);
///
/// let token = OAuthToken::builder().refresh_token("test-refresh").build()?;
/// assert!(store.save_token(&token).await.is_err());
/// assert_eq!(store.get_tokens().await?.len(), 1);
/// assert!(store.save_token(&token).await.is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FaultyStore<S> {
    inner: S,
    shared: bool,
    scripts: Arc<Mutex<HashMap<Operation, Script>>>,
}

#[derive(Debug, Default)]
struct Script {
    calls: usize,
    once: Vec<(usize, When, Fault)>,
    always: Option<(When, StoreErrorKind)>,
}

#[derive(Clone, Debug)]
enum Fault {
    Fail(StoreErrorKind),
    Stop(Gate),
}

/// Where a call stops until the test lets it go on.
#[derive(Clone, Debug)]
pub struct Gate {
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { reached: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until the call has arrived here.
    pub async fn reached(&self) {
        // It is never closed, so this only returns when the call has come.
        let permit = self.reached.acquire().await;
        drop(permit);
    }

    /// Lets the call go on; one that comes later does not stop.
    pub fn open(&self) {
        self.open.add_permits(1);
    }

    async fn stop(&self) {
        self.reached.add_permits(1);
        let permit = self.open.acquire().await;
        drop(permit);
    }
}

impl<S> FaultyStore<S> {
    /// A store around `inner` that has no faults yet.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, shared: true, scripts: Arc::default() }
    }

    /// This store without [`shared`](TokenStore::shared), like one of six methods.
    #[must_use]
    pub fn without_shared(mut self) -> Self {
        self.shared = false;
        self
    }

    /// The store underneath.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Fails the next call of `operation`.
    pub fn fail_next(&self, operation: Operation, when: When, kind: StoreErrorKind) {
        self.fail_nth(operation, 1, when, kind);
    }

    /// Fails the `nth` call of `operation` from now; the next one is the first.
    pub fn fail_nth(&self, operation: Operation, nth: usize, when: When, kind: StoreErrorKind) {
        self.add(operation, nth, when, Fault::Fail(kind));
    }

    /// Fails every call of `operation` that has no fault of its own, until it is
    /// [healed](Self::heal).
    pub fn fail_all(&self, operation: Operation, when: When, kind: StoreErrorKind) {
        self.scripts().entry(operation).or_default().always = Some((when, kind));
    }

    /// Takes all faults of `operation` back. Calls that have stopped stay stopped.
    pub fn heal(&self, operation: Operation) {
        let mut scripts = self.scripts();
        let script = scripts.entry(operation).or_default();
        script.once.clear();
        script.always = None;
    }

    /// Stops the next call of `operation` until the gate is opened. A gate that is never opened
    /// is a connection that never answers: the caller has to give up.
    pub fn stop_next(&self, operation: Operation, when: When) -> Gate {
        self.stop_nth(operation, 1, when)
    }

    /// Stops the `nth` call of `operation` from now; the next one is the first.
    pub fn stop_nth(&self, operation: Operation, nth: usize, when: When) -> Gate {
        let gate = Gate::new();
        self.add(operation, nth, when, Fault::Stop(gate.clone()));
        gate
    }

    /// How often `operation` has been called, faults included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> usize {
        self.scripts().get(&operation).map_or(0, |script| script.calls)
    }

    fn add(&self, operation: Operation, nth: usize, when: When, fault: Fault) {
        let mut scripts = self.scripts();
        let script = scripts.entry(operation).or_default();
        let call = script.calls + nth;
        script.once.push((call, when, fault));
    }

    fn scripts(&self) -> MutexGuard<'_, HashMap<Operation, Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults of the call that begins now, in the order they were scripted.
    fn begin(&self, operation: Operation) -> Vec<(When, Fault)> {
        let mut scripts = self.scripts();
        let script = scripts.entry(operation).or_default();
        script.calls += 1;
        let call = script.calls;
        let mut faults = Vec::new();
        script.once.retain(|(at, when, fault)| {
            if *at == call {
                faults.push((*when, fault.clone()));
            }
            *at != call
        });
        if faults.is_empty() {
            faults.extend(script.always.map(|(when, kind)| (when, Fault::Fail(kind))));
        }
        faults
    }
}

async fn pass(
    faults: &[(When, Fault)],
    side: When,
    operation: Operation,
) -> Result<(), StoreError> {
    for (_when, fault) in faults.iter().filter(|(when, _fault)| *when == side) {
        match fault {
            Fault::Stop(gate) => gate.stop().await,
            Fault::Fail(kind) => {
                let error = StoreError::new(*kind, "a fault was injected").during(operation);
                return Err(match side {
                    When::Before => error,
                    When::After => error.with_outcome(Outcome::Unknown),
                });
            }
        }
    }
    Ok(())
}

#[async_trait]
impl<S: TokenStore> TokenStore for FaultyStore<S> {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        self.run(Operation::FindToken, self.inner.find_token(query)).await
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        self.run(Operation::FindTokenById, self.inner.find_token_by_id(id)).await
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        self.run(Operation::SaveToken, self.inner.save_token(token)).await
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.run(Operation::GetTokens, self.inner.get_tokens()).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        self.run(Operation::DeleteToken, self.inner.delete_token(id)).await
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.run(Operation::DeleteTokens, self.inner.delete_tokens()).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        (self.shared && self.inner.shared().is_some()).then_some(self)
    }
}

impl<S: TokenStore> FaultyStore<S> {
    async fn run<T: Send>(
        &self,
        operation: Operation,
        effect: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let faults = self.begin(operation);
        pass(&faults, When::Before, operation).await?;
        let answer = effect.await;
        pass(&faults, When::After, operation).await?;
        answer
    }
}

/// The coordinating side of the store inside.
pub(crate) fn shared(inner: &dyn TokenStore) -> Result<&dyn SharedStore, StoreError> {
    inner.shared().ok_or_else(|| {
        StoreError::new(StoreErrorKind::Unsupported, "the inner store does not coordinate")
    })
}

#[async_trait]
impl<S: TokenStore> SharedStore for FaultyStore<S> {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let effect = shared(&self.inner)?.replace_token(expected, token, fence);
        self.run(Operation::ReplaceToken, effect).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        self.run(Operation::Lease, shared(&self.inner)?.try_lease(id, holder, ttl)).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        self.run(Operation::RenewLease, shared(&self.inner)?.renew_lease(lease, ttl)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        self.run(Operation::ReleaseLease, shared(&self.inner)?.release_lease(lease)).await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        self.run(Operation::State, shared(&self.inner)?.state(id)).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let effect = shared(&self.inner)?.replace_state(id, expected, state);
        self.run(Operation::ReplaceState, effect).await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        self.run(Operation::ChangeMark, shared(&self.inner)?.change_mark()).await
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        self.run(Operation::Page, shared(&self.inner)?.page(after, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use tokenkeep_core::ListStore;

    use super::*;

    fn token() -> OAuthToken {
        OAuthToken::builder().user_name("a").refresh_token("test-refresh-a").build().unwrap()
    }

    #[tokio::test]
    async fn a_fault_before_the_effect_changes_nothing() {
        let store = FaultyStore::new(ListStore::new());
        store.fail_nth(Operation::SaveToken, 2, When::Before, StoreErrorKind::Busy);
        store.save_token(&token()).await.unwrap();
        let changed = token().clear(tokenkeep_core::Field::RefreshToken);
        let error = store.save_token(&changed).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Busy, Outcome::NotApplied));
        assert!(store.get_tokens().await.unwrap()[0].refresh_token().is_some());
        assert_eq!(store.calls(Operation::SaveToken), 2);
    }

    #[tokio::test]
    async fn all_calls_fail_until_healed() {
        let store = FaultyStore::new(ListStore::new());
        store.fail_all(Operation::GetTokens, When::After, StoreErrorKind::Unavailable);
        for _ in 0..3 {
            let error = store.get_tokens().await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
        store.heal(Operation::GetTokens);
        assert!(store.get_tokens().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_stopped_call_has_or_has_not_had_its_effect() {
        for (when, tokens) in [(When::Before, 0), (When::After, 1)] {
            let store = FaultyStore::new(ListStore::new());
            let gate = store.stop_next(Operation::SaveToken, when);
            let saving = tokio::spawn({
                let store = store.clone();
                async move { store.save_token(&token()).await }
            });
            gate.reached().await;
            assert_eq!(store.get_tokens().await.unwrap().len(), tokens, "{when:?}");
            gate.open();
            saving.await.unwrap().unwrap();
            assert_eq!(store.get_tokens().await.unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_caller_who_gives_up_leaves_the_others_alone() {
        let store = FaultyStore::new(ListStore::new());
        let gate = store.stop_next(Operation::SaveToken, When::Before);
        let saving = tokio::spawn({
            let store = store.clone();
            async move { store.save_token(&token()).await }
        });
        gate.reached().await;
        saving.abort();
        assert!(saving.await.unwrap_err().is_cancelled());
        store.save_token(&token()).await.unwrap();
    }

    #[tokio::test]
    async fn shared_operations_have_faults_too() {
        let store = FaultyStore::new(ListStore::new());
        let saved = store.save_token(&token()).await.unwrap();
        store.fail_next(Operation::ReplaceToken, When::After, StoreErrorKind::Unavailable);
        let shared = store.shared().unwrap();
        assert!(shared.replace_token(&saved, &saved, None).await.is_err());
        assert!(matches!(shared.replace_token(&saved, &saved, None).await, Ok(Replaced::Saved(_))));
        assert!(store.without_shared().shared().is_none());
    }
}
