//! What an emulator knows of its tokens, for tests that compare it with what a client knows.

use crate::{in_process::InProcess, state::State, tokens::RefreshToken};

/// Tokens in the open: for tests alone. `user` is an e-mail address or the id of a user.
impl InProcess {
    /// The refresh tokens of a user that a refresh would be granted with now, of all clients and
    /// logins, the oldest first: [the newest ones](Self::newest_refresh_token), and those
    /// [in grace](Self::refresh_tokens_in_grace).
    #[must_use]
    pub fn live_refresh_tokens(&self, user: &str) -> Vec<String> {
        let now = self.shared.now();
        self.shared
            .lock()
            .refresh_tokens_of(user, |token| token.is_newest() || token.is_in_grace(now))
    }

    /// The refresh token of a user's latest login that no other one has replaced.
    #[must_use]
    pub fn newest_refresh_token(&self, user: &str) -> Option<String> {
        let state = self.shared.lock();
        let email = state.email_of(user);
        let of_user = state.families.iter().rev().find(|(_, family)| family.email == email);
        of_user.and_then(|(family, _)| state.newest_of_family(*family))
    }

    /// The refresh tokens of a user that rotation has replaced, and that still get the reply of
    /// their rotation; the oldest first.
    #[must_use]
    pub fn refresh_tokens_in_grace(&self, user: &str) -> Vec<String> {
        let now = self.shared.now();
        self.shared.lock().refresh_tokens_of(user, |token| token.is_in_grace(now))
    }

    /// What rotation has made of a refresh token by now: the token itself if it was not replaced;
    /// `None` if it is not known, or its family has ended.
    #[must_use]
    pub fn current_refresh_token(&self, refresh_token: &str) -> Option<String> {
        let state = self.shared.lock();
        let family = state.refresh_tokens.get(refresh_token)?.family;
        state.newest_of_family(family)
    }

    /// Whether the API takes this access token now.
    #[must_use]
    pub fn is_live_access_token(&self, access_token: &str) -> bool {
        let now = self.shared.now();
        self.shared.lock().access_token(now, access_token).is_some()
    }

    /// How many access tokens were minted with this refresh token. A replay within its grace mints
    /// none. It is still known when the token is gone, until [`reset`](Self::reset).
    #[must_use]
    pub fn minted_with(&self, refresh_token: &str) -> u64 {
        self.shared.lock().minted.get(refresh_token).copied().unwrap_or(0)
    }
}

impl State {
    fn email_of<'a>(&'a self, user: &'a str) -> &'a str {
        self.users.values().find(|known| known.id == user).map_or(user, |known| &known.email)
    }

    fn newest_of_family(&self, family: u64) -> Option<String> {
        let newest = |token: &RefreshToken| token.family == family && token.is_newest();
        self.refresh_tokens.iter().find(|(_, token)| newest(token)).map(|(text, _)| text.clone())
    }

    /// A user's refresh tokens that `wanted` holds for, the oldest first.
    fn refresh_tokens_of(&self, user: &str, wanted: impl Fn(&RefreshToken) -> bool) -> Vec<String> {
        let email = self.email_of(user);
        let of_user = |token: &RefreshToken| {
            self.families.get(&token.family).is_some_and(|family| family.email == email)
        };
        let found = self.refresh_tokens.iter().filter(|(_, token)| of_user(token) && wanted(token));
        let mut found: Vec<_> = found.map(|(text, token)| (token.number, text)).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, text)| text.clone()).collect()
    }
}
