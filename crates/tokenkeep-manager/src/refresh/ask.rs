//! Asking the provider: that it is on record before, and what its answer means.

use std::time::Duration;

use tokenkeep_core::{
    ClientCredentials, Fingerprint, InFlight, Lease, OAuthToken, RefusedGrant, StateReplaced,
    Timestamp, TokenState, TokenStatus,
};
use tokenkeep_oauth::{
    AccountsServer, CodeExchange, OAuthError, OAuthErrorKind, Replay, THROTTLE_WINDOW, TokenReply,
};
use tracing::{debug, info};

use super::{
    Held, Run,
    allowed::{SKEW, may_ask},
    gone, note,
};
use crate::{
    EventKind, ManagerError, ManagerErrorKind, budget, memory::same_grant, metrics, place,
    slot::Slot,
};

/// How often a request is sent again whose answer was lost.
const LOST_ANSWERS: u32 = 3;

/// The pause before a request is sent again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how long a refresh token is not sent again whose answer may still be stored, if the provider
/// takes it only once: longer than a request takes, and a save after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of asking.
pub(super) enum Answer {
    /// Tokens.
    Issued(Box<Issued>),
    /// Nothing, and asking again makes sense.
    AskAgain,
    /// What is stored was changed by another one: look again.
    Changed,
}

/// What the provider has issued.
pub(super) struct Issued {
    pub(super) reply: TokenReply,
    /// When it was asked: its tokens live from then on, at the latest.
    pub(super) at: Timestamp,
    server: AccountsServer,
    in_flight: InFlight,
    /// Whether the same grant had been sent before, and the answer to that was lost.
    pub(super) replayed: bool,
}

impl Issued {
    /// Takes what was asked off the record, and with it earlier requests with the same grant. That
    /// of a later holder of the lease stays.
    pub(super) fn clear(&self, state: &mut TokenState) {
        state.in_flight = state.in_flight.take().filter(|it| {
            it.grant != self.in_flight.grant || it.generation > self.in_flight.generation
        });
    }

    /// What is stored after this reply: fields that it lacks, the refresh token above all, stay.
    pub(super) fn token(&self, slot: &Slot, held: &Held) -> OAuthToken {
        let reply = &self.reply;
        let rules = &slot.manager.0.settings.rules;
        let expires_at = self.at.plus(reply.expires_in_or(rules.default_lifetime));
        let mut token =
            held.token().clone().with_access_token(reply.access_token.clone(), expires_at);
        if let Some(refresh_token) = &reply.refresh_token {
            token = token.with_refresh_token(refresh_token.clone());
        }
        if token.api_domain().is_some() {
            return token;
        }
        let settings = &slot.manager.0.settings;
        let replied = reply.api_domain.as_deref();
        let domain = place::issued_domain(settings, &token, held.state(), &self.server, replied);
        // What is wrong with a domain must not cost the tokens.
        token.clone().with_api_domain(domain).unwrap_or(token)
    }
}

