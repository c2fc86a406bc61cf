//! What a keeper does: it finds tokens, waits until they are due, and has them renewed.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use tokenkeep_core::{
    ChangeMark, OAuthToken, StoreError, Timestamp, TokenId, TokenMeta, TokenStatus,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{debug, info, warn};

use super::{
    Counters, Keep, KeeperBuilder,
    schedule::{Schedule, Settings, Window},
};
use crate::{
    LiveToken, ManagerError, ManagerErrorKind, RefreshReason, TokenManager,
    flight::Ended,
    memory::Memory,
    metrics::{self, Share},
    slot::{Want, stopped},
};

/// How long the keeper sleeps at most: then it looks at the clock, which somebody may have set.
const NAP: Duration = Duration::from_secs(1);

/// How many tokens are read at once when the store is looked through.
const PAGE: usize = 500;

/// How soon a renewal that failed is tried again, at the earliest; it doubles.
const RETRY_AFTER: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A token that was published by the keeper's manager.
pub(crate) struct Published {
    pub(crate) live: Arc<LiveToken>,
    pub(crate) memory: Arc<Memory>,
}

pub(super) struct Task {
    manager: TokenManager,
    keep: Keep,
    concurrency: usize,
    schedule: Schedule,
    /// The tokens of the schedule: until when they last, as far as is known.
    kept: HashMap<TokenId, Kept>,
    published: mpsc::UnboundedReceiver<Published>,
    renewals: JoinSet<(TokenId, Result<Arc<LiveToken>, ManagerError>)>,
    scan: Scan,
    counters: Arc<Counters>,
    tokens: Share,
    due: Share,
    late: u64,
}

struct Kept {
    expires_at: Timestamp,
    memory: Option<Arc<Memory>>,
    /// How often its renewal has failed since the last one that did not.
    failures: u32,
}

/// Where the keeper is in looking through the store.
struct Scan {
    every: Duration,
    /// The last pass began then, with this mark.
    began: Option<(Timestamp, Option<ChangeMark>)>,
    /// The page to be read next, if a pass is under way.
    next: Option<Option<TokenId>>,
}

