//! How a login becomes a stored token.

use tokenkeep_core::{
    Fingerprint, InFlight, OAuthToken, RefreshToken, StoreError, Timestamp, TokenId, TokenQuery,
    TokenState, TokenStatus,
};
use tokenkeep_oauth::{
    AccountsServer, ApiDomain, CodeExchange, DataCenter, OAuthErrorKind, TokenReply,
};
use tracing::{Instrument, info, info_span, warn};

use super::{Grant, Login, with_reply};
use crate::{
    EventKind, LoggedIn, ManagerError, ManagerErrorKind, TokenManager, budget,
    memory::Unsaved,
    place,
    refresh::{Held, Save, note, save, under_lease},
};

pub(crate) async fn run(manager: TokenManager, login: Login) -> Result<LoggedIn, ManagerError> {
    async { Work::prepare(&manager, &login).await?.run().await }
        .instrument(info_span!("log_in"))
        .await
}

/// A login whose record is in the store.
struct Work<'a> {
    manager: &'a TokenManager,
    login: &'a Login,
    /// The record as it is stored.
    stored: OAuthToken,
    id: TokenId,
    /// Who issues its tokens.
    server: AccountsServer,
    /// Whether this login made the record, so that a failed one takes it away again.
    new: bool,
    state: TokenState,
    /// Whether its tokens are stored.
    done: bool,
    /// When the login began.
    began: Timestamp,
}

impl<'a> Work<'a> {
    /// Writes the login to the store: a store that cannot be written to must not cost the grant.
    async fn prepare(manager: &'a TokenManager, login: &'a Login) -> Result<Self, ManagerError> {
        let store = manager.timed();
        let began = manager.now();
        let (stored, new) = match &login.grant {
            // Nobody else has them: nothing comes before they are stored, and they stay.
            Grant::Issued(reply) => {
                let token = login.issued_token(reply, began);
                match store.save_token(&token).await {
                    Ok(stored) => (stored, false),
                    Err(error) => return Err(ManagerError::from(error).with_unsaved(token)),
                }
            }
            Grant::Code(_) | Grant::Refresh(_) => {
                if let Some(name) = &login.user_name {
                    TokenQuery::user(name)?;
                }
                match store.find_token(&login.query()?).await? {
                    Some(known) => (known, false),
                    None => (store.save_token(&login.token(began)?).await?, true),
                }
            }
        };
        let id = id_of(&stored)?;
        let mut state = match store.shared() {
            Some(shared) => shared.state(&id).await?.unwrap_or_default(),
            None => TokenState::default(),
        };
        if let Some(data_center) = login.data_center {
            state.data_center = Some(data_center.code().to_owned());
            state.accounts_server = Some(data_center.accounts_server().to_string());
        }
        if let Some(server) = &login.accounts_server {
            state.accounts_server = Some(server.to_string());
            if let Some(data_center) = DataCenter::of_accounts_server(server) {
                state.data_center = Some(data_center.code().to_owned());
            }
        }
        let settings = &manager.0.settings;
        if let Some(environment) = login.environment.or(settings.environment) {
            state.environment = Some(environment);
        }
        let server = place::accounts_server(settings, &stored, Some(&state))?;
        state.accounts_server = Some(server.to_string());
        if state.data_center.is_none() {
            let known = DataCenter::of_accounts_server(&server);
            state.data_center = known.map(|data_center| data_center.code().to_owned());
        }
        let work = Self { manager, login, stored, id, server, new, state, done: false, began };
        // However this login goes on: what it leaves must not be sent to another server.
        if work.new || matches!(login.grant, Grant::Issued(_)) {
            work.write_state().await;
        }
        Ok(work)
    }

