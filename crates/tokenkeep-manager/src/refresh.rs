//! How a token is refreshed: lease, read again, exchange, save, publish.

mod lease;
mod save;

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{
    AccessToken, ClientCredentials, Lease, OAuthToken, SharedStore, Timestamp, TokenState,
    TokenStatus,
};
use tokenkeep_oauth::{CodeExchange, OAuthError, OAuthErrorKind, TokenReply};
use tracing::{Instrument, debug, info, info_span, warn};

use self::lease::{Leased, take_lease};
pub(crate) use self::save::{Save, save};
use crate::{
    LiveToken, ManagerError, ManagerErrorKind, live, place,
    slot::{Slot, Unsaved},
};

/// How soon a token that could not be saved is tried to be saved again, at the earliest.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How soon an early refresh that failed is tried again, at the earliest.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Gets a live token for `slot` and publishes it: one that somebody else has stored, or a new one.
///
/// Runs in a task of its own, so everything in here is done to its end or until the process dies.
pub(crate) async fn run(
    slot: &Slot,
    rejected: Option<&AccessToken>,
) -> Result<Arc<LiveToken>, ManagerError> {
    let span = info_span!("refresh", token = %slot.id);
    async {
        let result = match slot.manager.store().shared() {
            Some(shared) => with_lease(slot, shared, rejected).await,
            None => alone(slot, rejected).await,
        };
        if let Err(error) = &result {
            warn!(kind = ?error.kind(), %error, "no live token");
            put_off_early_refresh(slot, error);
        }
        result
    }
    .instrument(span)
    .await
}

/// A store of one process: the flight is all the coordination there is.
async fn alone(
    slot: &Slot,
    rejected: Option<&AccessToken>,
) -> Result<Arc<LiveToken>, ManagerError> {
    let unsaved = save_what_is_left(slot, None).await;
    let held = Held::new(read(slot).await?, None, unsaved);
    match held.usable(slot, rejected) {
        Some(live) => Ok(slot.publish(live)),
        None => exchange_and_save(slot, held, None).await,
    }
}

/// A shared store: whoever has the lease refreshes, the others wait and use what it stored.
async fn with_lease(
    slot: &Slot,
    shared: &dyn SharedStore,
    rejected: Option<&AccessToken>,
) -> Result<Arc<LiveToken>, ManagerError> {
    let look = Look { slot, shared, rejected };
    // Somebody may have refreshed since: that takes no lease to see.
    if slot.memory().unsaved.is_none()
        && let Some(live) = look.usable().await?
    {
        debug!("another one has refreshed it");
        return Ok(slot.publish(live));
    }
    let lease = match take_lease(&look).await? {
        Leased::Mine(lease) => lease,
        Leased::NotNeeded(live) => {
            debug!("another one has refreshed it meanwhile");
            return Ok(slot.publish(live));
        }
    };
    let result = lease
        .keep_while(async {
            let unsaved = save_what_is_left(slot, Some(lease.get())).await;
            // Only what is read under the lease counts.
            let (stored, state) = look.stored().await?;
            let held = Held::new(stored, state, unsaved);
            match held.usable(slot, rejected) {
                Some(live) => Ok(slot.publish(live)),
                None => exchange_and_save(slot, held, Some(lease.get())).await,
            }
        })
        .await;
    lease.release().await;
    result
}

/// A look at what others have stored.
struct Look<'a> {
    slot: &'a Slot,
    shared: &'a dyn SharedStore,
    rejected: Option<&'a AccessToken>,
}

impl Look<'_> {
    async fn stored(&self) -> Result<(OAuthToken, Option<TokenState>), ManagerError> {
        Ok((read(self.slot).await?, self.shared.state(&self.slot.id).await?))
    }

    async fn usable(&self) -> Result<Option<Arc<LiveToken>>, ManagerError> {
        let (stored, state) = self.stored().await?;
        Ok(Held::new(stored, state, None).usable(self.slot, self.rejected))
    }
}

/// The token as it is stored now.
async fn read(slot: &Slot) -> Result<OAuthToken, ManagerError> {
    slot.manager.store().find_token_by_id(&slot.id).await?.ok_or_else(|| {
        slot.forget_any();
        ManagerError::no_token(format_args!("with id {} any more", slot.id))
    })
}

/// The newest token there is: the stored one, or one that was issued after it and could not be
/// stored yet.
struct Held {
    stored: OAuthToken,
    unsaved: Option<OAuthToken>,
    state: TokenState,
}