impl Task {
    pub(super) fn new(builder: KeeperBuilder, counters: Arc<Counters>) -> Self {
        let KeeperBuilder { manager, keep, margin, concurrency, scan_every } = builder;
        let mut seed = DefaultHasher::new();
        manager.0.holder.hash(&mut seed);
        let mut settings = Settings::new(seed.finish());
        // Before those who ask would have it renewed: up to two margins before its end.
        settings.margin = margin.max(2 * manager.0.settings.margin);
        Self {
            published: manager.watch_published(),
            keep,
            concurrency,
            schedule: Schedule::new(settings),
            kept: HashMap::new(),
            renewals: JoinSet::new(),
            scan: Scan { every: scan_every, began: None, next: None },
            counters,
            tokens: Share::of_keeper_tokens(),
            due: Share::of_keeper_due(),
            late: 0,
            manager,
        }
    }

    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            while let Ok(published) = self.published.try_recv() {
                self.take_note(published);
            }
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break,
                () = self.look_through_the_store() => {}
            }
            self.start_what_is_due();
            self.report();
            let nap = self.nap();
            tokio::select! {
                // Dropped or stopped.
                _ = stopped.wait_for(|stop| *stop) => break,
                Some(done) = self.renewals.join_next() => self.conclude(done),
                Some(published) = self.published.recv() => self.take_note(published),
                () = tokio::time::sleep(nap) => {}
            }
        }
        debug!(under_way = self.renewals.len(), "the keeper stops");
        while let Some(done) = self.renewals.join_next().await {
            self.conclude(done);
        }
        self.report();
        info!("the keeper has stopped");
    }

    fn nap(&self) -> Duration {
        if self.scan.next.is_some() {
            return Duration::ZERO;
        }
        let full = self.renewals.len() >= self.concurrency;
        match self.schedule.next_due() {
            Some(due) if !full => self.manager.now().until(due).min(NAP),
            Some(_) | None => NAP,
        }
    }

    /// Learns of a token that this manager has got, or seen that another one has.
    fn take_note(&mut self, Published { live, memory }: Published) {
        let memory = matches!(self.keep, Keep::UsedWithin(_)).then_some(memory);
        self.plan(&live.id, live.issued_at, live.expires_at, memory);
    }

    /// Keeps the token from now on, to be renewed before `expires_at`.
    fn plan(
        &mut self,
        id: &TokenId,
        issued_at: Option<Timestamp>,
        expires_at: Timestamp,
        memory: Option<Arc<Memory>>,
    ) {
        let now = self.manager.now();
        let known = self.kept.get(id);
        if known.is_some_and(|known| known.expires_at == expires_at) {
            return;
        }
        let settings = self.schedule.settings();
        let window = match issued_at.filter(|issued_at| *issued_at <= now) {
            Some(issued_at) => {
                let renewed = settings.renewed(issued_at, expires_at);
                Window { earliest: renewed.earliest.max(now), ..renewed }
            }
            None => settings.found(now, expires_at),
        };
        let memory = memory.or_else(|| known.and_then(|known| known.memory.clone()));
        self.kept.insert(id.clone(), Kept { expires_at, memory, failures: 0 });
        self.schedule.insert(id.clone(), window, now);
    }

    fn drop_token(&mut self, id: &TokenId) {
        self.kept.remove(id);
        self.schedule.remove(id);
    }

    /// Reads the next page, if the store is to be looked through.
    async fn look_through_the_store(&mut self) {
        if !matches!(self.keep, Keep::All) {
            return;
        }
        if self.scan.next.is_none() && !self.begin_to_scan().await {
            return;
        }
        let after = self.scan.next.take().flatten();
        match self.page(after.as_ref()).await {
            Ok(next) => self.scan.next = next.map(Some),
            Err(error) => {
                warn!(%error, "the keeper cannot look through the store; it tries again");
                // From the start, soon, but not at once.
                let early = self.scan.every.saturating_sub(RETRY_AFTER);
                self.scan.began = Some((self.manager.now().minus(early), None));
            }
        }
    }

    /// Whether it is time to look through the store from its start.
    async fn begin_to_scan(&mut self) -> bool {
        let now = self.manager.now();
        // A clock that was set back does not keep it from looking.
        let lately = |began: Timestamp| began <= now && began.until(now) < self.scan.every;
        if self.scan.began.is_some_and(|(began, _)| lately(began)) {
            return false;
        }
        let mark = match self.manager.timed().shared() {
            Some(shared) => shared.change_mark().await.ok(),
            None => None,
        };
        if mark.is_some() && self.scan.began.is_some_and(|(_, last)| last == mark) {
            return false;
        }
        self.scan.began = Some((now, mark));
        self.scan.next = Some(None);
        true
    }

    /// Plans the tokens of one page; says where the next one begins.
    async fn page(&mut self, after: Option<&TokenId>) -> Result<Option<TokenId>, StoreError> {
        let store = self.manager.timed();
        let (found, next) = match store.shared() {
            Some(shared) => {
                let page = shared.page(after, PAGE).await?;
                (page.tokens, page.next)
            }
            None => (store.get_tokens().await?.iter().filter_map(meta).collect(), None),
        };
        let now = self.manager.now();
        for token in &found {
            if token.has_refresh_token && !has_ended(token, now) {
                let issued_at = token.state.as_ref().and_then(|state| state.refreshed_at);
                let expires_at = token.expiry_time.unwrap_or_default();
                self.plan(&token.id, issued_at, expires_at, None);
            }
        }
        Ok(next)
    }

    fn start_what_is_due(&mut self) {
        let room = self.concurrency.saturating_sub(self.renewals.len());
        let now = self.manager.now();
        for id in self.schedule.due(now, room) {
            let Some(kept) = self.kept.get(&id).filter(|kept| self.is_wanted(kept, now)) else {
                self.drop_token(&id);
                continue;
            };
            let (manager, beyond) = (self.manager.clone(), kept.expires_at);
            self.renewals.spawn(async move {
                // However it ends, the token is given its next moment.
                let renewed = AssertUnwindSafe(renew(&manager, &id, beyond)).catch_unwind().await;
                (id, renewed.unwrap_or_else(|_panic| stopped(Ended::Panicked)))
            });
        }
    }

    fn is_wanted(&self, kept: &Kept, now: Timestamp) -> bool {
        match (self.keep, &kept.memory) {
            (Keep::UsedWithin(time), Some(memory)) => memory.used_at().until(now) < time,
            (Keep::UsedWithin(_), None) => false,
            (Keep::All, _) => true,
        }
    }

    /// What became of a renewal.
    fn conclude(
        &mut self,
        done: Result<(TokenId, Result<Arc<LiveToken>, ManagerError>), tokio::task::JoinError>,
    ) {
        let Ok((id, renewed)) = done else {
            warn!("a renewal was cancelled: the runtime shuts down");
            return;
        };
        let now = self.manager.now();
        match renewed {
            Ok(live) => {
                self.counters.refreshed.fetch_add(1, Ordering::Relaxed);
                // Even if it is none that lasts longer: it has to be given a moment.
                if let Some(kept) = self.kept.get_mut(&id) {
                    kept.expires_at = live.expires_at;
                    kept.failures = 0;
                    let window = self.schedule.settings().renewed(now, live.expires_at);
                    self.schedule.insert(id, window, now);
                }
            }
            Err(error) if is_over(&error) => {
                debug!(token = %id, %error, "not kept any more");
                self.drop_token(&id);
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                let failures = self.kept.get_mut(&id).map_or(0, |kept| {
                    kept.failures += 1;
                    kept.failures - 1
                });
                let pause = RETRY_AFTER.saturating_mul(1 << failures.min(8)).min(LONGEST_PAUSE);
                let soon = now.plus(pause);
                self.schedule.retry(&id, error.retry_at().unwrap_or(soon).max(soon), now);
            }
        }
    }

    fn report(&mut self) {
        let (tokens, due) = (self.kept.len(), self.schedule.waiting());
        self.tokens.set(u32::try_from(tokens).unwrap_or(u32::MAX));
        self.due.set(u32::try_from(due).unwrap_or(u32::MAX));
        self.counters.tokens.store(tokens as u64, Ordering::Relaxed);
        self.counters.due.store(due as u64, Ordering::Relaxed);
        let late = self.schedule.counts().late;
        (self.late..late).for_each(|_| metrics::kept_late());
        self.late = late;
        self.counters.late.store(late, Ordering::Relaxed);
    }
}