    async fn run(mut self) -> Result<LoggedIn, ManagerError> {
        if matches!(self.login.grant, Grant::Code(_))
            && (self.stored.refresh_token().is_some() || self.stored.access_token().is_some())
        {
            info!(token = %self.id, "this grant was exchanged before; its token is used");
            let handle = self.manager.handle_of(&self.stored)?;
            return Ok(LoggedIn { token: self.stored, handle, warning: None });
        }
        let slot = self.manager.slot(&self.id, &self.stored);
        // A refresh token must not be sent by two at once; others may know this one.
        let reply = match &self.login.grant {
            Grant::Refresh(token) => {
                let exchange = Box::pin(self.exchange_unless_replaced(token));
                under_lease(&slot, exchange).await
            }
            Grant::Code(_) | Grant::Issued(_) => self.exchange().await.map(Some),
        }?;
        let Some(reply) = reply else {
            info!(token = %self.id, "the refresh token was replaced meanwhile; what is stored is used");
            let handle = self.manager.handle_of(&self.stored)?;
            return Ok(LoggedIn { token: self.stored, handle, warning: None });
        };
        let warning = self.find_out_who(&reply).await?;
        self.write_state().await;
        let handle = self.manager.handle_of(&self.stored)?;
        // What is in memory is of an earlier login.
        let slot = self.manager.slot(&self.id, &self.stored);
        slot.forget_any();
        if self.manager.timed().shared().is_none() && slot.memory.work.try_lock().is_err() {
            // A refresh under way may publish that once more, and no mark would tell.
            tokio::spawn(async move {
                let _working = slot.memory.work.lock().await;
                slot.forget_any();
            });
        }
        self.manager.emit(&self.id, EventKind::LoggedIn);
        Ok(LoggedIn { token: self.stored, handle, warning })
    }

    /// Gets the tokens with `token` and stores them; `None` if another refresh token has taken its
    /// place: a second use of it could end the grant.
    async fn exchange_unless_replaced(
        &mut self,
        token: &RefreshToken,
    ) -> Result<Option<TokenReply>, ManagerError> {
        let slot = self.manager.slot(&self.id, &self.stored);
        let held = Held::gather(&slot).await?;
        self.stored = held.stored().clone();
        if held.token().refresh_token() != Some(token) {
            return Ok(None);
        }
        self.exchange().await.map(Some)
    }

    /// Gets the tokens and stores them.
    async fn exchange(&mut self) -> Result<TokenReply, ManagerError> {
        match self.reply().await {
            Ok((reply, at)) => {
                self.keep(&reply, at).await?;
                Ok(reply)
            }
            Err(error) => {
                self.take_back(&error).await;
                Err(error)
            }
        }
    }

    /// The tokens and when they were issued: asks for them, unless the login has brought them.
    async fn reply(&self) -> Result<(TokenReply, Timestamp), ManagerError> {
        let server = &self.server;
        let oauth = &self.manager.0.oauth;
        Ok(match &self.login.grant {
            Grant::Code(code) => {
                let exchange = CodeExchange {
                    client: &self.login.client,
                    code,
                    redirect_url: self.login.redirect_url.as_deref(),
                    pkce: self.login.pkce.as_ref(),
                };
                let at = self.manager.now();
                (oauth.exchange_code(server, &exchange).await?, at)
            }
            Grant::Refresh(token) => {
                let at = self.manager.now();
                self.record(at).await;
                (oauth.refresh(server, &self.login.client, token).await?, at)
            }
            Grant::Issued(reply) => (TokenReply::clone(reply), self.began),
        })
    }

    /// Puts on record that the refresh token is sent, and counts it.
    async fn record(&self, at: Timestamp) {
        let Some(grant) = Fingerprint::of_grant(&self.stored) else { return };
        let slot = self.manager.slot(&self.id, &self.stored);
        let allowed = self.manager.0.settings.rules.budget.as_ref();
        note(&slot, |state| {
            budget::count(allowed, state, at);
            state.in_flight = Some(InFlight::new(grant.clone(), at, 0));
        })
        .await;
    }

