//! What happens to the tokens of a manager, told to whoever wants to know.

mod stream;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    time::Duration,
};

use tokenkeep_core::{StoreError, StoreErrorKind, Timestamp, TokenId};
use tokio::sync::broadcast;
use tracing::{debug, error, info, warn};

pub use self::stream::{EventStream, Missed};
use crate::{ManagerError, metrics};

/// Something that happened to a token.
///
/// It holds no secret and no user's name. It is told to the
/// [callbacks](crate::TokenManagerBuilder::on_event), to the
/// [streams](crate::TokenManager::events), to the log (`tracing`) and to the
/// [metrics].
///
/// ```
/// use tokenkeep_core::ListStore;
/// use tokenkeep_manager::{EventKind, TokenManager};
///
/// let manager = TokenManager::builder(ListStore::new())
///     .on_event(|event| {
///         if matches!(event.kind, EventKind::NeedsLogin) {
///             eprintln!("the user of token {} has to log in again", event.token_id);
///         }
///     })
///     .build()?;
/// # Ok::<(), tokenkeep_manager::ManagerError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The token it happened to.
    pub token_id: TokenId,
    /// When, by the manager's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What can happen to a token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// This process has got a new access token from the provider.
    #[non_exhaustive]
    Refreshed {
        /// Why it was refreshed.
        reason: RefreshReason,
        /// Whether the provider gave a new refresh token too, in the place of the old one.
        rotated: bool,
        /// How long it took, from the first look to the last save.
        took: Duration,
    },
    /// Another process had refreshed it; that token is used.
    Adopted,
    /// The provider was asked, and there is no new token. The present one is used while it lasts.
    #[non_exhaustive]
    RefreshFailed {
        /// Why it was to be refreshed.
        reason: RefreshReason,
        /// Why it was not.
        error: ManagerError,
    },
    /// The provider refuses its grant: nothing but a login helps.
    NeedsLogin,
    /// A user has logged in.
    LoggedIn,
    /// It was revoked through this manager.
    Revoked,
    /// It was issued and could not be stored: it is kept, used, and stored later.
    #[non_exhaustive]
    Unsaved {
        /// What went wrong.
        kind: StoreErrorKind,
        /// What the store said, for a person.
        message: String,
    },
    /// What an earlier refresh had got, and had nearly lost, is stored now.
    #[non_exhaustive]
    Recovered {
        /// Where it was kept meanwhile.
        from: RecoveredFrom,
    },
    /// This process was too slow, and another one may refresh the token now. What this one still
    /// gets does not overwrite what the other one stores.
    #[non_exhaustive]
    LeaseLost {
        /// The generation of the lease that was lost.
        generation: u64,
    },
}

impl EventKind {
    pub(crate) fn unsaved(error: &StoreError) -> Self {
        Self::Unsaved { kind: error.kind(), message: error.to_string() }
    }
}

/// Why a token is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefreshReason {
    /// It had expired, and somebody asked for it.
    Expired,
    /// Its end is near: it is refreshed in the background, and served meanwhile.
    Ahead,
    /// The API had refused it.
    Rejected,
    /// Somebody wanted a new one.
    Asked,
    /// The keeper keeps it fresh, whether somebody asks for it or not.
    Kept,
}

impl RefreshReason {
    /// It as one word, as in the [metrics].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Ahead => "ahead",
            Self::Rejected => "rejected",
            Self::Asked => "asked",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for RefreshReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a token was that could not be stored when it was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveredFrom {
    /// In this process.
    Memory,
    /// In the spool, maybe of a process that is no more.
    Spool,
    /// Nowhere: its reply was lost, and the provider gave it once more for the same refresh token.
    Replay,
}

impl RecoveredFrom {
    /// It as one word, as in the [metrics].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Spool => "spool",
            Self::Replay => "replay",
        }
    }
}

impl fmt::Display for RecoveredFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

pub(crate) type Callback = Box<dyn Fn(&Event) + Send + Sync>;

/// Where a manager tells its events.
pub(crate) struct Events {
    callbacks: Box<[Callback]>,
    /// From the first reader on: it costs memory.
    readers: OnceLock<broadcast::Sender<Event>>,
}

impl Events {
    pub(crate) fn new(callbacks: Vec<Callback>) -> Self {
        Self { callbacks: callbacks.into(), readers: OnceLock::new() }
    }

    /// Tells everyone. A callback that panics keeps nobody else from hearing of it, nor the work
    /// from going on.
    pub(crate) fn emit(&self, event: &Event) {
        log(event);
        metrics::count(&event.kind);
        for callback in &self.callbacks {
            if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
                error!(token = %event.token_id, "a callback for events panicked");
            }
        }
        if let Some(readers) = self.readers.get() {
            // Nobody may be reading any more.
            drop(readers.send(event.clone()));
        }
    }

    /// Reads what is emitted from now on.
    pub(crate) fn subscribe(&self) -> EventStream {
        let new = || broadcast::Sender::new(EventStream::CAPACITY);
        EventStream::new(self.readers.get_or_init(new).subscribe())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("callbacks", &self.callbacks.len())
            .field("readers", &self.readers.get().map_or(0, broadcast::Sender::receiver_count))
            .finish()
    }
}

fn log(Event { token_id: token, at: _, kind }: &Event) {
    match kind {
        EventKind::Refreshed { reason, rotated, took } => {
            info!(%token, %reason, rotated, ?took, "refreshed");
        }
        EventKind::Adopted => debug!(%token, "another process had refreshed it"),
        EventKind::RefreshFailed { reason, error } => {
            warn!(%token, %reason, kind = ?error.kind(), %error, "not refreshed");
        }
        EventKind::NeedsLogin => warn!(%token, "the user must log in again"),
        EventKind::LoggedIn => info!(%token, "logged in"),
        EventKind::Revoked => info!(%token, "revoked"),
        EventKind::Unsaved { kind, message } => warn!(
            %token, ?kind, error = %message,
            "the new token could not be stored: it is kept, used, and stored later"
        ),
        EventKind::Recovered { from } => info!(%token, %from, "a token that was not stored is now"),
        EventKind::LeaseLost { generation } => {
            warn!(%token, generation, "another process may refresh it now: the lease was lost");
        }
    }
}

#[cfg(test)]
mod tests;
