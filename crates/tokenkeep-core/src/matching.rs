//! Which stored token a find or a save means: pure functions that every store calls inside its
//! own transaction, so that no two stores disagree.
//!
//! The rules:
//!
//! 1. A user name matches exactly, byte for byte; the client and the API domain (which stands for
//!    data centre and environment) too, where both sides name one. So one user with two clients,
//!    or in two data centres, is two tokens. Of several matches the one that agrees in more named
//!    fields is meant; if that leaves more than one, the answer is an *ambiguous* error with the
//!    ids, never the first row.
//! 2. Access token (only where no client is named), then grant token, then refresh token, each
//!    with the client where named. A save that has nothing but an access token and a client is
//!    matched by the access token last, so that saving it twice makes one token.
//! 3. Saving updates the match or inserts. Absent fields stay; see
//!    [`OAuthToken::merged_with`]. A token that was stored without a user name and is now known by
//!    name is updated, not doubled; if the user had a token already, the two become one.
//! 4. A save needs something to store: an access, refresh or grant token.
//! 5. Absence is `None`, never an error.

use std::{borrow::Borrow, cmp::Ordering};

use crate::{OAuthToken, QueryKey, StoreError, TokenId, TokenQuery};

/// What a save does, decided by [`plan_save`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SavePlan {
    /// Nothing matches: a new token, under the given id or the next free one.
    Insert,
    /// One stored token is meant.
    Update {
        /// The token to update.
        id: TokenId,
        /// A nameless earlier record of the same login, to be removed in the same transaction.
        absorbs: Option<TokenId>,
    },
}

/// Whether `token` is one that `query` looks for.
#[must_use]
pub fn matches(query: &TokenQuery, token: &OAuthToken) -> bool {
    query.key().matches(token)
        && agree(query.client_id(), token.client_id())
        && (!matches!(query.key(), QueryKey::User(_))
            || domains_agree(query.api_domain(), token.api_domain()))
}

/// The one token among `candidates` that `query` means.
///
/// `candidates` may hold tokens that do not match; they are passed over.
///
/// # Errors
///
/// Ambiguous, with the ids, if the query names too little to tell several matches apart.
pub fn find_one<'a>(
    query: &TokenQuery,
    candidates: impl IntoIterator<Item = &'a OAuthToken>,
) -> Result<Option<&'a OAuthToken>, StoreError> {
    let identity = Identity { client_id: query.client_id(), api_domain: query.api_domain() };
    identity.only_one(candidates.into_iter().filter(|token| matches(query, token)))
}

/// Decides what saving `token` does to a store that holds `candidates`.
///
/// `candidates` must hold every stored token that shares the id, the user name, or the access,
/// grant or refresh token with `token`, each with its id; others are passed over.
///
/// # Errors
///
/// - Invalid if there is nothing to store (rule 4).
/// - Ambiguous if several stored tokens could be meant.
/// - Conflict if the id belongs to another user's or another client's token.
pub fn plan_save<T: Borrow<OAuthToken>>(
    token: &OAuthToken,
    candidates: &[T],
) -> Result<SavePlan, StoreError> {
    let candidates: Vec<&OAuthToken> = candidates.iter().map(Borrow::borrow).collect();
    if !token.has_token() && !token.clears_anything() {
        return Err(StoreError::nothing_to_store());
    }
    let identity = Identity::of(token);
    if let Some(id) = token.id()
        && let Some(stored) = candidates.iter().copied().find(|stored| stored.id() == Some(id))
    {
        if !agree(token.user_name(), stored.user_name())
            || !agree(token.client_id(), stored.client_id())
        {
            return Err(StoreError::id_taken(id));
        }
        return identity.known_by_id(token, stored, &candidates);
    }
    let plan = match token.user_name() {
        Some(user_name) => identity.known_by_name(user_name, token, &candidates)?,
        None => identity.known_by_value(token, candidates.iter().copied())?.map(update),
    };
    match plan {
        Some(plan) => Ok(plan),
        None if token.has_token() => Ok(SavePlan::Insert),
        None => Err(StoreError::nothing_to_store()),
    }
}

/// What, beside the user, makes a token a different one.
#[derive(Clone, Copy)]
struct Identity<'a> {
    client_id: Option<&'a str>,
    api_domain: Option<&'a str>,
}

impl<'a> Identity<'a> {
    fn of(token: &'a OAuthToken) -> Self {
        Self { client_id: token.client_id(), api_domain: token.api_domain() }
    }

