//! What can be changed while the emulator runs.

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// Changes to a running emulator. A field that is `None` leaves things as they are.
///
/// The same as the JSON of `POST /emulator/config`, where an unknown field is an error.
///
/// ```
/// use tokenkeep_emulator::{Config, DropWhen, Fault};
///
/// let config = Config::new()
///     .access_token_lifetime_s(5)
///     .token_latency_ms(20)
///     .fail_next([Fault::dropping("/oauth/v2/token", DropWhen::After)]);
/// assert_eq!(config.access_token_lifetime_s, Some(5));
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
#[non_exhaustive]
pub struct Config {
    /// How long new access tokens are valid, in seconds. 3600 at the start.
    pub access_token_lifetime_s: Option<u64>,
    /// How long the token endpoint takes to answer once it has done its work, in milliseconds of
    /// Tokio's time. 0 at the start.
    ///
    /// The tokens are minted, rotated and counted before the wait: a client that goes away meanwhile
    /// undoes nothing, and what it did not get to read is lost to it.
    pub token_latency_ms: Option<u64>,
    /// Whether a refresh answers with a new refresh token, which ends the old one. Off at the
    /// start, as at Zoho.
    pub rotate_refresh_tokens: Option<bool>,
    /// How long a refresh token that was rotated away still gets the answer of its rotation, in
    /// milliseconds. 0 at the start.
    pub grace_ms: Option<u64>,
    /// Whether a refresh token that comes again after its grace ends its whole family: all refresh
    /// tokens that rotation made of one login, and their access tokens (RFC 9700, section 4.14.2).
    /// Off at the start: it is refused, and nothing else.
    pub revoke_family_on_reuse: Option<bool>,
    /// Whether Zoho's limits hold: tokens per window, live tokens, tokens per user. On at the
    /// start.
    pub enforce_limits: Option<bool>,
    /// How long a client waits between two polls of the device flow, in seconds. 30 at the start.
    pub device_interval_s: Option<u64>,
    /// Base of API calls that token replies name. The emulator's own URL at the start.
    pub api_domain: Option<String>,
    /// Faults to play, each once, on the next requests that they fit. Replaces those that were
    /// not played yet.
    pub fail_next: Option<Vec<Fault>>,
}

impl Config {
    /// Changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`access_token_lifetime_s`](Self::access_token_lifetime_s).
    #[must_use]
    pub fn access_token_lifetime_s(mut self, seconds: u64) -> Self {
        self.access_token_lifetime_s = Some(seconds);
        self
    }

    /// Sets [`token_latency_ms`](Self::token_latency_ms).
    #[must_use]
    pub fn token_latency_ms(mut self, millis: u64) -> Self {
        self.token_latency_ms = Some(millis);
        self
    }

    /// Sets [`rotate_refresh_tokens`](Self::rotate_refresh_tokens).
    #[must_use]
    pub fn rotate_refresh_tokens(mut self, rotate: bool) -> Self {
        self.rotate_refresh_tokens = Some(rotate);
        self
    }

    /// Sets [`grace_ms`](Self::grace_ms).
    #[must_use]
    pub fn grace_ms(mut self, millis: u64) -> Self {
        self.grace_ms = Some(millis);
        self
    }

    /// Sets [`revoke_family_on_reuse`](Self::revoke_family_on_reuse).
    #[must_use]
    pub fn revoke_family_on_reuse(mut self, revoke: bool) -> Self {
        self.revoke_family_on_reuse = Some(revoke);
        self
    }

    /// Sets [`enforce_limits`](Self::enforce_limits).
    #[must_use]
    pub fn enforce_limits(mut self, enforce: bool) -> Self {
        self.enforce_limits = Some(enforce);
        self
    }

    /// Sets [`device_interval_s`](Self::device_interval_s).
    #[must_use]
    pub fn device_interval_s(mut self, seconds: u64) -> Self {
        self.device_interval_s = Some(seconds);
        self
    }

    /// Sets [`api_domain`](Self::api_domain).
    #[must_use]
    pub fn api_domain(mut self, url: impl Into<String>) -> Self {
        self.api_domain = Some(url.into());
        self
    }