    /// Stores what was issued. Should that fail for good, the caller gets the only copy.
    async fn keep(&mut self, reply: &TokenReply, now: Timestamp) -> Result<(), ManagerError> {
        let domain = place::issued_domain(
            &self.manager.0.settings,
            &self.stored,
            &self.state,
            &self.server,
            reply.api_domain.as_deref(),
        );
        let token = with_reply(self.stored.clone(), reply, now);
        // What is wrong with a domain must not cost the tokens.
        let token = token.clone().with_api_domain(domain).unwrap_or(token);
        if token != self.stored {
            let expected = self.stored.clone();
            let unsaved = Unsaved { expected, token, issued_at: now, spooled: false };
            self.stored = match save(self.manager, &unsaved, None).await {
                Save::Done(stored) | Save::Superseded(stored) => stored,
                Save::Gone => self.save_again(unsaved.token.without_id()).await?,
                Save::Failed(error) => {
                    return Err(ManagerError::from(error).with_unsaved(unsaved.token));
                }
            };
        }
        self.id = id_of(&self.stored)?;
        self.done = true;
        self.state.refreshed_at = Some(now);
        self.state.scopes.clone_from(&reply.scopes);
        Ok(())
    }

    /// Learns the user's name, and stores the token under it: over the user's earlier token if
    /// there is one. Not to learn it is a warning.
    async fn find_out_who(&mut self, reply: &TokenReply) -> Result<Option<String>, ManagerError> {
        let name = match &self.login.user_name {
            Some(given) => given.clone(),
            None if !self.manager.0.settings.find_user || self.stored.user_name().is_some() => {
                return Ok(None);
            }
            None => {
                let domain =
                    place::api_domain(&self.manager.0.settings, &self.stored, Some(&self.state));
                let domain = ApiDomain::parse(&domain).map_err(|error| {
                    ManagerError::new(ManagerErrorKind::Invalid, error.to_string())
                })?;
                match self.manager.0.oauth.current_user(&domain, &reply.access_token).await {
                    Ok(user) => user.email,
                    Err(error) => {
                        warn!(kind = ?error.kind(), "the user's name could not be found out");
                        return Ok(Some(who_warning(error.kind(), &self.id)));
                    }
                }
            }
        };
        let named = self.stored.clone().with_user_name(name)?;
        self.stored = self.save_again(named).await?;
        self.id = id_of(&self.stored)?;
        Ok(None)
    }

    async fn save_again(&self, token: OAuthToken) -> Result<OAuthToken, ManagerError> {
        let _alone = self.manager.0.writes.lock().await;
        let saved = self.manager.timed().save_token(&token).await;
        saved.map_err(|error: StoreError| ManagerError::from(error).with_unsaved(token))
    }

    /// Writes what this login has learnt over what is known. What it does not know about stays.
    async fn write_state(&self) {
        let learnt = &self.state;
        let slot = self.manager.slot(&self.id, &self.stored);
        note(&slot, |state| {
            state.data_center.clone_from(&learnt.data_center);
            state.accounts_server.clone_from(&learnt.accounts_server);
            state.environment = learnt.environment;
            if self.done {
                state.refreshed_at = learnt.refreshed_at;
                state.scopes.clone_from(&learnt.scopes);
                state.status = TokenStatus::Active;
                state.in_flight = None;
                state.refused = None;
                state.throttled_until = None;
                state.throttled_at = None;
            }
        })
        .await;
    }

    /// Removes the record that this login made, if the provider said no: it is of no use. After
    /// anything else it stays, because the provider may have issued a token for it.
    async fn take_back(&self, error: &ManagerError) {
        let refused = matches!(
            error.kind(),
            ManagerErrorKind::NeedsLogin
                | ManagerErrorKind::WrongClient
                | ManagerErrorKind::Invalid
                | ManagerErrorKind::Scope
        );
        if self.new
            && refused
            && let Err(error) = self.manager.timed().delete_token(&self.id).await
        {
            warn!(%error, token = %self.id, "the record of the refused login could not be removed");
        }
    }
}

fn who_warning(kind: OAuthErrorKind, id: &TokenId) -> String {
    let why = if kind == OAuthErrorKind::ScopeMismatch {
        "the login lacks the scope ZohoCRM.users.READ"
    } else {
        "the provider did not say"
    };
    format!("whose token {id} is could not be found out: {why}; it is stored without a user name")
}

fn id_of(stored: &OAuthToken) -> Result<TokenId, ManagerError> {
    stored.id().cloned().ok_or_else(|| {
        ManagerError::new(ManagerErrorKind::Store, "the store gave a token without an id")
    })
}
