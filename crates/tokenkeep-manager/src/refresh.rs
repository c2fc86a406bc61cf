//! How a token is refreshed: lease, read again, exchange, save, publish.

mod lease;
mod save;

use std::{sync::Arc, time::Duration};

use tokenkeep_core::{
    AccessToken, ClientCredentials, Lease, OAuthToken, SharedStore, StoreError, StoreErrorKind,
    Timestamp, TokenId, TokenState, TokenStatus,
};
use tokenkeep_oauth::{
    AccountsServer, CodeExchange, OAuthError, OAuthErrorKind, THROTTLE_WINDOW, TokenReply,
};
use tracing::{Instrument, debug, info, info_span, warn};

use self::lease::{Leased, take_lease};
pub(crate) use self::save::{Save, save};
use crate::{
    LiveToken, ManagerError, ManagerErrorKind, live, place,
    slot::{Refused, Slot, Unsaved, same_grant},
};

/// How soon a token that could not be saved is tried to be saved again, at the earliest.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How often the refresh begins again because another login took the token's place.
const LOGINS_MEANWHILE: u32 = 3;

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
        let look = Look { slot, rejected };
        let result = match slot.manager.store().shared() {
            Some(shared) => with_lease(&look, shared).await,
            None => renew(&look, None).await,
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

/// A shared store: whoever has the lease refreshes, the others wait and use what it stored.
async fn with_lease(
    look: &Look<'_>,
    shared: &dyn SharedStore,
) -> Result<Arc<LiveToken>, ManagerError> {
    let slot = look.slot;
    // Somebody may have refreshed since: that takes no lease to see.
    if slot.memory().unsaved.is_none()
        && let Some(live) = look.usable().await?
    {
        debug!("another one has refreshed it");
        return Ok(slot.publish(live));
    }
    let lease = match take_lease(look, shared).await? {
        Leased::Mine(lease) => lease,
        Leased::NotNeeded(live) => {
            debug!("another one has refreshed it meanwhile");
            return Ok(slot.publish(live));
        }
    };
    // Only what is read under the lease counts.
    let result = lease.keep_while(renew(look, Some(lease.get()))).await;
    lease.release().await;
    result
}

/// Uses what is stored or asks for more. In a store of one process, the flight is all the
/// coordination there is.
async fn renew(look: &Look<'_>, lease: Option<&Lease>) -> Result<Arc<LiveToken>, ManagerError> {
    let slot = look.slot;
    for _ in 0..LOGINS_MEANWHILE {
        let unsaved = save_what_is_left(slot, lease).await;
        let (stored, state) = look.stored().await?;
        let held = Held::new(stored, state, unsaved);
        if let Some(live) = held.usable(slot, look.rejected) {
            return Ok(slot.publish(live));
        }
        if let Some(live) = exchange_and_save(slot, held, lease).await? {
            return Ok(live);
        }
        info!("another login took the token's place; that one is used");
    }
    Err(replaced(&slot.id))
}

/// A look at what others have stored.
struct Look<'a> {
    slot: &'a Slot,
    rejected: Option<&'a AccessToken>,
}

