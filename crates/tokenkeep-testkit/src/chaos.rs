//! [`ChaosStore`]: a store around a store, where another one decides what becomes of each call.

use std::{fmt, future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Outcome, Page, Replaced, SharedStore,
    StateReplaced, StoreError, StoreErrorKind, TokenId, TokenQuery, TokenState, TokenStore,
};
use tokio::time::sleep;

use crate::{When, faulty::shared};

/// What becomes of one call of a [`ChaosStore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// Nothing special.
    #[default]
    Spared,
    /// It fails. [Before](When::Before) its effect the error has its kind's usual outcome; after
    /// it, [`Unknown`](Outcome::Unknown).
    Fails(When, StoreErrorKind),
    /// It takes this long, on this side of its effect. A caller who leaves before its effect
    /// prevents it.
    Waits(When, Duration),
    /// Its effect comes this late, and also if the caller has left by then: a request that was
    /// long on its way.
    Late(Duration),
    /// It is never answered.
    Hangs(When),
}

/// Decides what becomes of the calls of a [`ChaosStore`], and is told of their effects.
#[async_trait]
pub trait Chaos: fmt::Debug + Send + Sync + 'static {
    /// What becomes of the call of `operation` that begins now.
    async fn fate(&self, operation: Operation) -> Fate;

    /// Holds a call up that has waited, on this side of its effect: for ever, if its process has
    /// died meanwhile.
    async fn resume(&self, when: When) {
        let _: When = when;
    }

    /// A call of `operation` has had its effect: `stored` is what it stored, if it did.
    fn effect(&self, operation: Operation, stored: Option<&OAuthToken>) {
        let _: (Operation, Option<&OAuthToken>) = (operation, stored);
    }
}

/// A store around a store, where a [`Chaos`] decides what becomes of each call: for harnesses that
/// plan faults by the number of a step, at random or one after another.
///
/// Each process of a test has one of its own around the store that they share. Where calls are
/// scripted one by one, [`FaultyStore`](crate::FaultyStore) is simpler.
///
/// Time is tokio's. A [late](Fate::Late) call is a task of its own.
#[derive(Clone)]
pub struct ChaosStore {
    inner: Arc<dyn TokenStore>,
    chaos: Arc<dyn Chaos>,
    shared: bool,
}

impl ChaosStore {
    /// `inner`, whose calls end as `chaos` says.
    #[must_use]
    pub fn new(inner: Arc<dyn TokenStore>, chaos: Arc<dyn Chaos>) -> Self {
        Self { inner, chaos, shared: true }
    }

    /// This store without [`shared`](TokenStore::shared), like one of six methods.
    #[must_use]
    pub fn without_shared(mut self) -> Self {
        self.shared = false;
        self
    }

    async fn run<T: Stored + Send + 'static>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let failed = |kind| {
            let error = StoreError::new(kind, "a fault was injected").during(operation);
            error.with_hint("end the faults")
        };
        let chaos = Arc::clone(&self.chaos);
        let effect = async move {
            let answer = call.await;
            chaos.effect(operation, answer.as_ref().ok().and_then(Stored::stored));
            answer
        };
        match self.chaos.fate(operation).await {
            Fate::Spared => effect.await,
            Fate::Fails(When::Before, kind) => Err(failed(kind)),
            Fate::Fails(When::After, kind) => {
                drop(effect.await);
                Err(failed(kind).with_outcome(Outcome::Unknown))
            }
            Fate::Waits(When::Before, time) => {
                sleep(time).await;
                self.chaos.resume(When::Before).await;
                effect.await
            }
            Fate::Waits(When::After, time) => {
                let answer = effect.await;
                sleep(time).await;
                self.chaos.resume(When::After).await;
                answer
            }
            Fate::Late(time) => {
                let late = tokio::spawn(async move {
                    sleep(time).await;
                    effect.await
                });
                let answer = late.await;
                self.chaos.resume(When::After).await;
                answer.unwrap_or_else(|_gone| Err(failed(StoreErrorKind::Unavailable)))
            }
            Fate::Hangs(When::Before) => pending().await,
            Fate::Hangs(When::After) => {
                drop(effect.await);
                pending().await
            }
        }
    }
}

/// An answer that may hold what was stored.
trait Stored {
    fn stored(&self) -> Option<&OAuthToken> {
        None
    }
}

/// Of a save. What a find answers is of this type too, so those are wrapped.
struct Saved(OAuthToken);
struct Read<T>(T);

impl Stored for Saved {
    fn stored(&self) -> Option<&OAuthToken> {
        Some(&self.0)
    }
}

impl Stored for Replaced {
    fn stored(&self) -> Option<&OAuthToken> {
        match self {
            Self::Saved(token) => Some(token),
            Self::Changed(_) | Self::LeaseLost(_) | _ => None,
        }
    }
}

impl<T> Stored for Read<T> {}

impl fmt::Debug for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl TokenStore for ChaosStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let (inner, query) = (Arc::clone(&self.inner), query.clone());
        let call = async move { inner.find_token(&query).await.map(Read) };
        self.run(Operation::FindToken, call).await.map(|read| read.0)
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let call = async move { inner.find_token_by_id(&id).await.map(Read) };
        self.run(Operation::FindTokenById, call).await.map(|read| read.0)
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let (inner, token) = (Arc::clone(&self.inner), token.clone());
        let call = async move { inner.save_token(&token).await.map(Saved) };
        self.run(Operation::SaveToken, call).await.map(|saved| saved.0)
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let call = async move { inner.get_tokens().await.map(Read) };
        self.run(Operation::GetTokens, call).await.map(|read| read.0)
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let call = async move { inner.delete_token(&id).await.map(Read) };
        self.run(Operation::DeleteToken, call).await.map(|read| read.0)
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        let call = async move { inner.delete_tokens().await.map(Read) };
        self.run(Operation::DeleteTokens, call).await.map(|read| read.0)
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        (self.shared && self.inner.shared().is_some()).then_some(self)
    }
}

