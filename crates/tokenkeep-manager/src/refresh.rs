//! How a token is refreshed: lease, read again, record, exchange, save, publish.

mod allowed;
mod ask;
mod held;
mod lease;
mod recover;
mod save;

use std::sync::Arc;

use tokenkeep_core::{
    Fingerprint, Lease, OAuthToken, SharedStore, StoreError, StoreErrorKind, TokenId, TokenState,
    TokenStatus, update_state,
};
use tokio::time::Instant;
use tracing::{Instrument, debug, info_span, warn};

pub use self::recover::Recovery;
use self::{
    allowed::may_ask,
    ask::{Answer, Issued},
    lease::{Holding, Leased, take_lease},
};
pub(crate) use self::{
    held::Held,
    lease::under_lease,
    recover::{forget, recover},
    save::{Save, save},
};
use crate::{
    EventKind, LiveToken, ManagerError, ManagerErrorKind,
    memory::Unsaved,
    slot::{Slot, Want},
};

/// How often the refresh begins again because another one took the token's place.
const OTHERS_MEANWHILE: u32 = 4;

/// Gets a live token for `slot` and publishes it: one that somebody else has stored, or a new one.
///
/// Runs in a task of its own, so everything in here is done to its end or until the process dies.
pub(crate) async fn run(slot: &Arc<Slot>, want: &Want) -> Result<Arc<LiveToken>, ManagerError> {
    let span = info_span!("refresh", token = %slot.id, reason = ?want.reason);
    async {
        // Who saves what an earlier refresh could not is done first.
        let working = slot.memory.work.lock().await;
        let mut run = Run::new(slot, want);
        let result = match slot.manager.timed().shared() {
            Some(shared) => run.with_lease(shared).await,
            None => run.renew(None).await.and_then(|live| live.ok_or_else(|| replaced(&slot.id))),
        };
        drop(working);
        run.conclude(result)
    }
    .instrument(span)
    .await
}

/// One refresh.
struct Run<'a> {
    slot: &'a Arc<Slot>,
    want: &'a Want,
    began: Instant,
    /// How often the provider was asked.
    asked: u32,
    /// How often what it issued had ended before it was stored.
    outlived: u32,
}

impl<'a> Run<'a> {
    fn new(slot: &'a Arc<Slot>, want: &'a Want) -> Self {
        Self { slot, want, began: Instant::now(), asked: 0, outlived: 0 }
    }

    /// A shared store: whoever has the lease refreshes, the others wait and use what it stored.
    async fn with_lease(
        &mut self,
        shared: &dyn SharedStore,
    ) -> Result<Arc<LiveToken>, ManagerError> {
        for _ in 0..OTHERS_MEANWHILE {
            // Somebody may have refreshed since, or nobody may ask: that takes no lease to see.
            let held = Held::gather(self.slot).await?;
            if !held.has_unsaved() {
                if let Some(live) = held.usable(self.slot, self.want) {
                    return Ok(self.adopt(live, held.stored()));
                }
                self.serve_meanwhile(&held);
                may_ask(self.slot, self.want, &held)?;
            }
            let lease = match take_lease(self, shared).await {
                Ok(Leased::Mine(lease)) => lease,
                Ok(Leased::NotNeeded(theirs)) => return Ok(self.adopt(theirs.0, &theirs.1)),
                // What could not be stored works, whatever the store says now.
                Err(error) if error.kind() != ManagerErrorKind::NoToken => {
                    return self.serve_unsaved(&held).ok_or(error);
                }
                Err(gone) => return Err(gone),
            };
            // Only what is read under the lease counts.
            let renewed = lease.keep_while(self.slot, self.renew(Some(&lease))).await;
            lease.release().await;
            if let Some(live) = renewed? {
                return Ok(live);
            }
        }
        Err(replaced(&self.slot.id))
    }

