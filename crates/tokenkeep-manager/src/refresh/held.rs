//! What there is of a token: the stored record, what is known of it, and what was issued after it
//! and is not stored yet.

use tokenkeep_core::{Fingerprint, OAuthToken, StoreErrorKind, Timestamp, TokenState};
use tracing::warn;

use super::{forget, gone};
use crate::{
    LiveToken, ManagerError, Spooled,
    memory::Unsaved,
    place,
    slot::{Slot, Want},
};

/// The newest token there is.
pub(crate) struct Held {
    stored: OAuthToken,
    state: TokenState,
    /// Whether the store had a state.
    has_state: bool,
    unsaved: Option<Unsaved>,
    /// Why the spool could not be read, if it could not.
    unread: Option<ManagerError>,
}

const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);

impl Held {
    pub(super) fn new(
        stored: OAuthToken,
        state: Option<TokenState>,
        unsaved: Option<Unsaved>,
    ) -> Self {
        // What was issued to an earlier login is of no use to a newer one.
        let unsaved = unsaved.filter(|unsaved| unsaved.is_of(&stored));
        let has_state = state.is_some();
        Self { stored, state: state.unwrap_or_default(), has_state, unsaved, unread: None }
    }

    /// What the store and this manager's memory have.
    ///
    /// # Errors
    ///
    /// `NoToken` if the token was deleted, or its id belongs to another one's by now.
    pub(crate) async fn read(slot: &Slot) -> Result<Self, ManagerError> {
        let store = slot.manager.timed();
        let stored = store.find_token_by_id(&slot.id).await?;
        let Some(stored) = stored.filter(|stored| slot.memory.is_of(stored)) else {
            return Err(gone(slot));
        };
        let state = match store.shared() {
            Some(shared) => match shared.state(&slot.id).await {
                Err(error) if error.kind() == StoreErrorKind::Corrupt => {
                    warn!(%error, "it is written anew");
                    None
                }
                state => state?,
            },
            None => Some(slot.memory.contents().state.as_deref().cloned().unwrap_or_default()),
        };
        Ok(Self::new(stored, state, slot.memory.unsaved()))
    }

    /// What the store, this manager's memory and the spool have. If the spool cannot be read,
    /// [`is_all`](Self::is_all) tells.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub(crate) async fn gather(slot: &Slot) -> Result<Self, ManagerError> {
        let mut held = Self::read(slot).await?;
        let settings = &slot.manager.0.settings;
        if held.unsaved.is_none()
            && let Some(spool) = &settings.spool
            && let Some(grant) = Fingerprint::of_grant(&held.stored)
        {
            let spooled = spool.get(&slot.id, &grant).await.unwrap_or_else(|error| {
                warn!(%error, "the spool cannot be read");
                held.unread = Some(error.into());
                None
            });
            let spooled = spooled.map(|Spooled { token, issued_at, .. }| {
                let expected = token.clone();
                let left = Unsaved { expected, token, issued_at, spooled: true };
                // The grant tells that it is of this login; the rest is as it is by now.
                let token = left.over(&held.stored);
                Unsaved { expected: held.stored.clone(), token, ..left }
            });
            match spooled {
                // Left there although it was stored, and others have refreshed since.
                Some(old) if old.is_older_than(&held.stored) => forget(slot, &old).await,
                spooled => held.unsaved = spooled,
            }
        }
        Ok(held)
    }

    /// Whether this is all that there is, so that its refresh token can be sent.
    ///
    /// # Errors
    ///
    /// `Store` if a newer one may be in the spool, which cannot be read, and the provider ends a
    /// grant whose refresh token is used again.
    pub(crate) fn is_all(&self, slot: &Slot) -> Result<(), ManagerError> {
        match &self.unread {
            Some(error) if slot.manager.0.settings.rules.replay.rotates() => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn stored(&self) -> &OAuthToken {
        &self.stored
    }

    /// The newest.
    pub(crate) fn token(&self) -> &OAuthToken {
        self.unsaved.as_ref().map_or(&self.stored, |unsaved| &unsaved.token)
    }

    pub(crate) fn state(&self) -> &TokenState {
        &self.state
    }

    pub(super) fn into_state(self) -> TokenState {
        self.state
    }

    /// What a compare-and-swap of the state expects.
    pub(super) fn stored_state(&self) -> Option<&TokenState> {
        self.has_state.then_some(&self.state)
    }

    pub(crate) fn unsaved(&self) -> Option<&Unsaved> {
        self.unsaved.as_ref()
    }

    pub(crate) fn has_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    pub(super) fn is_spooled(&self) -> bool {
        self.unsaved.as_ref().is_some_and(|unsaved| unsaved.spooled)
    }

    /// The newest token as a live one, if it is what is wanted and need not be renewed yet.
    pub(crate) fn usable(&self, slot: &Slot, want: &Want) -> Option<LiveToken> {
        let now = slot.manager.now();
        self.valid(slot, want).filter(|live| now < live.renew_at)
    }

    /// The newest token as a live one, if it is what is wanted and the provider still takes it.
    pub(super) fn valid(&self, slot: &Slot, want: &Want) -> Option<LiveToken> {
        let token = self.token();
        let access_token = token.access_token()?;
        if want.rejected.as_ref() == Some(access_token) {
            return None;
        }
        let issued_at =
            self.unsaved.as_ref().map_or(self.state.refreshed_at, |it| Some(it.issued_at));
        let renewable = token.refresh_token().is_some();
        let (expires_at, renew_at) = match token.expiry_time() {
            Some(expiry) if renewable => (expiry, slot.freshness.renew_at(expiry, issued_at)),
            Some(expiry) => (expiry, expiry),
            // Nothing is known of its end and nothing can renew it: the API will tell.
            None if !renewable => (END_OF_TIME, END_OF_TIME),
            None => return None,
        };
        let wanted = want.beyond.is_none_or(|beyond| beyond < expires_at);
        (wanted && slot.manager.now() < expires_at).then(|| LiveToken {
            id: slot.id.clone(),
            access_token: access_token.clone(),
            api_domain: place::api_domain(&slot.manager.0.settings, token, Some(&self.state)),
            issued_at,
            expires_at,
            renew_at,
            saved: self.unsaved.is_none(),
            ours: false,
        })
    }
}
