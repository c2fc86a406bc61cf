//! A look at what others have stored, so that a token which another process has replaced or
//! revoked is not served here for long.
//!
//! The store's [mark](tokenkeep_core::SharedStore::change_mark) tells whether anything was changed
//! at all; only then is the token read. Both are asked for when a token is served, so nothing runs
//! in the background, and what is not used costs nothing.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{ChangeMark, Fingerprint, Timestamp};
use tokio::sync::Mutex;
use tracing::{debug, warn};

use crate::{
    LiveToken, ManagerError, RefreshReason, TokenManager,
    refresh::Held,
    slot::{Cached, Slot, Want},
    timed::within,
};

/// A token with so little time left is not handed out while a refresh is under way: a call made
/// with it might arrive too late.
const LAST_CALL: Duration = Duration::from_secs(2);

/// For how long a token is served without a look at the clock that nobody sets, in a store that
/// cannot say what has changed.
const WITHOUT_A_STORE: Duration = Duration::from_secs(1);

/// The mark of a manager's store, for all its tokens.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Option<(Option<ChangeMark>, Timestamp)>>);

impl TokenManager {
    /// How long a token is served without another look: half the bound, because the mark it is
    /// compared with may be as old again.
    pub(crate) fn look_after(&self) -> Duration {
        self.0.store.shared().map_or(WITHOUT_A_STORE, |_| self.0.settings.coherence / 2)
    }

    /// The store's mark, not older than that. One caller asks for it, the others wait.
    async fn mark(&self) -> Option<ChangeMark> {
        let shared = self.timed().shared()?;
        let mut last = self.0.marks.0.lock().await;
        let now = self.now();
        let half = self.0.settings.coherence / 2;
        if let Some((mark, at)) = *last
            && at <= now
            && at.until(now) < half
        {
            return mark;
        }
        match shared.change_mark().await {
            Ok(mark) => {
                *last = Some((Some(mark), now));
                Some(mark)
            }
            Err(error) => {
                warn!(%error, "what others have stored cannot be seen; what is known is served");
                // Those who waited for this need not wait for the same again, one after another.
                *last = Some((None, self.now()));
                None
            }
        }
    }
}

/// A token that can be used now: the one in memory, if it still is the stored one; else a new one.
pub(crate) async fn ask(slot: &Arc<Slot>) -> Result<Arc<LiveToken>, ManagerError> {
    slot.touch();
    let mut want = Want::new(RefreshReason::Expired);
    if let Some(cached) = slot.cached() {
        if cached.is_valid(slot.manager.now()) {
            if let Some(live) = serve(slot, cached).await? {
                return Ok(live);
            }
        } else if slot.manager.now() < cached.live.expires_at {
            // The clock was set back: it has ended, although it does not look like it.
            want.rejected = Some(cached.live.access_token.clone());
        }
    }
    match slot.wait(want).await {
        // It came too early to matter: what is in memory still works.
        Err(error) => slot.valid().ok_or(error),
        renewed => renewed,
    }
}

/// The token in memory if it can be served; `None` if a refresh has to be waited for.
async fn serve(
    slot: &Arc<Slot>,
    cached: Arc<Cached>,
) -> Result<Option<Arc<LiveToken>>, ManagerError> {
    let looking = look(slot, Arc::clone(&cached));
    let looked = match within(slot.manager.0.settings.deadline, looking).await {
        Some(looked) => looked?,
        None => {
            warn!("the store does not say in time what is stored; what is known is served");
            Some(cached)
        }
    };
    let Some(cached) = looked else { return Ok(None) };
    let now = slot.manager.now();
    let left = cached.left(now);
    if !cached.is_due(now) {
        slot.serve(&cached, now);
    } else if left > LAST_CALL {
        refresh_ahead(slot);
        cached.serve(now, now.plus(slot.manager.look_after().min(left - LAST_CALL)));
    } else {
        return Ok(None);
    }
    Ok(Some(Arc::clone(&cached.live)))
}

/// Renews the token while the present one is served, unless that has just failed.
fn refresh_ahead(slot: &Arc<Slot>) {
    let too_soon = slot.memory.contents().pauses.is_put_off(slot.manager.now());
    if !too_soon && !slot.is_refreshing() {
        debug!(token = %slot.id, "renewing it before its end");
        // It goes on although nobody waits.
        drop(slot.flight(Want::new(RefreshReason::Ahead)));
    }
}

/// Compares `cached` with what is stored: what to serve instead, itself as a rule; `None` if a
/// refresh has to find out.
async fn look(slot: &Arc<Slot>, cached: Arc<Cached>) -> Result<Option<Arc<Cached>>, ManagerError> {
    let manager = &slot.manager;
    // Read before the token: what is changed after this is seen the next time.
    let Some(mark) = manager.mark().await else { return Ok(Some(cached)) };
    if cached.mark == Some(mark) {
        return Ok(Some(cached));
    }
    let held = match Held::read(slot).await {
        Ok(held) => held,
        Err(error) if error.store_error().is_some() => {
            warn!(%error, "what is stored cannot be read; what is known is served");
            return Ok(Some(cached));
        }
        Err(gone) => return Err(gone),
    };
    let live = &cached.live;
    let stored = held.stored();
    let grant = Fingerprint::of_grant(stored);
    // Of one grant, what expires later is newer; an SDK may have put an old one back.
    // Without a grant, nothing says that it is the same login.
    let same_grant = grant.is_some() && grant == cached.grant;
    let ours_is_newer = held.has_unsaved()
        || same_grant && stored.expiry_time().is_none_or(|end| end <= live.expires_at);
    if stored.access_token() == Some(&live.access_token) || ours_is_newer {
        return Ok(Some(slot.confirm(&cached, mark)));
    }
    slot.forget(&live.access_token);
    let Some(newer) = held.usable(slot, &Want::new(RefreshReason::Expired)) else {
        debug!(token = %slot.id, "another one has ended it");
        return Ok(None);
    };
    debug!(token = %slot.id, "another one has replaced it");
    slot.publish(newer, grant, Some(mark));
    Ok(slot.cached())
}
