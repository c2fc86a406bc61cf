//! Who may ask for what, and which engine answers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::kv::{Answer, Kv2, Mount, errors};

/// All that a server knows.
#[derive(Default)]
pub(super) struct Vault {
    /// By namespace and path.
    pub(super) mounts: BTreeMap<(String, String), Mount>,
    pub(super) tokens: BTreeMap<String, Token>,
    /// By role id: the secret id, and how long the tokens live that are given for it.
    pub(super) roles: BTreeMap<String, (String, Duration)>,
    pub(super) is_sealed: bool,
    logins: u64,
}

pub(super) struct Token {
    /// `None` for one that does not end.
    pub(super) end: Option<Instant>,
    pub(super) ttl: Duration,
    pub(super) renewable: bool,
    /// The paths it may use, by their beginnings.
    pub(super) paths: Vec<String>,
}

/// A request, as the rules are about it.
pub(super) struct Call<'a> {
    pub(super) method: &'a str,
    /// Below `/v1/`.
    pub(super) path: &'a str,
    pub(super) version: Option<u64>,
    pub(super) token: &'a str,
    pub(super) namespace: &'a str,
    pub(super) body: &'a Value,
}

impl Token {
    pub(super) fn new(ttl: Option<Duration>, paths: &[&str]) -> Self {
        Self {
            end: ttl.map(|ttl| Instant::now() + ttl),
            ttl: ttl.unwrap_or_default(),
            renewable: ttl.is_some(),
            paths: paths.iter().copied().map(str::to_owned).collect(),
        }
    }

    fn lives(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() < end)
    }
}

fn denied() -> Answer {
    errors(403, &["permission denied"])
}

impl Vault {
    pub(super) fn mount(&mut self, namespace: &str, path: &str, version: u8) {
        let engine =
            if version == 1 { Mount::V1(BTreeMap::new()) } else { Mount::V2(Kv2::default()) };
        self.mounts.insert((namespace.to_owned(), path.to_owned()), engine);
    }

    pub(super) fn answer(&mut self, call: &Call<'_>) -> Answer {
        if call.path == "sys/health" {
            let status = if self.is_sealed { 503 } else { 200 };
            let body = json!({
                "initialized": true, "sealed": self.is_sealed, "standby": false,
                "version": "0.0.0-test",
            });
            return (status, body);
        }
        if self.is_sealed {
            return errors(503, &["Vault is sealed"]);
        }
        if call.path == "auth/approle/login" {
            return self.log_in(call.body);
        }
        let Some(token) = self.tokens.get_mut(call.token).filter(|token| token.lives()) else {
            return denied();
        };
        match (call.method, call.path) {
            ("GET", "auth/token/lookup-self") => {
                let left = token.end.map(|end| end.saturating_duration_since(Instant::now()));
                let ttl = left.unwrap_or_default().as_secs_f64().ceil();
                return (200, json!({"data": {"ttl": ttl as u64, "renewable": token.renewable}}));
            }
            ("POST" | "PUT", "auth/token/renew-self") => {
                if !token.renewable {
                    return errors(400, &["lease is not renewable"]);
                }
                token.end = Some(Instant::now() + token.ttl);
                return granted(call.token, token.ttl);
            }
            _ => {}
        }
        let looked_at = call.path.strip_prefix("sys/internal/ui/mounts/");
        let wanted = format!("{}/", looked_at.unwrap_or(call.path));
        let may = |path: &String| {
            call.path.starts_with(path) || looked_at.is_some() && path.starts_with(&wanted)
        };
        if !token.paths.iter().any(may) {
            return denied();
        }
        let namespace = call.namespace.trim_matches('/');
        let found = self.mounts.iter_mut().find_map(|((place, mount), engine)| {
            let rest = wanted.strip_prefix(mount.as_str())?.strip_prefix('/')?;
            (place == namespace).then_some((mount, rest, engine))
        });
        match (found, looked_at) {
            (Some((mount, _rest, engine)), Some(_)) => {
                let path = format!("{mount}/");
                let options = json!({ "version": engine.version() });
                (200, json!({"data": {"path": path, "type": "kv", "options": options}}))
            }
            (Some((_mount, rest, engine)), None) => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                engine.answer(call.method, rest, call.version, call.body)
            }
            (None, Some(_)) => denied(),
            (None, None) => {
                let path = call.path;
                errors(404, &[&format!("no handler for route \"{path}\". route entry not found.")])
            }
        }
    }

    fn log_in(&mut self, body: &Value) -> Answer {
        let role = body["role_id"].as_str().and_then(|role| self.roles.get(role));
        let Some((_secret, ttl)) = role.filter(|(secret, _)| body["secret_id"] == secret.as_str())
        else {
            return errors(400, &["invalid role or secret ID"]);
        };
        self.logins += 1;
        let (token, ttl) = (format!("test-login-{}", self.logins), *ttl);
        self.tokens.insert(token.clone(), Token::new(Some(ttl), &[""]));
        granted(&token, ttl)
    }
}

fn granted(token: &str, ttl: Duration) -> Answer {
    let auth = json!({"client_token": token, "lease_duration": ttl.as_secs(), "renewable": true});
    (200, json!({ "auth": auth }))
}
