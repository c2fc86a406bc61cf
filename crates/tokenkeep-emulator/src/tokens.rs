//! Minting, refreshing, rotating, expiring and revoking tokens.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::{
    clients::GrantCode,
    reply::Reply,
    rules::{self, Window},
    scopes::Scopes,
    state::State,
};

/// A refresh token, with those that rotation put in its place, and its access tokens.
pub(crate) struct Family {
    pub(crate) client_id: String,
    pub(crate) email: String,
    scopes: Scopes,
    mints: Window,
    /// Access tokens that may be valid, the oldest first.
    live: VecDeque<String>,
}

/// What a refresh token's text stands for.
pub(crate) struct RefreshToken {
    pub(crate) family: u64,
    /// Greater than that of those before it.
    pub(crate) number: u64,
    rotated: Option<Rotated>,
}

impl RefreshToken {
    /// Whether no other one has replaced it.
    pub(crate) fn is_newest(&self) -> bool {
        self.rotated.is_none()
    }

    /// Whether another one has replaced it, and it still gets that one's reply.
    pub(crate) fn is_in_grace(&self, now: i64) -> bool {
        self.rotated.as_ref().is_some_and(|rotated| now < rotated.until)
    }
}

/// A refresh token that another one replaced.
struct Rotated {
    until: i64,
    reply: Value,
}

/// What an access token's text stands for.
pub(crate) struct AccessToken {
    pub(crate) client_id: String,
    pub(crate) email: String,
    pub(crate) scopes: Scopes,
    expires_at: i64,
}

impl State {
    /// A refresh token for a user of a client. Deletes the oldest where there are too many.
    pub(crate) fn new_family(
        &mut self,
        client_id: &str,
        email: &str,
        scopes: &Scopes,
    ) -> (u64, String) {
        let pair = (client_id.to_owned(), email.to_owned());
        if self.settings.enforce_limits {
            let same = self.families_of.get(&pair).map_or(0, VecDeque::len);
            for _ in rules::REFRESH_TOKENS_PER_USER..=same {
                let oldest = self.families_of.get(&pair).and_then(|ids| ids.front().copied());
                if let Some(oldest) = oldest {
                    self.end_family(oldest);
                }
            }
        }
        let id = self.next_number();
        self.families_of.entry(pair).or_default().push_back(id);
        self.families.insert(
            id,
            Family {
                client_id: client_id.to_owned(),
                email: email.to_owned(),
                scopes: scopes.clone(),
                mints: Window::default(),
                live: VecDeque::new(),
            },
        );
        let token = self.new_token();
        self.keep_refresh_token(id, token.clone());
        (id, token)
    }

    fn keep_refresh_token(&mut self, family: u64, token: String) {
        let number = self.next_number();
        self.refresh_tokens.insert(token, RefreshToken { family, number, rotated: None });
    }

    /// Exchanges a code that was found to be right.
    pub(crate) fn exchange(&mut self, now: i64, code: GrantCode) -> Reply {
        let GrantCode { client_id, email, scopes, scopes_asked, offline, .. } = code;
        if !offline {
            let access = self.mint_alone(now, &client_id, &email, &scopes);
            return Reply::ok(self.token_reply(&access, None, scopes_asked.then_some(&scopes)));
        }
        let (id, refresh) = self.new_family(&client_id, &email, &scopes);
        match self.mint(now, id) {
            Some(access) => Reply::ok(self.token_reply(
                &access,
                Some(&refresh),
                scopes_asked.then_some(&scopes),
            )),
            None => Reply::throttled(),
        }
    }

    /// Answers a refresh by a client whose secret was right.
    pub(crate) fn refresh(&mut self, now: i64, client_id: &str, token: &str) -> Reply {
        let Some(entry) = self.refresh_tokens.get(token) else {
            return Reply::oauth_error("invalid_code");
        };
        let id = entry.family;
        if self.families.get(&id).is_none_or(|family| family.client_id != client_id) {
            return Reply::oauth_error("invalid_code");
        }
        if let Some(rotated) = &entry.rotated {
            if now < rotated.until {
                self.stats.refreshes_replayed += 1;
                return Reply::ok(rotated.reply.clone());
            }
            if self.settings.revoke_family_on_reuse {
                // The client's, or a thief's? Nobody can tell, so it is over for both.
                self.stats.families_revoked += 1;
                self.end_family(id);
            }
            return Reply::oauth_error("invalid_code");
        }
        let Some(access) = self.mint(now, id) else { return Reply::throttled() };
        self.stats.refreshes_granted += 1;
        *self.minted.entry(token.to_owned()).or_default() += 1;
        if !self.settings.rotate_refresh_tokens {
            return Reply::ok(self.token_reply(&access, None, None));
        }
        let next = self.new_token();
        self.keep_refresh_token(id, next.clone());
        let reply = self.token_reply(&access, Some(&next), None);
        let grace = i64::try_from(self.settings.grace_ms).unwrap_or(i64::MAX);
        if let Some(entry) = self.refresh_tokens.get_mut(token) {
            entry.rotated =
                Some(Rotated { until: now.saturating_add(grace), reply: reply.clone() });
        }
        Reply::ok(reply)
    }

