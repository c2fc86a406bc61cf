//! The device flow: a code on one screen, the user at another.

use axum::{
    Router,
    extract::State as Extract,
    http::{HeaderMap, Uri},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    accounts::wait,
    clients::GrantCode,
    pages,
    params::Params,
    reply::Reply,
    rules,
    scopes::Scopes,
    state::{Shared, State},
};

/// A device that waits for its user.
pub(crate) struct DeviceCode {
    client_id: String,
    user_code: String,
    scopes: Scopes,
    offline: bool,
    expires_at: i64,
    next_poll: i64,
    decision: Decision,
}

enum Decision {
    Pending,
    Accepted(String),
    Refused,
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/oauth/v3/device", get(page))
        .route("/oauth/v3/device/code", post(code))
        .route("/oauth/v3/device/token", post(token))
}

async fn page(Extract(shared): Extract<Shared>, uri: Uri) -> Html<String> {
    let params = Params::of_query(uri.query());
    let users: Vec<String> = shared.lock().users.keys().cloned().collect();
    Html(pages::device(params.get("user_code").unwrap_or_default(), &users))
}

async fn code(Extract(shared): Extract<Shared>, params: Params) -> Reply {
    let mut state = shared.lock();
    state.stats.count_token_request("device_request");
    state.device_request(shared.now(), &params)
}

async fn token(Extract(shared): Extract<Shared>, headers: HeaderMap, params: Params) -> Response {
    let (reply, latency) = {
        let mut state = shared.lock();
        state.stats.count_token_request("device_token");
        let reply = match state.authenticate_client(&params, &headers) {
            Ok(client_id) => state.device_token(shared.now(), &params, &client_id),
            Err(reply) => reply,
        };
        (reply, state.settings.token_latency_ms)
    };
    wait(latency).await;
    reply.into_response()
}

impl State {
    fn device_request(&mut self, now: i64, params: &Params) -> Reply {
        let client_id = params.get("client_id").unwrap_or_default();
        if !self.clients.contains_key(client_id)
            || params.get("grant_type") != Some("device_request")
        {
            return Reply::oauth_error("invalid_client");
        }
        let scopes = Scopes::parse(params.get("scope").unwrap_or_default());
        if scopes.is_empty() {
            return Reply::oauth_error("invalid_scope");
        }
        self.device_codes.retain(|_, code| code.expires_at > now);
        let device_code = self.new_token();
        let hex = self.new_hex().to_uppercase();
        let user_code = format!("{}-{}", &hex[..4], &hex[4..8]);
        let url = format!("{}/oauth/v3/device", self.site.url);
        let reply = Reply::ok(json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_url": url,
            "verification_uri_complete": format!("{url}?user_code={user_code}"),
            "expires_in": rules::DEVICE_LIFETIME / 1000,
            "interval": self.settings.device_interval_s,
        }));
        self.device_codes.insert(
            device_code,
            DeviceCode {
                client_id: client_id.to_owned(),
                user_code,
                scopes,
                offline: params.get("access_type") == Some("offline"),
                expires_at: now.saturating_add(rules::DEVICE_LIFETIME),
                next_poll: now,
                decision: Decision::Pending,
            },
        );
        reply
    }

    fn device_token(&mut self, now: i64, params: &Params, client_id: &str) -> Reply {
        let interval = rules::millis(self.settings.device_interval_s);
        let limited = self.settings.enforce_limits;
        let text = params.get("code").unwrap_or_default();
        let Some(code) = self.device_codes.get_mut(text).filter(|it| it.client_id == client_id)
        else {
            return Reply::oauth_error("invalid_code");
        };
        if code.expires_at <= now {
            self.device_codes.remove(text);
            return Reply::oauth_error("expired");
        }
        if limited && now < code.next_poll {
            return Reply::oauth_error("slow_down");
        }
        code.next_poll = now.saturating_add(interval);
        match &code.decision {
            Decision::Pending => Reply::oauth_error("authorization_pending"),
            Decision::Refused => {
                self.device_codes.remove(text);
                Reply::oauth_error("access_denied")
            }
            Decision::Accepted(email) => {
                let grant = GrantCode {
                    client_id: client_id.to_owned(),
                    email: email.clone(),
                    scopes: code.scopes.clone(),
                    scopes_asked: true,
                    redirect_uri: None,
                    challenge: None,
                    offline: code.offline,
                    expires_at: code.expires_at,
                };
                self.device_codes.remove(text);
                self.exchange(now, grant)
            }
        }
    }

    /// The user's word on a device. `None` as the e-mail refuses. `false`: no such code.
    pub(crate) fn decide_device(&mut self, now: i64, user_code: &str, email: Option<&str>) -> bool {
        if let Some(email) = email {
            self.user(now, email);
        }
        let found = self
            .device_codes
            .values_mut()
            .find(|code| code.expires_at > now && code.user_code.eq_ignore_ascii_case(user_code));
        let Some(code) = found else { return false };
        code.decision = match email {
            Some(email) => Decision::Accepted(email.to_owned()),
            None => Decision::Refused,
        };
        true
    }
}