#[async_trait]
impl SharedStore for ChaosStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let (expected, token) = (expected.clone(), token.clone());
        let (inner, fence) = (Arc::clone(&self.inner), fence.cloned());
        let call =
            async move { shared(&inner)?.replace_token(&expected, &token, fence.as_ref()).await };
        self.run(Operation::ReplaceToken, call).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (inner, id, holder) = (Arc::clone(&self.inner), id.clone(), holder.to_owned());
        let call = async move { shared(&inner)?.try_lease(&id, &holder, ttl).await.map(Read) };
        self.run(Operation::Lease, call).await.map(|read| read.0)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let (inner, lease) = (Arc::clone(&self.inner), lease.clone());
        let call = async move { shared(&inner)?.renew_lease(&lease, ttl).await.map(Read) };
        self.run(Operation::RenewLease, call).await.map(|read| read.0)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let (inner, lease) = (Arc::clone(&self.inner), lease.clone());
        let call = async move { shared(&inner)?.release_lease(&lease).await.map(Read) };
        self.run(Operation::ReleaseLease, call).await.map(|read| read.0)
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let call = async move { shared(&inner)?.state(&id).await.map(Read) };
        self.run(Operation::State, call).await.map(|read| read.0)
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let (expected, state) = (expected.cloned(), state.clone());
        let call = async move {
            shared(&inner)?.replace_state(&id, expected.as_ref(), &state).await.map(Read)
        };
        self.run(Operation::ReplaceState, call).await.map(|read| read.0)
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        let inner = Arc::clone(&self.inner);
        let call = async move { shared(&inner)?.change_mark().await.map(Read) };
        self.run(Operation::ChangeMark, call).await.map(|read| read.0)
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let (inner, after) = (Arc::clone(&self.inner), after.cloned());
        let call = async move { shared(&inner)?.page(after.as_ref(), limit).await.map(Read) };
        self.run(Operation::Page, call).await.map(|read| read.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use tokenkeep_core::ListStore;
    use tokio::time::{Instant, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The same fate for all calls; notes what was stored.
    #[derive(Debug, Default)]
    struct Same(Fate, Mutex<Vec<Operation>>);

    #[async_trait]
    impl Chaos for Same {
        async fn fate(&self, _operation: Operation) -> Fate {
            self.0
        }

        fn effect(&self, operation: Operation, stored: Option<&OAuthToken>) {
            if stored.is_some() {
                self.1.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
            }
        }
    }

    fn store(fate: Fate) -> (ListStore, Arc<Same>, ChaosStore) {
        let (inner, chaos) = (ListStore::new(), Arc::new(Same(fate, Mutex::default())));
        let store = ChaosStore::new(Arc::new(inner.clone()), Arc::<Same>::clone(&chaos));
        (inner, chaos, store)
    }

    async fn count(store: &ListStore) -> usize {
        store.get_tokens().await.unwrap().len()
    }

    fn token() -> OAuthToken {
        OAuthToken::builder().user_name("a").refresh_token("test-refresh-a").build().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_fate_has_or_has_not_had_its_effect() {
        let kind = StoreErrorKind::Unavailable;
        for (fate, saved, takes, tokens) in [
            (Fate::Spared, Some(Ok(())), 0, 1),
            (Fate::Fails(When::Before, kind), Some(Err(Outcome::NotApplied)), 0, 0),
            (Fate::Fails(When::After, kind), Some(Err(Outcome::Unknown)), 0, 1),
            (Fate::Waits(When::Before, 2 * SECOND), Some(Ok(())), 2, 1),
            (Fate::Waits(When::After, 2 * SECOND), Some(Ok(())), 2, 1),
            (Fate::Waits(When::Before, 9 * SECOND), None, 5, 0),
            (Fate::Waits(When::After, 9 * SECOND), None, 5, 1),
            (Fate::Late(2 * SECOND), Some(Ok(())), 2, 1),
            (Fate::Late(9 * SECOND), None, 5, 0),
            (Fate::Hangs(When::Before), None, 5, 0),
            (Fate::Hangs(When::After), None, 5, 1),
        ] {
            let (inner, chaos, store) = store(fate);
            let began = Instant::now();
            let answer = timeout(5 * SECOND, store.save_token(&token())).await.ok();
            let answer = answer.map(|it| it.map(drop).map_err(|error| error.outcome()));
            assert_eq!(answer, saved, "{fate:?}");
            assert_eq!(began.elapsed(), takes * SECOND, "{fate:?}");
            assert_eq!(count(&inner).await, tokens, "{fate:?}");
            // What is late comes although nobody waits, and nothing else does.
            sleep(10 * SECOND).await;
            let later = if fate == Fate::Late(9 * SECOND) { 1 } else { tokens };
            assert_eq!(count(&inner).await, later, "{fate:?}");
            assert_eq!(chaos.1.lock().unwrap().len(), later, "{fate:?}");
        }
    }

    #[tokio::test]
    async fn a_store_of_six_methods_can_be_made_of_it() {
        let (_, chaos, store) = store(Fate::Spared);
        let saved = store.save_token(&token()).await.unwrap();
        let shared = store.shared().unwrap();
        let changed =
            saved.clone().with_refresh_token(tokenkeep_core::RefreshToken::new("b").unwrap());
        for _ in 0..2 {
            shared.replace_token(&saved, &changed, None).await.unwrap();
        }
        assert_eq!(*chaos.1.lock().unwrap(), [Operation::SaveToken, Operation::ReplaceToken]);
        assert!(store.without_shared().shared().is_none());
    }
}