/// A token that lasts for longer than `beyond`: one that another process has got, or a new one.
async fn renew(
    manager: &TokenManager,
    id: &TokenId,
    beyond: Timestamp,
) -> Result<Arc<LiveToken>, ManagerError> {
    let Some(stored) = manager.timed().find_token_by_id(id).await? else {
        return Err(ManagerError::no_token(format_args!("with id {id} any more")));
    };
    let mut want = Want::new(RefreshReason::Kept);
    want.beyond = Some(beyond);
    manager.slot(id, &stored).wait(want).await
}

/// Whether nothing is to be done for the token until somebody logs in, which is noticed.
fn is_over(error: &ManagerError) -> bool {
    matches!(
        error.kind(),
        ManagerErrorKind::NoToken | ManagerErrorKind::NeedsLogin | ManagerErrorKind::Invalid
    )
}

/// Whether nothing can renew it. An SDK that logs its user in again stores a token that lasts, and
/// does not take back what is noted here.
fn has_ended(token: &TokenMeta, now: Timestamp) -> bool {
    match token.state.as_ref().map(|state| state.status) {
        Some(TokenStatus::NeedsLogin) => token.expiry_time.is_none_or(|end| end <= now),
        Some(TokenStatus::Revoked) => true,
        Some(_) | None => false,
    }
}

fn meta(token: &OAuthToken) -> Option<TokenMeta> {
    TokenMeta::of(token, None)
}
