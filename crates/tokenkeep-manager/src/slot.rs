//! What a manager holds in memory for one token: the live token, and the refresh under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokenkeep_core::{AccessToken, ChangeMark, Fingerprint, Timestamp, TokenId};
use tokio::time::Instant;

use crate::{
    LiveToken, ManagerError, ManagerErrorKind, RefreshReason, TokenManager,
    flight::{Ended, Flight},
    freshness::Freshness,
    memory::Memory,
    refresh,
};

pub(crate) struct Slot {
    pub(crate) id: TokenId,
    pub(crate) manager: TokenManager,
    pub(crate) memory: Arc<Memory>,
    pub(crate) freshness: Freshness,
    current: ArcSwapOption<Cached>,
    /// Its answer, and whether it was one that could wait.
    flight: Flight<(bool, Result<Arc<LiveToken>, ManagerError>)>,
}

/// The live token in memory, and for how long it is served without a look elsewhere.
pub(crate) struct Cached {
    pub(crate) live: Arc<LiveToken>,
    /// What it was issued to.
    pub(crate) grant: Option<Fingerprint>,
    /// The store's mark when it was last seen to be the stored one; `None` if it was not.
    pub(crate) mark: Option<ChangeMark>,
    /// It is served from then, in milliseconds. Before: the clock was set back.
    from: AtomicI64,
    /// It is served until then, in milliseconds.
    until: AtomicI64,
    /// When it ends, by a clock that nobody sets. That one may stand still while the machine is
    /// suspended, so the earlier of the two ends counts.
    ends: Option<Instant>,
}

impl Cached {
    pub(crate) fn new(
        live: Arc<LiveToken>,
        grant: Option<Fingerprint>,
        mark: Option<ChangeMark>,
        now: Timestamp,
    ) -> Self {
        let ends = Instant::now().checked_add(now.until(live.expires_at));
        let (from, until) = (now.as_millis(), now.as_millis());
        Self { live, grant, mark, from: from.into(), until: until.into(), ends }
    }

    /// Whether it may be served without a look elsewhere.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let now = now.as_millis();
        self.from.load(Ordering::Relaxed) <= now && now < self.until.load(Ordering::Relaxed)
    }

    /// Whether the provider still takes it.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        now < self.live.expires_at && self.ends.is_none_or(|ends| Instant::now() < ends)
    }

    /// Whether it is time to renew it.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let live = &self.live;
        now >= live.renew_at || self.left(now) <= live.renew_at.until(live.expires_at)
    }

    /// The same, known to be the stored one at `mark`.
    fn seen_at(&self, mark: ChangeMark) -> Self {
        let copy = |moment: &AtomicI64| moment.load(Ordering::Relaxed).into();
        Self {
            live: Arc::clone(&self.live),
            grant: self.grant.clone(),
            mark: Some(mark),
            from: copy(&self.from),
            until: copy(&self.until),
            ends: self.ends,
        }
    }

    /// How long the provider still takes it.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        let by_the_clock = now.until(self.live.expires_at);
        let ends = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        ends.map_or(by_the_clock, |ends| ends.min(by_the_clock))
    }

    /// Serves it until `until` without another look.
    pub(crate) fn serve(&self, now: Timestamp, until: Timestamp) {
        // Who sees one of the two alone looks once more.
        self.from.store(now.as_millis(), Ordering::Relaxed);
        self.until.store(until.as_millis(), Ordering::Relaxed);
    }
}

/// What somebody wants of a refresh.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) reason: RefreshReason,
    /// An access token that is of no use, whatever its expiry says.
    pub(crate) rejected: Option<AccessToken>,
    /// One that ends then, or earlier, is of no use either.
    pub(crate) beyond: Option<Timestamp>,
}

impl Want {
    pub(crate) fn new(reason: RefreshReason) -> Self {
        Self { reason, rejected: None, beyond: None }
    }

    pub(crate) fn other_than(reason: RefreshReason, rejected: AccessToken) -> Self {
        Self { reason, rejected: Some(rejected), beyond: None }
    }

    /// Whether nobody waits for it, because the present token still works.
    pub(crate) fn can_wait(&self) -> bool {
        matches!(self.reason, RefreshReason::Ahead | RefreshReason::Kept)
    }
}

impl Slot {
    pub(crate) fn new(id: TokenId, manager: TokenManager, memory: Arc<Memory>) -> Self {
        let freshness = Freshness::new(manager.0.settings.margin, &id, &manager.0.holder);
        Self {
            id,
            manager,
            memory,
            freshness,
            current: ArcSwapOption::empty(),
            flight: Flight::new(),
        }
    }

    /// The token in memory, if it can be served without a look elsewhere.
    pub(crate) fn fresh(&self) -> Option<Arc<LiveToken>> {
        let current = self.current.load();
        let cached = current.as_ref().filter(|cached| cached.is_fresh(self.manager.now()))?;
        Some(Arc::clone(&cached.live))
    }