    /// Sets [`fail_next`](Self::fail_next).
    #[must_use]
    pub fn fail_next(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.fail_next = Some(faults.into_iter().collect());
        self
    }
}

/// A request that shall fail, or take its time, once.
///
/// What happens, in this order: the delay before the effect; the effect, if the fault lets it happen;
/// the delay after the effect; then the reply, this fault's answer, or the end of the connection.
///
/// | the fault has | effect | reply |
/// |---|---|---|
/// | only delays | yes | the real one |
/// | `drop`: before | no | none |
/// | `drop`: after | yes | none |
/// | `effect` | yes | its status and body |
/// | anything else | no | its status and body |
///
/// A client that goes away during the first delay was never there; one that goes away during the
/// second does not undo the effect.
///
/// ```
/// use tokenkeep_emulator::{DropWhen, Fault};
///
/// let late = Fault::delaying("/oauth/v2/token").delay_after_ms(45_000);
/// let lost = Fault::dropping("/oauth/v2/token", DropWhen::After).delay_before_ms(200);
/// let gateway = Fault::answering("/oauth/v2/token", 504, "<html>").effect(true);
/// let busy = Fault::answering("/oauth/v2/token", 429, "").retry_after_s(30);
/// # drop([late, lost, gateway, busy]);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Fault {
    /// Which request: this very path, or, where it ends in `*` or `/`, any path that begins with
    /// what is before the star. `None` fits every request outside `/emulator`.
    pub path: Option<String>,
    /// Status of the answer. 500 if nothing else is given, 200 if only a body is.
    pub status: Option<u16>,
    /// Body of the answer: a string is sent as it is, anything else as JSON.
    pub body: Option<Value>,
    /// Send nothing and close the connection.
    pub drop: Option<DropWhen>,
    /// How long the request waits before it takes effect, in milliseconds of Tokio's time.
    pub delay_before_ms: Option<u64>,
    /// How long the answer, or the end of the connection, waits after the effect, in milliseconds
    /// of Tokio's time.
    pub delay_after_ms: Option<u64>,
    /// Whether the request takes effect although it is answered with `status` and `body`.
    pub effect: bool,
    /// The header `Retry-After` of the answer, in seconds.
    pub retry_after_s: Option<u64>,
}

/// When a connection is closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third side of an effect")]
pub enum DropWhen {
    /// The server did not do it.
    Before,
    /// The server did it, and only the reply is lost.
    After,
}

impl Fault {
    /// Answers the next request to `path` with `status` and `body` and does nothing.
    #[must_use]
    pub fn answering(path: impl Into<String>, status: u16, body: impl Into<Value>) -> Self {
        Self {
            path: Some(path.into()),
            status: Some(status),
            body: Some(body.into()),
            ..Self::default()
        }
    }

    /// Closes the connection of the next request to `path` without an answer.
    #[must_use]
    pub fn dropping(path: impl Into<String>, drop: DropWhen) -> Self {
        Self { path: Some(path.into()), drop: Some(drop), ..Self::default() }
    }

    /// Lets the next request to `path` take effect and get its reply, late: say how late with
    /// [`delay_before_ms`](Self::delay_before_ms()) and [`delay_after_ms`](Self::delay_after_ms()).
    #[must_use]
    pub fn delaying(path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), delay_before_ms: Some(0), ..Self::default() }
    }

    /// Sets [`delay_before_ms`](Self::delay_before_ms).
    #[must_use]
    pub fn delay_before_ms(mut self, millis: u64) -> Self {
        self.delay_before_ms = Some(millis);
        self
    }

    /// Sets [`delay_after_ms`](Self::delay_after_ms).
    #[must_use]
    pub fn delay_after_ms(mut self, millis: u64) -> Self {
        self.delay_after_ms = Some(millis);
        self
    }

    /// Sets [`effect`](Self::effect).
    #[must_use]
    pub fn effect(mut self, effect: bool) -> Self {
        self.effect = effect;
        self
    }

    /// Sets [`retry_after_s`](Self::retry_after_s).
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Whether it says nothing but that the request takes its time.
    pub(crate) fn only_delays(&self) -> bool {
        let delays = self.delay_before_ms.is_some() || self.delay_after_ms.is_some();
        let answers = self.status.is_some() || self.body.is_some() || self.retry_after_s.is_some();
        delays && !answers && self.drop.is_none()
    }

    pub(crate) fn fits(&self, path: &str) -> bool {
        match self.path.as_deref() {
            None => true,
            Some(given) => match given.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None if given.ends_with('/') => path.starts_with(given),
                None => path == given,
            },
        }
    }
}