    /// An access token of a family, or `None` if it minted too many of late.
    fn mint(&mut self, now: i64, id: u64) -> Option<String> {
        let limited = self.settings.enforce_limits;
        let family = self.families.get_mut(&id)?;
        if limited && !family.mints.admit(now, rules::MINTS_PER_WINDOW) {
            self.stats.throttled += 1;
            return None;
        }
        let access_tokens = &mut self.access_tokens;
        family.live.retain(|token| access_tokens.get(token).is_some_and(|it| it.expires_at > now));
        if limited {
            while family.live.len() >= rules::LIVE_ACCESS_TOKENS {
                if let Some(oldest) = family.live.pop_front() {
                    access_tokens.remove(&oldest);
                }
            }
        }
        let (client_id, email) = (family.client_id.clone(), family.email.clone());
        let scopes = family.scopes.clone();
        let token = self.mint_alone(now, &client_id, &email, &scopes);
        self.families.get_mut(&id)?.live.push_back(token.clone());
        Some(token)
    }

    /// An access token that no refresh token stands behind.
    pub(crate) fn mint_alone(
        &mut self,
        now: i64,
        client_id: &str,
        email: &str,
        scopes: &Scopes,
    ) -> String {
        if self.access_tokens.len() >= self.sweep_at {
            self.access_tokens.retain(|_, token| token.expires_at > now);
            self.sweep_at = 2 * self.access_tokens.len() + 64;
        }
        let lifetime = rules::millis(self.settings.access_token_lifetime_s);
        let token = self.new_token();
        self.access_tokens.insert(
            token.clone(),
            AccessToken {
                client_id: client_id.to_owned(),
                email: email.to_owned(),
                scopes: scopes.clone(),
                expires_at: now.saturating_add(lifetime),
            },
        );
        token
    }

    /// The body of a token reply.
    pub(crate) fn token_reply(
        &self,
        access: &str,
        refresh: Option<&str>,
        scopes: Option<&Scopes>,
    ) -> Value {
        let mut body = json!({
            "access_token": access,
            "api_domain": self.settings.api_domain,
            "token_type": "Bearer",
            "expires_in": self.settings.access_token_lifetime_s,
        });
        if let Some(refresh) = refresh {
            body["refresh_token"] = refresh.into();
        }
        if let Some(scopes) = scopes {
            body["scope"] = scopes.text().into();
        }
        body
    }

    /// What an access token stands for, if it is valid.
    pub(crate) fn access_token(&self, now: i64, token: &str) -> Option<&AccessToken> {
        self.access_tokens.get(token).filter(|found| found.expires_at > now)
    }

    /// Ends a refresh token with its access tokens, or one access token. `false`: unknown.
    pub(crate) fn revoke(&mut self, now: i64, token: &str) -> bool {
        let known = match self.refresh_tokens.get(token) {
            Some(entry) if entry.is_newest() || entry.is_in_grace(now) => {
                let id = entry.family;
                self.end_family(id);
                true
            }
            Some(_) => false,
            None => {
                let valid = self.access_token(now, token).is_some();
                self.access_tokens.remove(token);
                valid
            }
        };
        self.stats.revocations += u64::from(known);
        known
    }

    /// Ends all access tokens; refresh tokens stay.
    pub(crate) fn expire_access_tokens(&mut self) {
        self.access_tokens.clear();
    }

    fn end_family(&mut self, id: u64) {
        let Some(family) = self.families.remove(&id) else { return };
        for token in &family.live {
            self.access_tokens.remove(token);
        }
        self.refresh_tokens.retain(|_, entry| entry.family != id);
        let pair = (family.client_id, family.email);
        if let Some(ids) = self.families_of.get_mut(&pair) {
            ids.retain(|&other| other != id);
        }
    }
}
