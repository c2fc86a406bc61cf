//! The accounts server: tokens, revocation, and where the other data centres are.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    extract::State as Extract,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    device, pages,
    params::{Params, client_credentials},
    reply::Reply,
    scopes::Scopes,
    state::{Shared, State},
};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/oauth/serverinfo", get(server_info))
        .route("/oauth/v2/auth", get(pages::show).post(pages::decide))
        .route("/oauth/v2/token", post(token).fallback(wrong_method))
        .route("/oauth/v2/token/revoke", post(revoke).fallback(wrong_method))
        .route("/oauth/v2/revoke/token", post(revoke).fallback(wrong_method))
        .merge(device::routes())
}

async fn server_info(Extract(shared): Extract<Shared>) -> Reply {
    let state = shared.lock();
    let mut locations: BTreeMap<&str, &str> = BTreeMap::new();
    locations.extend(state.locations.iter().map(|(name, url)| (name.as_str(), url.as_str())));
    locations.insert(&state.site.location, &state.site.url);
    Reply::ok(json!({ "result": "success", "locations": locations }))
}

async fn wrong_method() -> Reply {
    Reply::new(StatusCode::BAD_REQUEST, json!({ "error": "invalid_request" }))
}

async fn token(Extract(shared): Extract<Shared>, headers: HeaderMap, params: Params) -> Response {
    let (reply, latency) = {
        let mut state = shared.lock();
        let reply = state.answer_token_request(shared.now(), &params, &headers);
        (reply, state.settings.token_latency_ms)
    };
    wait(latency).await;
    reply.into_response()
}

/// Takes its time, which is Tokio's. Where a reply waits, what was asked is done by now: a client
/// that goes away does not undo it.
pub(crate) async fn wait(latency_ms: u64) {
    if latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }
}

async fn revoke(Extract(shared): Extract<Shared>, params: Params) -> Reply {
    let done = params.get("token").is_some_and(|token| shared.lock().revoke(shared.now(), token));
    if done {
        Reply::ok(json!({ "status": "success" }))
    } else {
        Reply::new(StatusCode::BAD_REQUEST, json!({ "error": "invalid_code" }))
    }
}

impl State {
    fn answer_token_request(&mut self, now: i64, params: &Params, headers: &HeaderMap) -> Reply {
        let Some(grant_type) = params.get("grant_type") else {
            self.stats.count_token_request("missing");
            return Reply::new(StatusCode::BAD_REQUEST, json!({ "error": "invalid_request" }));
        };
        let known = ["authorization_code", "refresh_token", "client_credentials"];
        if !known.contains(&grant_type) {
            self.stats.count_token_request("unsupported");
            return Reply::oauth_error("invalid_client");
        }
        self.stats.count_token_request(grant_type);
        tracing::debug!(grant_type, "token request");
        let client_id = match self.authenticate_client(params, headers) {
            Ok(client_id) => client_id,
            Err(reply) => return reply,
        };
        match grant_type {
            "authorization_code" => self.exchange_code(now, params, &client_id),
            "refresh_token" => match params.get("refresh_token") {
                Some(token) => self.refresh(now, &client_id, token),
                None => Reply::oauth_error("invalid_code"),
            },
            _ => self.client_credentials(now, params, &client_id),
        }
    }

    /// The id of the client that sent its id and secret, or the error to answer.
    pub(crate) fn authenticate_client(
        &self,
        params: &Params,
        headers: &HeaderMap,
    ) -> Result<String, Reply> {
        let (id, secret) = client_credentials(params, headers);
        let id = id.unwrap_or_default();
        match self.clients.get(&id) {
            None => Err(Reply::oauth_error("invalid_client")),
            Some(client) if secret.as_ref() != Some(&client.secret) => {
                Err(Reply::oauth_error("invalid_client_secret"))
            }
            Some(_) => Ok(id),
        }
    }

    fn exchange_code(&mut self, now: i64, params: &Params, client_id: &str) -> Reply {
        let invalid = || Reply::oauth_error("invalid_code");
        let Some(text) = params.get("code") else { return invalid() };
        let Some(code) = self.grant_codes.get(text) else { return invalid() };
        if code.expires_at <= now || code.client_id != client_id {
            return invalid();
        }
        if let Some(uri) = &code.redirect_uri
            && params.get("redirect_uri") != Some(uri)
        {
            return Reply::oauth_error("invalid_redirect_uri");
        }
        if let Some(challenge) = &code.challenge
            && !params.get("code_verifier").is_some_and(|verifier| challenge.accepts(verifier))
        {
            return invalid();
        }
        match self.grant_codes.remove(text) {
            Some(code) => self.exchange(now, code),
            None => invalid(),
        }
    }

    /// A token of the client's own: for the user whom it was registered with, and without a
    /// refresh token.
    fn client_credentials(&mut self, now: i64, params: &Params, client_id: &str) -> Reply {
        let org = format!("ZohoCRM.{}", self.site.zgid);
        if params.get("soid") != Some(&org) {
            return Reply::oauth_error("missing_org_info");
        }
        let scopes = Scopes::parse(params.get("scope").unwrap_or_default());
        if scopes.is_empty() {
            return Reply::oauth_error("invalid_scope");
        }
        let owner = self.families.values().find(|family| family.client_id == client_id);
        let Some(email) = owner.map(|family| family.email.clone()) else {
            return Reply::oauth_error("access_denied");
        };
        let access = self.mint_alone(now, client_id, &email, &scopes);
        Reply::ok(self.token_reply(&access, None, Some(&scopes)))
    }
}