impl Held {
    fn new(stored: OAuthToken, state: Option<TokenState>, unsaved: Option<Unsaved>) -> Self {
        let unsaved = unsaved.map(|unsaved| unsaved.token);
        Self { stored, unsaved, state: state.unwrap_or_default() }
    }

    fn token(&self) -> &OAuthToken {
        self.unsaved.as_ref().unwrap_or(&self.stored)
    }

    /// The token as a live one, if it can be used as it is.
    fn usable(&self, slot: &Slot, rejected: Option<&AccessToken>) -> Option<Arc<LiveToken>> {
        let token = self.token();
        let access_token = token.access_token()?;
        if rejected == Some(access_token) {
            return None;
        }
        let settings = &slot.manager.0.settings;
        let now = slot.manager.now();
        let renewable = token.refresh_token().is_some();
        let (expires_at, renew_at) = match token.expiry_time() {
            Some(expiry) if renewable => {
                (expiry, live::renew_at(expiry, self.state.refreshed_at, settings.margin))
            }
            Some(expiry) => (expiry, expiry),
            // Nothing is known of its end and nothing can renew it: the API will tell.
            None if !renewable => (END_OF_TIME, END_OF_TIME),
            None => return None,
        };
        let saved = self.unsaved.is_none();
        (now < renew_at).then(|| {
            Arc::new(LiveToken {
                id: slot.id.clone(),
                access_token: access_token.clone(),
                api_domain: place::api_domain(settings, token, Some(&self.state)),
                expires_at,
                renew_at: if saved { renew_at } else { renew_at.min(now.plus(SAVE_AGAIN_AFTER)) },
                saved,
            })
        })
    }
}

const END_OF_TIME: Timestamp = Timestamp::from_millis(i64::MAX);

/// Asks the provider, stores what it answers, and only then publishes it.
async fn exchange_and_save(
    slot: &Slot,
    held: Held,
    lease: Option<&Lease>,
) -> Result<Arc<LiveToken>, ManagerError> {
    let manager = &slot.manager;
    let reply = exchange(slot, held.token(), &held.state).await?;
    let now = manager.now();
    let token = issued(slot, held.token(), &reply, now.plus(reply.expires_in))?;
    let mut state = held.state;

    let unsaved = Unsaved { expected: held.stored, token: token.clone() };
    slot.memory().unsaved = Some(unsaved.clone());
    let outcome = save(manager, &unsaved, lease).await;
    let saved = match outcome {
        Save::Done(_) => {
            slot.memory().unsaved = None;
            true
        }
        Save::Superseded(winner) => {
            slot.memory().unsaved = None;
            info!("another login took the token's place; that one is used");
            let live = Held::new(winner, None, None).usable(slot, None);
            return live.map(|live| slot.publish(live)).ok_or_else(|| replaced(slot));
        }
        Save::Gone => {
            slot.memory().unsaved = None;
            slot.forget_any();
            return Err(ManagerError::no_token(format_args!("with id {} any more", slot.id)));
        }
        Save::Failed(error) => {
            warn!(%error, "the new token could not be stored; it is kept, used, and stored later");
            false
        }
    };
    info!(saved, rotated = reply.refresh_token.is_some(), "refreshed");

    state.refreshed_at = Some(now);
    state.status = TokenStatus::Active;
    state.throttled_until = None;
    if !reply.scopes.is_empty() {
        state.scopes.clone_from(&reply.scopes);
    }
    if saved {
        write_state(slot, &state).await;
    }
    let unsaved = (!saved).then(|| token.clone());
    let live = Held { stored: token, unsaved, state }.usable(slot, None);
    live.map(|live| slot.publish(live)).ok_or_else(|| {
        ManagerError::new(
            ManagerErrorKind::Provider,
            format!("token {}: the provider issued a token that has expired", slot.id),
        )
    })
}

/// What is stored after this reply: fields that it lacks, the refresh token above all, stay.
fn issued(
    slot: &Slot,
    stored: &OAuthToken,
    reply: &TokenReply,
    expires_at: Timestamp,
) -> Result<OAuthToken, ManagerError> {
    let mut token = stored.clone().with_access_token(reply.access_token.clone(), expires_at);
    if let Some(refresh_token) = &reply.refresh_token {
        token = token.with_refresh_token(refresh_token.clone());
    }
    if token.api_domain().is_none() {
        let settings = &slot.manager.0.settings;
        let domain = match &reply.api_domain {
            Some(domain) if settings.environment.is_none() => domain.clone(),
            Some(_) | None => place::api_domain(settings, &token, None),
        };
        token = token.with_api_domain(domain)?;
    }
    Ok(token)
}

