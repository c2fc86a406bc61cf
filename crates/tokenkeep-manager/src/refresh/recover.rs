//! What was issued and could not be stored: kept in memory and in the spool, used meanwhile, and
//! stored as soon as the store takes it.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{Fingerprint, Lease, Outcome, StoreError, StoreErrorKind, TokenStatus};
use tracing::{debug, info, warn};

use super::{Held, Save, note, save};
use crate::{
    EventKind, ManagerError, RecoveredFrom, RefreshReason, Spooled, TokenManager,
    memory::Unsaved,
    metrics,
    slot::{Slot, Want},
};

/// The first pause before a token is tried to be stored again; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Keeps `unsaved` in memory and, if `spool`, in the spool where there is one. Says what is kept.
pub(super) async fn remember(slot: &Slot, mut unsaved: Unsaved, spool: bool) -> Unsaved {
    // First where nothing can fail.
    slot.memory.keep(unsaved.clone());
    let Some(into) = slot.manager.0.settings.spool.as_ref().filter(|_| spool) else {
        return unsaved;
    };
    let Some(grant) = unsaved.grant() else { return unsaved };
    let entry = Spooled::new(slot.id.clone(), grant, unsaved.token.clone(), unsaved.issued_at);
    match into.put(&entry).await {
        Ok(()) => {
            unsaved.spooled = true;
            slot.memory.keep(unsaved.clone());
        }
        Err(error) => {
            warn!(%error, "the new token could not be put into the spool");
            // It may be there all the same, and is removed when it is stored.
            unsaved.spooled |= error.outcome() == Outcome::Unknown;
            slot.memory.keep(unsaved.clone());
        }
    }
    unsaved
}

/// Forgets `unsaved`: it is stored, or of no use any more.
pub(crate) async fn forget(slot: &Slot, unsaved: &Unsaved) {
    slot.memory.forget_unsaved();
    if unsaved.spooled
        && let (Some(spool), Some(grant)) = (&slot.manager.0.settings.spool, unsaved.grant())
        && let Err(error) = spool.remove(&slot.id, &grant).await
    {
        // What is stored does not match it any more, so it is of no use to anyone.
        warn!(%error, "what is stored by now is still in the spool");
    }
}

/// Stores what an earlier refresh, of this process or of one that has died, could not, and reads
/// what there is then. What still cannot be stored is in the answer.
pub(super) async fn bring_home(
    slot: &Arc<Slot>,
    lease: Option<&Lease>,
) -> Result<Held, ManagerError> {
    let in_memory = slot.memory.unsaved();
    let held = Held::gather(slot).await?;
    let Some(unsaved) = held.unsaved().cloned() else {
        if let Some(obsolete) = in_memory {
            info!("another login took the place of the token that could not be stored");
            forget(slot, &obsolete).await;
        }
        return Ok(held);
    };
    let from = if in_memory.is_some() { RecoveredFrom::Memory } else { RecoveredFrom::Spool };
    if store(slot, &unsaved, lease, from).await {
        return Held::read(slot).await;
    }
    slot.memory.keep(unsaved);
    keep_saving(slot);
    Ok(held)
}

/// Whether what is held may be renewed.
///
/// # Errors
///
/// `Store` if a refresh token that took the place of the stored one still cannot be stored. It is
/// not replaced once more before it is: the store would be two behind, and whoever goes by it
/// could not come back.
pub(super) fn may_replace(slot: &Slot, held: &Held) -> Result<(), ManagerError> {
    if held.unsaved().is_some_and(Unsaved::rotates) {
        let what = format!("token {}: the one that was issued last is not stored yet", slot.id);
        return Err(StoreError::new(StoreErrorKind::Unavailable, what)
            .with_hint("mend the store; what was issued is kept, and stored as soon as it can be")
            .into());
    }
    Ok(())
}

/// Stores `unsaved`; `false` if it still cannot be stored.
async fn store(
    slot: &Arc<Slot>,
    unsaved: &Unsaved,
    lease: Option<&Lease>,
    from: RecoveredFrom,
) -> bool {
    match save(&slot.manager, unsaved, lease).await {
        Save::Failed(error) => {
            warn!(%error, "the token still cannot be stored");
            return false;
        }
        Save::Superseded(_) | Save::Gone => info!("another login took the token's place"),
        Save::Done(stored) => {
            let (grant, issued_at) = (unsaved.grant(), unsaved.issued_at);
            note(slot, |state| {
                if state.in_flight.as_ref().is_some_and(|it| Some(&it.grant) == grant.as_ref()) {
                    state.in_flight = None;
                }
                if state.refused.as_ref().is_some_and(|it| Some(&it.grant) == grant.as_ref()) {
                    state.refused = None;
                    state.status = TokenStatus::Active;
                }
                state.refreshed_at = state.refreshed_at.max(Some(issued_at));
            })
            .await;
            forget(slot, unsaved).await;
            // Those who ask for it are told that it is saved.
            if let Ok(held) = Held::read(slot).await
                && let Some(live) = held.usable(slot, &Want::new(RefreshReason::Expired))
            {
                slot.publish(live, Fingerprint::of_grant(&stored), None);
            }
            slot.manager.emit(&slot.id, EventKind::Recovered { from });
            return true;
        }
    }
    forget(slot, unsaved).await;
    true
}

/// Goes on trying to store what could not be stored, in a task of its own, until it is.
pub(super) fn keep_saving(slot: &Arc<Slot>) {
    let saving = Arc::clone(slot);
    // It goes on although nobody waits.
    drop(slot.memory.saver.join(
        move || async move {
            let mut pause = PAUSE;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let _working = saving.memory.work.lock().await;
                let Some(unsaved) = saving.memory.unsaved() else { break };
                metrics::save_retried();
                if store(&saving, &unsaved, None, RecoveredFrom::Memory).await {
                    break;
                }
            }
        },
        |_ended| (),
    ));
}

/// What became of the tokens in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Stored now.
    pub stored: u64,
    /// Still in the spool, because the store does not take them now.
    pub waiting: u64,
    /// In the spool, and of no token that this store has: of another store, or of one whose user
    /// has logged in since.
    pub foreign: u64,
    /// What of the spool cannot be read, for a person.
    pub damage: Vec<String>,
}

/// Stores what is in the spool.
pub(crate) async fn recover(manager: TokenManager) -> Result<Recovery, ManagerError> {
    let mut recovery = Recovery::default();
    let Some(spool) = &manager.0.settings.spool else { return Ok(recovery) };
    let listing = spool.list().await?;
    recovery.damage = listing.damage;
    for (id, grant) in listing.entries {
        let stored = manager.timed().find_token_by_id(&id).await?;
        let Some(stored) = stored.filter(|it| Fingerprint::of_grant(it).as_ref() == Some(&grant))
        else {
            debug!(token = %id, "what is in the spool is of no token in this store");
            recovery.foreign += 1;
            continue;
        };
        let slot = manager.slot(&id, &stored);
        let _working = slot.memory.work.lock().await;
        let held = bring_home(&slot, None).await?;
        held.is_all(&slot)?;
        if held.has_unsaved() {
            recovery.waiting += 1;
        } else {
            recovery.stored += 1;
        }
    }
    Ok(recovery)
}