/// JSON for the emulator that it does not understand.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{field}` {problem}")]
#[non_exhaustive]
pub struct BadInput {
    /// The field, as a path: `fail_next[0].status`. `body` for the whole of it.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl BadInput {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

impl TryFrom<Value> for Config {
    type Error = BadInput;

    fn try_from(value: Value) -> Result<Self, BadInput> {
        let mut config = Self::default();
        for (name, value) in object("body", value)? {
            match name.as_str() {
                "access_token_lifetime_s" => {
                    config.access_token_lifetime_s = Some(count(&name, &value)?);
                }
                "token_latency_ms" => config.token_latency_ms = Some(count(&name, &value)?),
                "rotate_refresh_tokens" => {
                    config.rotate_refresh_tokens = Some(switch(&name, &value)?);
                }
                "grace_ms" => config.grace_ms = Some(count(&name, &value)?),
                "revoke_family_on_reuse" => {
                    config.revoke_family_on_reuse = Some(switch(&name, &value)?);
                }
                "enforce_limits" => config.enforce_limits = Some(switch(&name, &value)?),
                "device_interval_s" => config.device_interval_s = Some(count(&name, &value)?),
                "api_domain" => config.api_domain = Some(text(&name, &value)?),
                "fail_next" => config.fail_next = Some(faults(value)?),
                _ => return Err(BadInput::new(name, "is not known")),
            }
        }
        Ok(config)
    }
}

fn faults(value: Value) -> Result<Vec<Fault>, BadInput> {
    let Value::Array(items) = value else {
        return Err(BadInput::new("fail_next", "must be a list"));
    };
    items.into_iter().enumerate().map(|(i, item)| fault(&format!("fail_next[{i}]"), item)).collect()
}

fn fault(at: &str, value: Value) -> Result<Fault, BadInput> {
    let mut fault = Fault::default();
    for (name, value) in object(at, value)? {
        let field = format!("{at}.{name}");
        if value.is_null() {
            continue;
        }
        match name.as_str() {
            "path" => fault.path = Some(text(&field, &value)?),
            "status" => {
                let status = value
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok())
                    .filter(|status| (200..=599).contains(status));
                fault.status = Some(
                    status.ok_or_else(|| BadInput::new(field, "must be a status, 200 to 599"))?,
                );
            }
            "body" => fault.body = Some(value),
            "delay_before_ms" => fault.delay_before_ms = Some(count(&field, &value)?),
            "delay_after_ms" => fault.delay_after_ms = Some(count(&field, &value)?),
            "effect" => fault.effect = switch(&field, &value)?,
            "retry_after_s" => fault.retry_after_s = Some(count(&field, &value)?),
            "drop" => {
                fault.drop = Some(match value.as_str() {
                    Some("before") => DropWhen::Before,
                    Some("after") => DropWhen::After,
                    _ => return Err(BadInput::new(field, "must be \"before\" or \"after\"")),
                });
            }
            _ => return Err(BadInput::new(field, "is not known")),
        }
    }
    Ok(fault)
}

pub(crate) fn object(field: &str, value: Value) -> Result<Map<String, Value>, BadInput> {
    if let Value::Object(object) = value {
        Ok(object)
    } else {
        Err(BadInput::new(field, "must be a JSON object"))
    }
}

pub(crate) fn text(field: &str, value: &Value) -> Result<String, BadInput> {
    match value.as_str() {
        Some("") | None => Err(BadInput::new(field, "must be a string that is not empty")),
        Some(text) => Ok(text.to_owned()),
    }
}

