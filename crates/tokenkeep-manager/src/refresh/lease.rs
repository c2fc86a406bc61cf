//! The lease of a token: taking it, waiting for it, keeping it while there is work.

use std::time::Duration;

use tokenkeep_core::{Lease, LeaseAttempt, OAuthToken, SharedStore};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Held, Run};
use crate::{EventKind, LiveToken, ManagerError, ManagerErrorKind, metrics, slot::Slot};

/// How often a waiter looks whether the holder is done.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_AT_MOST: Duration = Duration::from_millis(200);

pub(super) enum Leased<'a> {
    /// It is ours.
    Mine(Holding<'a>),
    /// While we waited, its holder stored a token that can be used: this one, in this record.
    NotNeeded(Box<(LiveToken, OAuthToken)>),
}

/// A lease that is held.
pub(super) struct Holding<'a> {
    shared: &'a dyn SharedStore,
    ttl: Duration,
    lease: Lease,
}

/// Takes the lease of the token, or waits until there is one that can be used.
pub(super) async fn take_lease<'a>(
    run: &Run<'_>,
    shared: &'a dyn SharedStore,
) -> Result<Leased<'a>, ManagerError> {
    let mut pause = LOOK_FIRST;
    let asked_at = Instant::now();
    let give_up = run.began + run.slot.manager.0.settings.deadline;
    loop {
        if let Some(holding) = try_lease(run.slot, shared).await? {
            metrics::waited_for_lease(asked_at.elapsed());
            return Ok(Leased::Mine(holding));
        }
        if Instant::now() >= give_up {
            return Err(held_too_long(run.slot));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AT_MOST);
        let held = Held::read(run.slot).await?;
        if let Some(live) = held.usable(run.slot, run.want) {
            return Ok(Leased::NotNeeded(Box::new((live, held.token().clone()))));
        }
    }
}

async fn try_lease<'a>(
    slot: &Slot,
    shared: &'a dyn SharedStore,
) -> Result<Option<Holding<'a>>, ManagerError> {
    let ttl = slot.manager.0.settings.lease;
    match shared.try_lease(&slot.id, &slot.manager.0.holder, ttl).await? {
        LeaseAttempt::Granted(lease) => {
            debug!(generation = lease.generation, "took the lease");
            Ok(Some(Holding { shared, ttl, lease }))
        }
        LeaseAttempt::Held { until } => {
            debug!(?until, "another one refreshes it; waiting");
            Ok(None)
        }
        LeaseAttempt::NoToken | _ => Err(super::gone(slot)),
    }
}

fn held_too_long(slot: &Slot) -> ManagerError {
    ManagerError::new(
        ManagerErrorKind::Timeout,
        format!("token {}: another process has been refreshing it for too long", slot.id),
    )
    .with_hint("try again")
}

impl Holding<'_> {
    /// The lease as it was taken: its holder and generation are the fence, and do not change.
    pub(super) fn get(&self) -> &Lease {
        &self.lease
    }

    /// Whether it has not passed to another holder; renews it on the way.
    pub(super) async fn is_ours(&self) -> Result<bool, ManagerError> {
        Ok(self.shared.renew_lease(&self.lease, self.ttl).await?.is_some())
    }

    /// Does `work`, renewing the lease so that it does not end in the middle.
    pub(super) async fn keep_while<T>(&self, slot: &Slot, work: impl Future<Output = T>) -> T {
        let renew = async {
            loop {
                tokio::time::sleep(self.ttl / 3).await;
                match self.shared.renew_lease(&self.lease, self.ttl).await {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        // The fence keeps us from overwriting what the new holder stores.
                        let generation = self.lease.generation;
                        slot.manager.emit(&slot.id, EventKind::LeaseLost { generation });
                        std::future::pending::<()>().await;
                    }
                    Err(error) => warn!(%error, "the lease could not be renewed"),
                }
            }
        };
        tokio::select! {
            // Not by chance, so that a test with a seed is the same each time.
            biased;
            result = work => result,
            () = renew => unreachable!("renewing never ends"),
        }
    }

    /// Gives it back. If that fails it ends by itself.
    pub(super) async fn release(&self) {
        if let Err(error) = self.shared.release_lease(&self.lease).await {
            warn!(%error, "the lease could not be released; it ends by itself");
        }
    }
}

/// Does `work` alone, as far as the store can see to that: with its lease, and with nobody else in
/// this process at work on the token.
///
/// # Errors
///
/// Those of taking the lease; `Timeout` if another process keeps it for too long.
pub(crate) async fn under_lease<T>(
    slot: &Slot,
    work: impl Future<Output = Result<T, ManagerError>>,
) -> Result<T, ManagerError> {
    let _working = slot.memory.work.lock().await;
    let Some(shared) = slot.manager.timed().shared() else { return work.await };
    let give_up = Instant::now() + slot.manager.0.settings.deadline;
    loop {
        if let Some(holding) = try_lease(slot, shared).await? {
            let result = holding.keep_while(slot, work).await;
            holding.release().await;
            return result;
        }
        if Instant::now() >= give_up {
            return Err(held_too_long(slot));
        }
        tokio::time::sleep(LOOK_AT_MOST).await;
    }
}