/// One request to the accounts server, and what its refusal means for the next caller.
async fn exchange(
    slot: &Slot,
    stored: &OAuthToken,
    state: &TokenState,
) -> Result<TokenReply, ManagerError> {
    let manager = &slot.manager;
    if let Some(until) = state.throttled_until
        && manager.now() < until
    {
        return Err(ManagerError::throttled(&slot.id, until));
    }
    let server = place::accounts_server(&manager.0.settings, stored, Some(state))?;
    let Some(refresh_token) = stored.refresh_token() else {
        return match (stored.grant_token(), client(slot, stored)) {
            (Some(code), Ok(client)) => {
                let request = CodeExchange {
                    client: &client,
                    code,
                    redirect_url: stored.redirect_url(),
                    pkce: None,
                };
                Ok(manager.0.oauth.exchange_code(&server, &request).await?)
            }
            (Some(_), Err(error)) => Err(error),
            (None, _) => {
                slot.forget_any();
                Err(ManagerError::needs_login(&slot.id, "it has nothing that could renew it"))
            }
        };
    };
    if slot.memory().refused.as_ref() == Some(refresh_token) {
        return Err(ManagerError::needs_login(&slot.id, "its refresh token was refused before"));
    }
    let client = client(slot, stored)?;
    debug!(%server, "asking the accounts server");
    match manager.0.oauth.refresh(&server, &client, refresh_token).await {
        Ok(reply) => Ok(reply),
        Err(error) => Err(refused(slot, stored, state.clone(), error).await),
    }
}

/// Remembers what the provider's refusal means, for this process and in the store.
async fn refused(
    slot: &Slot,
    stored: &OAuthToken,
    mut state: TokenState,
    error: OAuthError,
) -> ManagerError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else is worth remembering")]
    match error.kind() {
        OAuthErrorKind::NeedsLogin => {
            // Somebody may have logged in or refreshed with rotation in between.
            let now_stored = slot.manager.store().find_token_by_id(&slot.id).await;
            if matches!(&now_stored, Ok(Some(token)) if token.refresh_token() != stored.refresh_token())
            {
                return replaced(slot);
            }
            slot.memory().refused = stored.refresh_token().cloned();
            slot.forget_any();
            state.status = TokenStatus::NeedsLogin;
            write_state(slot, &state).await;
            error.into()
        }
        OAuthErrorKind::Throttled => {
            let until = slot
                .manager
                .now()
                .plus(error.retry_after().unwrap_or(Duration::from_secs(10 * 60)));
            state.throttled_until = Some(until);
            write_state(slot, &state).await;
            ManagerError::throttled(&slot.id, until)
        }
        _ => error.into(),
    }
}

fn replaced(slot: &Slot) -> ManagerError {
    ManagerError::new(
        ManagerErrorKind::Store,
        format!("token {}: it was replaced while it was refreshed", slot.id),
    )
    .with_hint("try again")
}

fn client(slot: &Slot, stored: &OAuthToken) -> Result<ClientCredentials, ManagerError> {
    stored.client().ok_or_else(|| {
        ManagerError::new(
            ManagerErrorKind::Invalid,
            format!("token {}: its client id or client secret is not stored", slot.id),
        )
        .with_hint("save the token with both")
    })
}

/// Stores what an earlier refresh could not. What still cannot be stored is given back.
async fn save_what_is_left(slot: &Slot, lease: Option<&Lease>) -> Option<Unsaved> {
    let unsaved = slot.memory().unsaved.clone()?;
    match save(&slot.manager, &unsaved, lease).await {
        Save::Done(_) => info!("stored the token that an earlier refresh could not store"),
        Save::Superseded(_) | Save::Gone => info!("another login took the token's place"),
        Save::Failed(error) => {
            warn!(%error, "the token still cannot be stored");
            return Some(unsaved);
        }
    }
    slot.memory().unsaved = None;
    None
}

/// Writes state, where the store has any. It can be done without, so a failure is only logged.
pub(crate) async fn write_state(slot: &Slot, state: &TokenState) {
    if let Some(shared) = slot.manager.store().shared()
        && let Err(error) = shared.write_state(&slot.id, state).await
    {
        warn!(%error, "what is known of the token could not be written");
    }
}

/// After a refresh that came early and failed: serve the old token and do not ask again at once.
fn put_off_early_refresh(slot: &Slot, error: &ManagerError) {
    if !error.is_transient() {
        return;
    }
    if let Some(valid) = slot.valid() {
        let later = slot.manager.now().plus(REFRESH_AGAIN_AFTER).min(valid.expires_at);
        slot.publish(Arc::new(LiveToken { renew_at: later, ..(*valid).clone() }));
    }
}
