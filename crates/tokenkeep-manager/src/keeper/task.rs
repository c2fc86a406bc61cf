//! What a keeper does: it finds tokens, waits until they are due, and has them renewed.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use tokenkeep_core::{ChangeMark, StoreError, Timestamp, TokenId, TokenMeta, TokenStatus};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};
use tracing::{debug, info, warn};

use super::{
    Counters, Keep, KeeperBuilder,
    plan::{Plan, RETRY_AFTER, Seen},
    schedule::Settings,
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

/// A token that was published by the keeper's manager.
pub(crate) struct Published {
    pub(crate) live: Arc<LiveToken>,
    pub(crate) memory: Arc<Memory>,
}

pub(super) struct Task {
    manager: TokenManager,
    keep: Keep,
    concurrency: usize,
    plan: Plan,
    /// Who asks for which token, if only those are kept that are asked for.
    asked_for: HashMap<TokenId, Arc<Memory>>,
    published: mpsc::UnboundedReceiver<Published>,
    renewals: JoinSet<(TokenId, Result<Seen, ManagerError>)>,
    scan: Scan,
    /// The page that is being read, at most one. It is read in a task of its own, so that
    /// meanwhile renewals begin and end as ever.
    page: JoinSet<Result<Page, StoreError>>,
    counters: Arc<Counters>,
    tokens: Share,
    due: Share,
    late: u64,
}

/// Where the keeper is in looking through the store.
struct Scan {
    every: Duration,
    /// The last pass began then.
    began: Option<Timestamp>,
    /// What the store's mark was then.
    mark: Option<ChangeMark>,
}

/// What was read of the store.
enum Page {
    /// It has changed since the last pass, or nobody can tell: its mark before the first page.
    Changed(Option<ChangeMark>, Tokens),
    More(Tokens),
    Unchanged,
}

struct Tokens {
    found: Vec<TokenMeta>,
    /// After which token the next page begins.
    next: Option<TokenId>,
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
            plan: Plan::new(settings),
            asked_for: HashMap::new(),
            renewals: JoinSet::new(),
            scan: Scan { every: scan_every, began: None, mark: None },
            page: JoinSet::new(),
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
            while let Some(done) = self.renewals.try_join_next() {
                self.conclude(done);
            }
            self.look_through_the_store();
            self.start_what_is_due();
            self.report();
            let nap = self.nap();
            tokio::select! {
                // Dropped or stopped.
                _ = stopped.wait_for(|stop| *stop) => break,
                Some(done) = self.renewals.join_next() => self.conclude(done),
                Some(read) = self.page.join_next() => self.take_page(read),
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
        let full = self.renewals.len() >= self.concurrency;
        match self.plan.next_due() {
            Some(due) if !full => self.manager.now().until(due).min(NAP),
            Some(_) | None => NAP,
        }
    }

    /// Learns of a token that this manager has got, or seen that another one has.
    fn take_note(&mut self, Published { live, memory }: Published) {
        if matches!(self.keep, Keep::UsedWithin(_)) {
            self.asked_for.insert(live.id.clone(), memory);
        }
        self.plan.see(&live.id, Seen::of(&live), self.manager.now());
    }

    fn drop_token(&mut self, id: &TokenId) {
        self.asked_for.remove(id);
        self.plan.drop_token(id);
    }

    /// Begins to look through the store from its start, if it is time to.
    fn look_through_the_store(&mut self) {
        let now = self.manager.now();
        // A clock that was set back does not keep it from looking.
        let lately = |began: Timestamp| began <= now && began.until(now) < self.scan.every;
        if matches!(self.keep, Keep::All)
            && self.page.is_empty()
            && !self.scan.began.is_some_and(lately)
        {
            self.scan.began = Some(now);
            self.plan.begin_page();
            self.page.spawn(first_page(self.manager.clone(), self.scan.mark));
        }
    }

    /// Plans the tokens of one page, and has the next one read.
    fn take_page(&mut self, read: Result<Result<Page, StoreError>, JoinError>) {
        let tokens = match read {
            Ok(Ok(Page::Changed(mark, tokens))) => {
                self.scan.mark = mark;
                tokens
            }
            Ok(Ok(Page::More(tokens))) => tokens,
            Ok(Ok(Page::Unchanged)) => return self.plan.end_page(),
            Ok(Err(error)) => return self.look_again_soon(&error),
            Err(panicked) => return self.look_again_soon(&panicked),
        };
        let now = self.manager.now();
        for token in &tokens.found {
            if token.has_refresh_token && !has_ended(token, now) {
                let issued_at = token.state.as_ref().and_then(|state| state.refreshed_at);
                let expires_at = token.expiry_time.unwrap_or_default();
                let seen = Seen { issued_at, expires_at, ours: false };
                self.plan.see_on_page(&token.id, seen, now);
            }
        }
        self.plan.end_page();
        if let Some(next) = tokens.next {
            self.plan.begin_page();
            self.page.spawn(next_page(self.manager.clone(), next));
        }
    }

    /// From the start, but not at once.
    fn look_again_soon(&mut self, error: &dyn fmt::Display) {
        self.plan.end_page();
        warn!(%error, "the keeper cannot look through the store; it tries again");
        let early = self.scan.every.saturating_sub(RETRY_AFTER);
        (self.scan.began, self.scan.mark) = (Some(self.manager.now().minus(early)), None);
    }

    fn start_what_is_due(&mut self) {
        let room = self.concurrency.saturating_sub(self.renewals.len());
        let now = self.manager.now();
        for id in self.plan.due(now, room) {
            let Some(beyond) = self.plan.ends(&id).filter(|_| self.is_wanted(&id, now)) else {
                self.drop_token(&id);
                continue;
            };
            let (manager, margin) = (self.manager.clone(), self.plan.margin());
            self.renewals.spawn(async move {
                // However it ends, the token is given its next moment.
                let renewed = renew(&manager, &id, beyond, margin);
                let renewed = AssertUnwindSafe(renewed).catch_unwind().await;
                (id, renewed.unwrap_or_else(|_panic| stopped(Ended::Panicked)))
            });
        }
    }

    fn is_wanted(&self, id: &TokenId, now: Timestamp) -> bool {
        match self.keep {
            Keep::UsedWithin(time) => {
                self.asked_for.get(id).is_some_and(|memory| memory.used_at().until(now) < time)
            }
            Keep::All => true,
        }
    }

    /// What became of a renewal.
    fn conclude(&mut self, done: Result<(TokenId, Result<Seen, ManagerError>), JoinError>) {
        let Ok((id, renewed)) = done else {
            warn!("a renewal was cancelled: the runtime shuts down");
            return;
        };
        let now = self.manager.now();
        match renewed {
            Ok(seen) => {
                self.counters.refreshed.fetch_add(1, Ordering::Relaxed);
                self.plan.conclude(&id, seen, now);
            }
            Err(error) if is_over(&error) => {
                debug!(token = %id, %error, "not kept any more");
                self.drop_token(&id);
            }
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                self.plan.fail(&id, error.retry_at(), now);
            }
        }
    }

    fn report(&mut self) {
        let (tokens, due) = (self.plan.len(), self.plan.waiting());
        self.tokens.set(u32::try_from(tokens).unwrap_or(u32::MAX));
        self.due.set(u32::try_from(due).unwrap_or(u32::MAX));
        self.counters.tokens.store(tokens as u64, Ordering::Relaxed);
        self.counters.due.store(due as u64, Ordering::Relaxed);
        let late = self.plan.counts().late;
        (self.late..late).for_each(|_| metrics::kept_late());
        self.late = late;
        self.counters.late.store(late, Ordering::Relaxed);
    }
}