    /// What is in memory, fresh or not.
    pub(crate) fn cached(&self) -> Option<Arc<Cached>> {
        self.current.load_full()
    }

    /// The token in memory, if it need not be renewed yet.
    pub(crate) fn undue(&self) -> Option<Arc<LiveToken>> {
        let (cached, now) = (self.cached()?, self.manager.now());
        (cached.is_valid(now) && !cached.is_due(now)).then(|| Arc::clone(&cached.live))
    }

    /// The token in memory, if the provider still takes it.
    pub(crate) fn valid(&self) -> Option<Arc<LiveToken>> {
        let cached = self.cached()?;
        cached.is_valid(self.manager.now()).then(|| Arc::clone(&cached.live))
    }

    /// Makes this the token that callers get.
    pub(crate) fn publish(
        &self,
        live: LiveToken,
        grant: Option<Fingerprint>,
        mark: Option<ChangeMark>,
    ) -> Arc<LiveToken> {
        let now = self.manager.now();
        let live = Arc::new(live);
        let cached = Cached::new(Arc::clone(&live), grant, mark, now);
        self.serve(&cached, now);
        self.current.store(Some(Arc::new(cached)));
        self.manager.tell_keepers(&live, &self.memory);
        live
    }

    /// Serves it until it is to be renewed, or to be compared with what is stored.
    pub(crate) fn serve(&self, cached: &Cached, now: Timestamp) {
        cached.serve(now, cached.live.renew_at.min(now.plus(self.manager.look_after())));
    }

    /// Notes that the token in memory is the stored one at `mark`.
    pub(crate) fn confirm(&self, cached: &Arc<Cached>, mark: ChangeMark) -> Arc<Cached> {
        let seen = Arc::new(cached.seen_at(mark));
        self.current.compare_and_swap(cached, Some(Arc::clone(&seen)));
        seen
    }

    /// Forgets the token in memory if it is this very one. Says when it was issued and would have
    /// expired, where that is known.
    pub(crate) fn forget(&self, rejected: &AccessToken) -> Option<(Timestamp, Timestamp)> {
        let current = self.current.load();
        let cached = current.as_ref().filter(|it| it.live.access_token == *rejected)?;
        let life = cached.live.issued_at.map(|issued| (issued, cached.live.expires_at));
        self.current.compare_and_swap(&current, None);
        life
    }

    /// Forgets whatever token is in memory.
    pub(crate) fn forget_any(&self) {
        self.current.store(None);
    }

    /// The refresh under way, or a new one: a task of its own that nobody's leaving ends.
    pub(crate) fn flight(
        self: &Arc<Self>,
        want: Want,
    ) -> impl Future<Output = (bool, Result<Arc<LiveToken>, ManagerError>)> + Send + use<> {
        let slot = Arc::clone(self);
        let work = move || async move { (want.can_wait(), refresh::run(&slot, &want).await) };
        self.flight.join(work, |ended| (false, stopped(ended)))
    }

    /// Waits for the refresh under way, or a new one, but not beyond the deadline.
    pub(crate) async fn wait(self: &Arc<Self>, want: Want) -> Result<Arc<LiveToken>, ManagerError> {
        let deadline = self.manager.0.settings.deadline;
        let waiting = async {
            match self.flight(want.clone()).await {
                // That one gave up early and left a part of the budget, because it could wait.
                (true, Err(_)) if !want.can_wait() => self.flight(want).await.1,
                (_, answer) => answer,
            }
        };
        self.in_time(deadline, waiting).await
    }

    /// Waits for `work`, but not for longer than `limit`.
    pub(crate) async fn in_time<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ManagerError>>,
    ) -> Result<T, ManagerError> {
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_elapsed| {
            let (id, limit) = (&self.id, limit.as_secs_f32());
            Err(ManagerError::new(
                ManagerErrorKind::Timeout,
                format!("token {id}: refreshing takes longer than {limit} s; it goes on"),
            ))
        })
    }

    /// Whether a refresh is under way.
    pub(crate) fn is_refreshing(&self) -> bool {
        self.flight.is_under_way()
    }

    /// Notes that somebody asks for the token.
    pub(crate) fn touch(&self) {
        self.memory.touch(self.manager.now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.manager.let_go(&self.id, &self.memory);
    }
}

/// The answer of work that ended without one.
pub(crate) fn stopped<T>(ended: Ended) -> Result<T, ManagerError> {
    Err(ManagerError::new(
        ManagerErrorKind::Stopped,
        match ended {
            Ended::Panicked => "the work stopped in a panic",
            Ended::RuntimeGone => "the runtime shut down before the work was done",
        },
    ))
}