impl Look<'_> {
    async fn stored(&self) -> Result<(OAuthToken, Option<TokenState>), ManagerError> {
        let stored = read(self.slot).await?;
        let state = match self.slot.manager.store().shared() {
            Some(shared) => shared.state(&self.slot.id).await?,
            None => None,
        };
        Ok((stored, state))
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
        // What was issued to an earlier login is of no use to a newer one.
        let unsaved = unsaved.filter(|unsaved| unsaved.is_of(&stored)).map(|unsaved| unsaved.token);
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

/// Asks the provider, stores what it answers, and only then publishes it; `None` if another login
/// took the token's place meanwhile.
async fn exchange_and_save(
    slot: &Slot,
    held: Held,
    lease: Option<&Lease>,
) -> Result<Option<Arc<LiveToken>>, ManagerError> {
    let manager = &slot.manager;
    let server = place::accounts_server(&manager.0.settings, held.token(), Some(&held.state))?;
    let Some(reply) = exchange(slot, &held, &server).await? else { return Ok(None) };
    let now = manager.now();
    let token = issued(slot, &held, &server, &reply, now.plus(reply.expires_in));

    let unsaved = Unsaved { expected: held.stored, token: token.clone() };
    slot.memory().unsaved = Some(unsaved.clone());
    let saved = match save(manager, &unsaved, lease).await {
        Save::Done(_) => {
            slot.memory().unsaved = None;
            true
        }
        Save::Superseded(_) => {
            slot.memory().unsaved = None;
            return Ok(None);
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

    let note = |state: &mut TokenState| {
        state.refreshed_at = Some(now);
        state.status = TokenStatus::Active;
        state.throttled_until = None;
        if !reply.scopes.is_empty() {
            state.scopes.clone_from(&reply.scopes);
        }
    };
    let mut state = held.state;
    note(&mut state);
    if saved {
        update_state(slot, note).await;
    }
    let unsaved = (!saved).then(|| token.clone());
    let live = Held { stored: token, unsaved, state }.usable(slot, None);
    live.map(|live| Some(slot.publish(live))).ok_or_else(|| {
        ManagerError::new(
            ManagerErrorKind::Provider,
            format!("token {}: the provider issued a token that has expired", slot.id),
        )
    })
}

/// What is stored after this reply: fields that it lacks, the refresh token above all, stay.
fn issued(
    slot: &Slot,
    held: &Held,
    server: &AccountsServer,
    reply: &TokenReply,
    expires_at: Timestamp,
) -> OAuthToken {
    let mut token = held.token().clone().with_access_token(reply.access_token.clone(), expires_at);
    if let Some(refresh_token) = &reply.refresh_token {
        token = token.with_refresh_token(refresh_token.clone());
    }
    if token.api_domain().is_some() {
        return token;
    }
    let settings = &slot.manager.0.settings;
    let domain =
        place::issued_domain(settings, &token, &held.state, server, reply.api_domain.as_deref());
    // What is wrong with a domain must not cost the tokens.
    token.clone().with_api_domain(domain).unwrap_or(token)
}

/// One request to the accounts server, and what its refusal means for the next caller; `None` if
/// another login took the token's place meanwhile.
async fn exchange(
    slot: &Slot,
    held: &Held,
    server: &AccountsServer,
) -> Result<Option<TokenReply>, ManagerError> {
    let manager = &slot.manager;
    let token = held.token();
    // An end far away was written by a clock that was wrong.
    let now = manager.now();
    if let Some(until) = held.state.throttled_until
        && now < until
        && now.until(until) <= 2 * THROTTLE_WINDOW
    {
        return Err(ManagerError::throttled(&slot.id, until));
    }
    let refused_before =
        slot.memory().refused.as_ref().is_some_and(|refused| refused.answers(server, token));
    if refused_before {
        return Err(ManagerError::needs_login(&slot.id, "its grant was refused before"));
    }
    let oauth = &manager.0.oauth;
    debug!(%server, "asking the accounts server");
    let answer = match (token.refresh_token(), token.grant_token()) {
        (Some(refresh_token), _) => {
            oauth.refresh(server, &client(slot, token)?, refresh_token).await
        }
        (None, Some(code)) => {
            let client = &client(slot, token)?;
            let redirect_url = token.redirect_url();
            let exchange = CodeExchange { client, code, redirect_url, pkce: None };
            oauth.exchange_code(server, &exchange).await
        }
        (None, None) => {
            slot.forget_any();
            let why = "it has nothing that could renew it";
            return Err(ManagerError::needs_login(&slot.id, why));
        }
    };
    match answer {
        Ok(reply) => Ok(Some(reply)),
        Err(error) => match refused(slot, held, server, error).await {
            Some(error) => Err(error),
            None => Ok(None),
        },
    }
}

/// Remembers what the provider's refusal means, for this process and in the store; `None` if what
/// it refused is not what is stored any more.
async fn refused(
    slot: &Slot,
    held: &Held,
    server: &AccountsServer,
    error: OAuthError,
) -> Option<ManagerError> {
    let kind = error.kind();
    let dead = matches!(kind, OAuthErrorKind::NeedsLogin | OAuthErrorKind::CodeExpiredOrUsed);
    if !dead && kind != OAuthErrorKind::Throttled {
        return Some(error.into());
    }
    // Somebody may have logged in or refreshed with rotation in between.
    let now_stored = slot.manager.store().find_token_by_id(&slot.id).await;
    if matches!(&now_stored, Ok(Some(token)) if !same_grant(token, &held.stored)) {
        return None;
    }
    if dead {
        slot.memory().refused = Some(Refused { by: server.clone(), token: held.token().clone() });
        slot.forget_any();
        update_state(slot, |state| state.status = TokenStatus::NeedsLogin).await;
        return Some(error.into());
    }
    let until = slot.manager.now().plus(error.retry_after().unwrap_or(THROTTLE_WINDOW));
    update_state(slot, |state| state.throttled_until = Some(until)).await;
    Some(ManagerError::throttled(&slot.id, until))
}

pub(crate) fn replaced(id: &TokenId) -> ManagerError {
    let what = format!("token {id}: others replaced it again and again meanwhile");
    StoreError::new(StoreErrorKind::Busy, what).with_hint("try again").into()
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

/// Changes what is known of the token, where the store keeps that: as it is now, so that what
/// others have written since stays. It can be done without, so a failure is only logged.
pub(crate) async fn update_state(slot: &Slot, change: impl FnOnce(&mut TokenState) + Send) {
    let Some(shared) = slot.manager.store().shared() else { return };
    let written = async {
        let mut state = shared.state(&slot.id).await?.unwrap_or_default();
        change(&mut state);
        shared.write_state(&slot.id, &state).await
    };
    if let Err(error) = written.await {
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