/// Asks the provider to renew what is held; that it is asked is on record before.
pub(super) async fn ask(
    run: &mut Run<'_>,
    held: &Held,
    lease: Option<&Lease>,
) -> Result<Answer, ManagerError> {
    let slot = run.slot;
    may_ask(slot, run.want, held)?;
    let manager = &slot.manager;
    let token = held.token();
    let server = place::accounts_server(&manager.0.settings, token, Some(held.state()))?;
    let client = client(slot, token)?;
    let request = Request::new(slot, held, server, lease)?;
    request.may_be_sent(slot)?;
    if !request.record(slot, held).await? {
        return Ok(Answer::Changed);
    }
    if let Some(lost) = &request.lost {
        info!(since = ?lost.since, "the answer to an earlier refresh was lost; asking again");
    }
    run.asked += 1;
    debug!(server = %request.server, "asking the accounts server");
    let oauth = &manager.0.oauth;
    let answer = match (token.refresh_token(), token.grant_token()) {
        (Some(refresh_token), _) => oauth.refresh(&request.server, &client, refresh_token).await,
        (None, Some(code)) => {
            let redirect_url = token.redirect_url();
            let exchange = CodeExchange { client: &client, code, redirect_url, pkce: None };
            oauth.exchange_code(&request.server, &exchange).await
        }
        (None, None) => return Err(ManagerError::needs_login(&slot.id, "it has no grant")),
    };
    metrics::requested(match &answer {
        Ok(_) => metrics::Request::Issued,
        Err(error) if error.maybe_applied() => metrics::Request::Lost,
        Err(_) => metrics::Request::Refused,
    });
    // It may be the same answer again, which is as old as the first request on record.
    let rotates = manager.0.settings.rules.replay.rotates();
    let first = request.lost.as_ref().filter(|_| rotates).map(|lost| lost.since);
    let at = first.map_or(request.at, |first| first.min(request.at));
    match answer {
        Ok(reply) => Ok(Answer::Issued(Box::new(Issued {
            reply,
            at,
            server: request.server,
            in_flight: request.in_flight,
            replayed: request.lost.is_some(),
        }))),
        Err(error) => request.failed(run, held, error).await,
    }
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

/// A request to the provider.
struct Request {
    server: AccountsServer,
    at: Timestamp,
    in_flight: InFlight,
    /// An earlier one with the same grant, of which no answer was stored.
    lost: Option<InFlight>,
}

impl Request {
    fn new(
        slot: &Slot,
        held: &Held,
        server: AccountsServer,
        lease: Option<&Lease>,
    ) -> Result<Self, ManagerError> {
        let grant = Fingerprint::of_grant(held.token())
            .ok_or_else(|| ManagerError::needs_login(&slot.id, "it has no grant"))?;
        let at = slot.manager.now();
        let lost = held.state().in_flight.clone().filter(|lost| lost.grant == grant);
        // The grace of a refresh token runs from its first use. If that would be over, the first
        // use cannot have had an effect, or nothing is to be had any more.
        let replay = slot.manager.0.settings.rules.replay;
        let first = lost.as_ref().filter(|lost| replay.allows(lost.since.until(at)));
        let since = first.map_or(at, |lost| lost.since.min(at));
        let generation = lease.map_or(0, |lease| lease.generation);
        Ok(Self { server, at, in_flight: InFlight::new(grant, since, generation), lost })
    }

    /// Whether nobody else may still store the answer to the same request. It is not with a holder
    /// of the lease, for that is ours; but one that has lost it may have it.
    ///
    /// # Errors
    ///
    /// `Network` with the time, for a minute, if the provider takes the refresh token only once.
    fn may_be_sent(&self, slot: &Slot) -> Result<(), ManagerError> {
        let replay = slot.manager.0.settings.rules.replay;
        let Some(lost) = self.lost.as_ref().filter(|_| replay.rotates()) else { return Ok(()) };
        let ago = lost.since.until(self.at);
        // Later than now: by a clock that was wrong.
        let is_believed = lost.since <= self.at.plus(SKEW);
        if is_believed && ago < PATIENCE && !replay.allows(ago) {
            return Err(ManagerError::unanswered(&slot.id, lost.since.plus(PATIENCE)));
        }
        Ok(())
    }

    /// Puts on record that this is asked, and counts it; `false` if another one has changed what
    /// is known of the token meanwhile.
    async fn record(&self, slot: &Slot, held: &Held) -> Result<bool, ManagerError> {
        let mut state = held.state().clone();
        budget::count(slot.manager.0.settings.rules.budget.as_ref(), &mut state, self.at);
        state.in_flight = Some(self.in_flight.clone());
        let Some(shared) = slot.manager.timed().shared() else {
            slot.memory.contents().state = Some(Box::new(state));
            return Ok(true);
        };
        match shared.replace_state(&slot.id, held.stored_state(), &state).await? {
            StateReplaced::Written => Ok(true),
            StateReplaced::Changed(_) => Ok(false),
            StateReplaced::NoToken | _ => Err(gone(slot)),
        }
    }

    /// What a refusal, or no answer, means: for this caller and, on record, for the next ones.
    async fn failed(
        &self,
        run: &Run<'_>,
        held: &Held,
        error: OAuthError,
    ) -> Result<Answer, ManagerError> {
        let slot = run.slot;
        let kind = error.kind();
        let dead = matches!(kind, OAuthErrorKind::NeedsLogin | OAuthErrorKind::CodeExpiredOrUsed);
        if dead || kind == OAuthErrorKind::Throttled {
            // Somebody may have logged in, or refreshed with rotation, in between.
            let now_stored = slot.manager.timed().find_token_by_id(&slot.id).await;
            if matches!(&now_stored, Ok(Some(token)) if !same_grant(token, held.stored())) {
                note(slot, |state| self.withdraw(state, false)).await;
                return Ok(Answer::Changed);
            }
            return Err(if dead {
                self.refused(slot, error).await
            } else {
                self.throttled(slot, &error).await
            });
        }
        let lost = error.maybe_applied();
        if !lost {
            note(slot, |state| self.withdraw(state, true)).await;
        } else if error.status().is_some() {
            // A server in trouble has answered, and hardly with a token that nobody got. It must
            // not use the budget up, or nobody could ask when it is well again.
            note(slot, |state| budget::uncount(state, self.at)).await;
        }
        let pause = PAUSE.saturating_mul(1 << (run.asked - 1).min(16)).min(LONGEST_PAUSE);
        let (settings, took) = (&slot.manager.0.settings, run.began.elapsed() + pause);
        let may_replay = self.may_replay(slot, pause);
        let makes_sense = error.is_transient()
            && !run.want.can_wait()
            && took < settings.retry_for
            && (!lost || run.asked <= LOST_ANSWERS && may_replay);
        // With the answer a refresh token may be lost, which can be had again in its grace alone.
        let must_replay =
            lost && may_replay && settings.rules.replay.rotates() && took < settings.deadline;
        if !makes_sense && !must_replay {
            return Err(error.into());
        }
        info!(%error, pause = ?pause, "asking again");
        tokio::time::sleep(pause).await;
        Ok(Answer::AskAgain)
    }

    /// Whether the provider takes the same grant once more, after `pause`.
    fn may_replay(&self, slot: &Slot, pause: Duration) -> bool {
        match slot.manager.0.settings.rules.replay {
            Replay::Always => true,
            Replay::Within(grace) => {
                self.in_flight.since.until(slot.manager.now().plus(pause)) < grace
            }
            Replay::Never => false,
        }
    }

    /// The grant is dead: that is the answer until another one is stored.
    async fn refused(&self, slot: &Slot, error: OAuthError) -> ManagerError {
        let refused = RefusedGrant::new(
            self.in_flight.grant.clone(),
            self.server.to_string(),
            slot.manager.now(),
        );
        note(slot, |state| {
            self.withdraw(state, false);
            state.status = TokenStatus::NeedsLogin;
            state.refused = Some(refused.clone());
        })
        .await;
        if self.is_outdated(slot).await {
            // Somebody has logged in since it was looked at.
            note(slot, |state| {
                if state.refused.as_ref() == Some(&refused) {
                    state.status = TokenStatus::Active;
                    state.refused = None;
                }
            })
            .await;
        } else {
            slot.manager.emit(&slot.id, EventKind::NeedsLogin);
        }
        match &self.lost {
            Some(lost) if slot.manager.0.settings.rules.replay != Replay::Always => {
                ManagerError::answer_lost(&slot.id, lost.since, error)
            }
            Some(_) | None => error.into(),
        }
    }

    /// Whether another grant is stored by now.
    async fn is_outdated(&self, slot: &Slot) -> bool {
        let stored = slot.manager.timed().find_token_by_id(&slot.id).await;
        matches!(&stored, Ok(Some(it)) if Fingerprint::of_grant(it).as_ref() != Some(&self.in_flight.grant))
    }

    async fn throttled(&self, slot: &Slot, error: &OAuthError) -> ManagerError {
        metrics::throttled(metrics::Throttle::Provider);
        let now = slot.manager.now();
        let until = now.plus(error.retry_after().unwrap_or(THROTTLE_WINDOW));
        note(slot, |state| {
            self.withdraw(state, true);
            state.throttled_until = Some(until);
            state.throttled_at = Some(now);
        })
        .await;
        ManagerError::throttled(&slot.id, until)
    }

    /// Takes this request off the record: it was answered, and nothing was issued. An earlier one
    /// whose answer was lost is still lost.
    fn withdraw(&self, state: &mut TokenState, keep_lost: bool) {
        if state.in_flight.as_ref() == Some(&self.in_flight) {
            state.in_flight = if keep_lost { self.lost.clone() } else { None };
        }
        budget::uncount(state, self.at);
    }
}