/// The store's first page, if the store has changed since it had the mark `last`.
async fn first_page(manager: TokenManager, last: Option<ChangeMark>) -> Result<Page, StoreError> {
    let Some(shared) = manager.timed().shared() else {
        let tokens = manager.timed().get_tokens().await?;
        let found = tokens.iter().filter_map(|token| TokenMeta::of(token, None)).collect();
        return Ok(Page::Changed(None, Tokens { found, next: None }));
    };
    let mark = shared.change_mark().await.ok();
    if mark.is_some() && mark == last {
        return Ok(Page::Unchanged);
    }
    Ok(Page::Changed(mark, shared.page(None, PAGE).await?.into()))
}

async fn next_page(manager: TokenManager, after: TokenId) -> Result<Page, StoreError> {
    let shared = manager.timed().shared().expect("only a shared store has a second page");
    Ok(Page::More(shared.page(Some(&after), PAGE).await?.into()))
}

impl From<tokenkeep_core::Page> for Tokens {
    fn from(page: tokenkeep_core::Page) -> Self {
        Self { found: page.tokens, next: page.next }
    }
}

/// A token that lasts for longer than `beyond`: one that another process has got, or a new one.
async fn renew(
    manager: &TokenManager,
    id: &TokenId,
    beyond: Timestamp,
    margin: Duration,
) -> Result<Seen, ManagerError> {
    let Some(stored) = manager.timed().find_token_by_id(id).await? else {
        return Err(ManagerError::no_token(format_args!("with id {id} any more")));
    };
    // Another one was here, as is usual where several keepers share the work: one read tells.
    let lasts = beyond.max(manager.now().plus(margin));
    if let Some(expires_at) = stored.expiry_time().filter(|ends| lasts < *ends)
        && stored.refresh_token().is_some()
    {
        return Ok(Seen { issued_at: None, expires_at, ours: false });
    }
    let mut want = Want::new(RefreshReason::Kept);
    want.beyond = Some(beyond);
    manager.slot(id, &stored).wait(want).await.map(|live| Seen::of(&live))
}

impl Seen {
    fn of(live: &LiveToken) -> Self {
        let LiveToken { issued_at, expires_at, ours, .. } = *live;
        Self { issued_at, expires_at, ours }
    }
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