fn count(field: &str, value: &Value) -> Result<u64, BadInput> {
    value.as_u64().ok_or_else(|| BadInput::new(field, "must be a whole number, 0 or more"))
}

fn switch(field: &str, value: &Value) -> Result<bool, BadInput> {
    value.as_bool().ok_or_else(|| BadInput::new(field, "must be true or false"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_name_their_field() {
        for (input, field) in [
            (json!([]), "body"),
            (json!({"lifetime": 1}), "lifetime"),
            (json!({"access_token_lifetime_s": -1}), "access_token_lifetime_s"),
            (json!({"token_latency_ms": "5"}), "token_latency_ms"),
            (json!({"enforce_limits": 1}), "enforce_limits"),
            (json!({"fail_next": {}}), "fail_next"),
            (json!({"fail_next": [{}, {"status": 99}]}), "fail_next[1].status"),
            (json!({"fail_next": [{"drop": "now"}]}), "fail_next[0].drop"),
            (json!({"fail_next": [{"paths": "/"}]}), "fail_next[0].paths"),
            (json!({"fail_next": [{"delay_after_ms": -1}]}), "fail_next[0].delay_after_ms"),
            (json!({"fail_next": [{"effect": 1}]}), "fail_next[0].effect"),
            (json!({"revoke_family_on_reuse": "yes"}), "revoke_family_on_reuse"),
        ] {
            assert_eq!(Config::try_from(input).unwrap_err().field, field);
        }
    }

    #[test]
    fn every_field_is_read() {
        let config: Config = serde_json::from_value(json!({
            "access_token_lifetime_s": 1, "token_latency_ms": 2, "rotate_refresh_tokens": true,
            "grace_ms": 3, "enforce_limits": false, "device_interval_s": 4,
            "api_domain": "http://127.0.0.1:1",
            "revoke_family_on_reuse": true,
            "fail_next": [
                {"path": "/a", "status": 503, "body": {"x": 1}, "drop": null},
                {"delay_before_ms": 5, "delay_after_ms": 6, "effect": true, "retry_after_s": 7},
            ],
        }))
        .unwrap();
        assert_eq!(config.access_token_lifetime_s, Some(1));
        assert_eq!(config.token_latency_ms, Some(2));
        assert_eq!(config.rotate_refresh_tokens, Some(true));
        assert_eq!(config.grace_ms, Some(3));
        assert_eq!(config.enforce_limits, Some(false));
        assert_eq!(config.device_interval_s, Some(4));
        let faults = config.fail_next.unwrap();
        assert_eq!(faults[0].status, Some(503));
        assert_eq!(faults[0].drop, None);
        assert_eq!(config.revoke_family_on_reuse, Some(true));
        assert_eq!((faults[0].delay_before_ms, faults[0].delay_after_ms), (None, None));
        assert!(!faults[0].effect && faults[1].effect);
        assert_eq!((faults[1].delay_before_ms, faults[1].delay_after_ms), (Some(5), Some(6)));
        assert_eq!(faults[1].retry_after_s, Some(7));
    }

    #[test]
    fn only_delays_let_a_request_through() {
        assert!(Fault::delaying("/a").only_delays());
        assert!(Fault::delaying("/a").delay_after_ms(1).only_delays());
        assert!(!Fault::default().only_delays(), "a fault that says nothing answers with 500");
        assert!(!Fault::answering("/a", 500, "").delay_before_ms(1).only_delays());
        assert!(!Fault::dropping("/a", DropWhen::After).delay_after_ms(1).only_delays());
        assert!(!Fault::delaying("/a").retry_after_s(1).only_delays());
    }

    #[test]
    fn a_fault_fits_a_path_or_a_prefix() {
        let exact = Fault::dropping("/oauth/v2/token", DropWhen::Before);
        assert!(exact.fits("/oauth/v2/token"));
        assert!(!exact.fits("/oauth/v2/token/revoke"));
        assert!(Fault::dropping("/crm/*", DropWhen::Before).fits("/crm/v8/Leads"));
        assert!(Fault::dropping("/crm/", DropWhen::Before).fits("/crm/v8/Leads"));
        assert!(Fault::default().fits("/any"));
    }
}