    /// A save under an id that is stored: that token, unless it turns out to be a nameless record
    /// of a user who has a token already.
    fn known_by_id(
        self,
        token: &OAuthToken,
        stored: &OAuthToken,
        candidates: &[&OAuthToken],
    ) -> Result<SavePlan, StoreError> {
        if stored.user_name().is_none()
            && let Some(user_name) = token.user_name()
        {
            let own = Identity {
                client_id: self.client_id.or(stored.client_id()),
                api_domain: self.api_domain.or(stored.api_domain()),
            };
            let named = own.only_one(candidates.iter().copied().filter(|candidate| {
                candidate.user_name() == Some(user_name) && own.agrees_with(candidate)
            }))?;
            if let Some(named) = named {
                return Ok(SavePlan::Update { id: id_of(named)?, absorbs: Some(id_of(stored)?) });
            }
        }
        Ok(update(id_of(stored)?))
    }

    /// A save by user name: the user's token, or the nameless record of the same login, or both.
    fn known_by_name(
        self,
        user_name: &str,
        token: &OAuthToken,
        candidates: &[&OAuthToken],
    ) -> Result<Option<SavePlan>, StoreError> {
        let named = self.only_one(candidates.iter().copied().filter(|candidate| {
            candidate.user_name() == Some(user_name) && self.agrees_with(candidate)
        }))?;
        let nameless = self.known_by_value(
            token,
            candidates
                .iter()
                .copied()
                .filter(|candidate| candidate.user_name().is_none() && self.agrees_with(candidate)),
        )?;
        Ok(match (named, nameless) {
            (Some(named), absorbs) => Some(SavePlan::Update { id: id_of(named)?, absorbs }),
            (None, Some(nameless)) => Some(update(nameless)),
            (None, None) => None,
        })
    }

    /// The token that has one of the values of `token`, by the precedence of rule 2.
    fn known_by_value<'c>(
        self,
        token: &OAuthToken,
        candidates: impl Iterator<Item = &'c OAuthToken> + Clone,
    ) -> Result<Option<TokenId>, StoreError> {
        let access = || token.access_token().cloned().map(QueryKey::AccessToken);
        let keys = [
            access().filter(|_| self.client_id.is_none()),
            token.grant_token().cloned().map(QueryKey::GrantToken),
            token.refresh_token().cloned().map(QueryKey::RefreshToken),
            access().filter(|_| token.grant_token().is_none() && token.refresh_token().is_none()),
        ];
        for key in keys.into_iter().flatten() {
            let found = self.only_one(candidates.clone().filter(|candidate| {
                key.matches(candidate) && agree(self.client_id, candidate.client_id())
            }))?;
            if let Some(found) = found {
                return Ok(Some(id_of(found)?));
            }
        }
        Ok(None)
    }

    fn agrees_with(self, token: &OAuthToken) -> bool {
        agree(self.client_id, token.client_id())
            && domains_agree(self.api_domain, token.api_domain())
    }

    /// How many of the fields that make a token different are named on both sides and equal.
    fn agreement(self, token: &OAuthToken) -> u8 {
        u8::from(self.client_id.is_some() && self.client_id == token.client_id())
            + u8::from(
                self.api_domain.is_some()
                    && token.api_domain().is_some()
                    && domains_agree(self.api_domain, token.api_domain()),
            )
    }

    /// The one of `matching` that agrees most; ambiguous if that is more than one.
    fn only_one<'c>(
        self,
        matching: impl Iterator<Item = &'c OAuthToken>,
    ) -> Result<Option<&'c OAuthToken>, StoreError> {
        let mut best: Vec<&OAuthToken> = Vec::new();
        for token in matching {
            match best.first().map(|first| self.agreement(token).cmp(&self.agreement(first))) {
                None | Some(Ordering::Equal) => best.push(token),
                Some(Ordering::Greater) => best = vec![token],
                Some(Ordering::Less) => {}
            }
        }
        match best[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err(StoreError::ambiguous(
                best.iter().filter_map(|token| token.id().cloned()).collect(),
            )),
        }
    }
}

fn update(id: TokenId) -> SavePlan {
    SavePlan::Update { id, absorbs: None }
}

fn id_of(stored: &OAuthToken) -> Result<TokenId, StoreError> {
    stored.id().cloned().ok_or_else(StoreError::stored_without_id)
}

/// Two optional names agree unless both are there and differ.
fn agree(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => true,
    }
}

/// Like [`agree`], but a host name has no case and a trailing slash says nothing.
fn domains_agree(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.trim_end_matches('/').eq_ignore_ascii_case(b.trim_end_matches('/')),
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests;