    /// Uses what is stored or asks for more; `None` if others get in the way again and again, or the
    /// lease is not ours any more. In a store of one process, the flight is all the coordination
    /// there is.
    async fn renew(
        &mut self,
        holding: Option<&Holding<'_>>,
    ) -> Result<Option<Arc<LiveToken>>, ManagerError> {
        let lease = holding.map(Holding::get);
        for _ in 0..OTHERS_MEANWHILE {
            loop {
                let held = recover::bring_home(self.slot, lease).await?;
                if let Some(live) = held.usable(self.slot, self.want) {
                    return Ok(Some(self.adopt(live, held.token())));
                }
                recover::may_replace(self.slot, &held)?;
                self.serve_meanwhile(&held);
                match ask::ask(self, &held, lease).await? {
                    Answer::Issued(issued) => {
                        if let Some(live) = self.keep(held, *issued, lease).await? {
                            return Ok(Some(live));
                        }
                        break;
                    }
                    Answer::AskAgain => {}
                    Answer::Changed => break,
                }
                // Whoever has it now may be asking too.
                if !still_ours(holding).await {
                    return Ok(None);
                }
            }
            debug!("another one took the token's place, or changed what is known of it");
            if !still_ours(holding).await {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Publishes what somebody else has stored.
    fn adopt(&self, live: LiveToken, stored: &OAuthToken) -> Arc<LiveToken> {
        debug!("another one has refreshed it");
        let known = self.slot.cached().is_some_and(|it| it.live.access_token == live.access_token);
        if !known && self.slot.cached().is_some() {
            self.slot.manager.emit(&self.slot.id, EventKind::Adopted);
        }
        self.slot.publish(live, Fingerprint::of_grant(stored), None)
    }

    /// Serves a stored token that is soon to expire to those who come while this refresh goes on.
    fn serve_meanwhile(&self, held: &Held) {
        if self.slot.cached().is_none()
            && let Some(live) = held.valid(self.slot, self.want)
        {
            self.slot.publish(live, Fingerprint::of_grant(held.token()), None);
        }
    }

    /// Publishes what was issued earlier and still cannot be stored.
    fn serve_unsaved(&self, held: &Held) -> Option<Arc<LiveToken>> {
        let unsaved = held.unsaved()?;
        let live = held.usable(self.slot, self.want)?;
        self.slot.memory.keep(unsaved.clone());
        recover::keep_saving(self.slot);
        Some(self.slot.publish(live, Fingerprint::of_grant(&unsaved.token), None))
    }

    /// Stores what was issued, and only then publishes it; `None` if another one took the token's
    /// place meanwhile.
    async fn keep(
        &mut self,
        held: Held,
        issued: Issued,
        lease: Option<&Lease>,
    ) -> Result<Option<Arc<LiveToken>>, ManagerError> {
        let slot = self.slot;
        let token = issued.token(slot, &held);
        let unsaved = Unsaved {
            expected: held.stored().clone(),
            token: token.clone(),
            issued_at: issued.at,
            spooled: held.is_spooled(),
        };
        let rotated = issued.reply.refresh_token.is_some();
        let unsaved = recover::remember(slot, unsaved, rotated).await;
        let saved = match save(&slot.manager, &unsaved, lease).await {
            Save::Failed(error) => {
                slot.manager.emit(&slot.id, EventKind::unsaved(&error));
                recover::remember(slot, unsaved, true).await;
                recover::keep_saving(slot);
                false
            }
            Save::Done(_) => {
                forget(slot, &unsaved).await;
                true
            }
            Save::Superseded(_) => {
                forget(slot, &unsaved).await;
                return Ok(None);
            }
            Save::Gone => {
                forget(slot, &unsaved).await;
                return Err(gone(slot));
            }
        };
        let mut state = held.into_state();
        note_refreshed(&mut state, &issued);
        if saved {
            note(slot, |state| note_refreshed(state, &issued)).await;
        }
        let held = Held::new(token.clone(), Some(state), None);
        let Some(mut live) = held.valid(slot, &Want::new(self.want.reason)) else {
            self.outlived += 1;
            if saved && !issued.reply.expires_in.is_zero() && self.outlived == 1 {
                // It was an old answer, or the clock was set: what is stored now gets a new one.
                return Ok(None);
            }
            return Err(ManagerError::new(
                ManagerErrorKind::Provider,
                format!("token {}: the provider issued a token that has expired", slot.id),
            )
            .with_hint("try again"));
        };
        (live.saved, live.ours) = (saved, true);
        let live = slot.publish(live, Fingerprint::of_grant(&token), None);
        let took = self.began.elapsed();
        let kind = EventKind::Refreshed { reason: self.want.reason, rotated, took };
        slot.manager.emit(&slot.id, kind);
        if issued.replayed {
            let from = crate::RecoveredFrom::Replay;
            slot.manager.emit(&slot.id, EventKind::Recovered { from });
        }
        Ok(Some(live))
    }

    /// What the outcome means for those who come next.
    fn conclude(
        &self,
        result: Result<Arc<LiveToken>, ManagerError>,
    ) -> Result<Arc<LiveToken>, ManagerError> {
        let now = self.slot.manager.now();
        let mut memory = self.slot.memory.contents();
        let Err(error) = result else {
            memory.pauses.succeeded();
            return result;
        };
        if self.want.can_wait() {
            memory.pauses.put_off(&error, now);
        } else if self.asked > 0 {
            memory.pauses.failed(&error, now);
        }
        drop(memory);
        if self.asked > 0 {
            let kind = EventKind::RefreshFailed { reason: self.want.reason, error: error.clone() };
            self.slot.manager.emit(&self.slot.id, kind);
        } else {
            debug!(kind = ?error.kind(), %error, "no live token, and nobody was asked");
        }
        Err(error)
    }
}

/// Whether the lease has not passed to another holder. While nobody can tell, the work goes on: an
/// answer may have been lost, and what is recorded and saved is compared.
async fn still_ours(holding: Option<&Holding<'_>>) -> bool {
    let Some(holding) = holding else { return true };
    holding.is_ours().await.unwrap_or_else(|error| {
        warn!(%error, "the lease could not be renewed");
        true
    })
}

/// The token is refreshed, and what was known of its failures is over.
fn note_refreshed(state: &mut TokenState, issued: &Issued) {
    state.refreshed_at = Some(issued.at);
    state.status = TokenStatus::Active;
    issued.clear(state);
    state.refused = None;
    state.throttled_until = None;
    state.throttled_at = None;
    if !issued.reply.scopes.is_empty() {
        state.scopes.clone_from(&issued.reply.scopes);
    }
}

/// Changes what is known of the token: in the store where that keeps it, so that what others have
/// written since stays; else in memory. It can be done without, so a failure is only logged.
pub(crate) async fn note(slot: &Slot, change: impl Fn(&mut TokenState) + Send) {
    match slot.manager.timed().shared() {
        Some(shared) => {
            if let Err(error) = update_state(shared, &slot.id, change).await {
                warn!(%error, "what is known of the token could not be written");
            }
        }
        None => change(slot.memory.contents().state.get_or_insert_default()),
    }
}

pub(crate) fn replaced(id: &TokenId) -> ManagerError {
    let what = format!("token {id}: others replaced it again and again meanwhile");
    StoreError::new(StoreErrorKind::Busy, what).with_hint("try again").into()
}

/// The store does not have the slot's token any more.
fn gone(slot: &Slot) -> ManagerError {
    slot.forget_any();
    ManagerError::no_token(format_args!("with id {} any more", slot.id))
}
