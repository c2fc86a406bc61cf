//! The lease of a token: taking it, waiting for it, keeping it while there is work.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{Lease, LeaseAttempt, SharedStore};
use tracing::{debug, warn};

use super::Look;
use crate::{LiveToken, ManagerError, ManagerErrorKind};

/// How often a waiter looks whether the holder is done.
const LOOK_FIRST: Duration = Duration::from_millis(10);
const LOOK_AT_MOST: Duration = Duration::from_millis(200);

pub(super) enum Leased<'a> {
    /// It is ours.
    Mine(Held<'a>),
    /// While we waited, its holder stored a token that can be used.
    NotNeeded(Arc<LiveToken>),
}

/// A lease that is held.
pub(super) struct Held<'a> {
    shared: &'a dyn SharedStore,
    ttl: Duration,
    lease: Lease,
}

/// Takes the lease of the slot's token, or waits until `look` finds a usable one.
pub(super) async fn take_lease<'a>(
    look: &Look<'_>,
    shared: &'a dyn SharedStore,
) -> Result<Leased<'a>, ManagerError> {
    let slot = look.slot;
    let settings = &slot.manager.0.settings;
    let give_up = tokio::time::Instant::now() + settings.deadline;
    let mut pause = LOOK_FIRST;
    loop {
        match shared.try_lease(&slot.id, &slot.manager.0.holder, settings.lease).await? {
            LeaseAttempt::Granted(taken) => {
                debug!(generation = taken.generation, "took the lease");
                return Ok(Leased::Mine(Held { shared, ttl: settings.lease, lease: taken }));
            }
            LeaseAttempt::Held { until } => {
                debug!(?until, "another one refreshes it; waiting");
            }
            LeaseAttempt::NoToken | _ => {
                return Err(ManagerError::no_token(format_args!("with id {} any more", slot.id)));
            }
        }
        if tokio::time::Instant::now() >= give_up {
            return Err(ManagerError::new(
                ManagerErrorKind::Timeout,
                format!("token {}: another process has been refreshing it for too long", slot.id),
            )
            .with_hint("try again"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AT_MOST);
        if let Some(live) = look.usable().await? {
            return Ok(Leased::NotNeeded(live));
        }
    }
}

impl Held<'_> {
    /// The lease as it was taken: its holder and generation are the fence, and do not change.
    pub(super) fn get(&self) -> &Lease {
        &self.lease
    }

    /// Does `work`, renewing the lease so that it does not end in the middle.
    pub(super) async fn keep_while<T>(&self, work: impl Future<Output = T>) -> T {
        let renew = async {
            loop {
                tokio::time::sleep(self.ttl / 3).await;
                match self.shared.renew_lease(&self.lease, self.ttl).await {
                    Ok(Some(_)) => {}
                    Ok(None) => {
                        // The fence keeps us from overwriting what the new holder stores.
                        warn!("the lease has passed to another holder");
                        std::future::pending::<()>().await;
                    }
                    Err(error) => warn!(%error, "the lease could not be renewed"),
                }
            }
        };
        tokio::select! {
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
