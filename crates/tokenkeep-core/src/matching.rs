//! Which stored token a find or a save means: pure functions that every store calls inside its
//! own transaction, so that no two stores disagree.
//!
//! The rules:
//!
//! 1. A user name matches exactly, byte for byte; the client and the API domain (which stands for
//!    data centre and environment) too, where both sides name one. So one user with two clients,
//!    or in two data centres, is two tokens. Of several matches the one that agrees in more named
//!    fields is meant, and for a save, before that, the one that has one of its tokens already;
//!    if that leaves more than one, the answer is an *ambiguous* error with the ids, never the
//!    first row.
//! 2. Access token (only where no client is named), then grant token, then refresh token, each
//!    with the client where named. A save that has nothing but an access token and a client is
//!    matched by the access token last, so that saving it twice makes one token.
//! 3. Saving updates the match or inserts. Absent fields stay; see
//!    [`OAuthToken::merged_with`]. A token that was stored without a user name and is now known by
//!    name is updated, not doubled; if the user had a token of the same client and API domain
//!    already, the two become one, in which the values of the nameless login win as the later
//!    ones.
//! 4. A save needs something to store: an access, refresh or grant token.
//! 5. Absence is `None`, never an error.

use std::{borrow::Borrow, cmp::Ordering};

use crate::{Field, OAuthToken, QueryKey, StoreError, TokenId, TokenQuery};

/// The fields by which a save knows what is stored: its candidates are the rows that have one of
/// these in common with it.
pub const KEYS: [Field; 5] =
    [Field::Id, Field::UserName, Field::AccessToken, Field::GrantToken, Field::RefreshToken];

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
        /// What it is after the save.
        merged: Box<OAuthToken>,
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
/// - Conflict if the id belongs to another user's or another client's token, or if the save would
///   make two tokens of one user the same in client and API domain. The latter is seen where
///   `token` names its user; a save by id alone is not compared with the user's other tokens.
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
        return identity.known_by_id(token, stored, &candidates)?.plan(token, &candidates);
    }
    let target = match token.user_name() {
        Some(user_name) => identity.known_by_name(user_name, token, &candidates)?,
        None => identity
            .known_by_value(token, candidates.iter().copied())?
            .map(|stored| Target { stored, absorbs: None }),
    };
    match target {
        Some(target) => target.plan(token, &candidates),
        None if token.has_token() => Ok(SavePlan::Insert),
        None => Err(StoreError::nothing_to_store()),
    }
}

/// The stored token that a save means, and the nameless record that goes into it.
struct Target<'a> {
    stored: &'a OAuthToken,
    absorbs: Option<&'a OAuthToken>,
}

impl Target<'_> {
    fn plan(self, token: &OAuthToken, candidates: &[&OAuthToken]) -> Result<SavePlan, StoreError> {
        let merged = match self.absorbs {
            Some(absorbed) => self.stored.merged_with(absorbed).merged_with(token),
            None => self.stored.merged_with(token),
        };
        let becomes_the_same_as = |other: &&OAuthToken| {
            merged.user_name().is_some()
                && merged.user_name() == other.user_name()
                && other.id() != self.stored.id()
                && other.id() != self.absorbs.and_then(OAuthToken::id)
                && Identity::of(&merged).agrees_with(other)
                && !(self.stored.user_name() == other.user_name()
                    && Identity::of(self.stored).agrees_with(other))
        };
        if let Some(other) = candidates.iter().copied().find(becomes_the_same_as) {
            return Err(StoreError::would_be_the_same(id_of(self.stored)?, id_of(other)?));
        }
        Ok(SavePlan::Update {
            id: id_of(self.stored)?,
            merged: Box::new(merged),
            absorbs: self.absorbs.map(id_of).transpose()?,
        })
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
    fn known_by_id<'c>(
        self,
        token: &OAuthToken,
        stored: &'c OAuthToken,
        candidates: &[&'c OAuthToken],
    ) -> Result<Target<'c>, StoreError> {
        if stored.user_name().is_none()
            && let Some(user_name) = token.user_name()
            && let Some(target) = self.of_user(user_name, Some(stored), candidates)?
        {
            return Ok(target);
        }
        Ok(Target { stored, absorbs: None })
    }

    /// A save by user name: the user's token, or the nameless record of the same login, or both.
    fn known_by_name<'c>(
        self,
        user_name: &str,
        token: &OAuthToken,
        candidates: &[&'c OAuthToken],
    ) -> Result<Option<Target<'c>>, StoreError> {
        let with_value = |owner: Option<&str>| {
            let owned = candidates
                .iter()
                .copied()
                .filter(|candidate| candidate.user_name() == owner && self.agrees_with(candidate));
            self.known_by_value(token, owned)
        };
        let nameless = with_value(None);
        match with_value(Some(user_name))? {
            Some(stored) => {
                // It is clear what is meant. Where it is not clear which nameless record goes
                // with it, none does.
                let own = Identity::of(stored);
                let absorbs = nameless.ok().flatten().filter(|other| own.agrees_with(other));
                Ok(Some(Target { stored, absorbs }))
            }
            None => self.of_user(user_name, nameless?, candidates),
        }
    }

    /// The user's token; `nameless` is the record of the same login, and says which of several.
    fn of_user<'c>(
        self,
        user_name: &str,
        nameless: Option<&'c OAuthToken>,
        candidates: &[&'c OAuthToken],
    ) -> Result<Option<Target<'c>>, StoreError> {
        let own = Identity {
            client_id: self.client_id.or(nameless.and_then(OAuthToken::client_id)),
            api_domain: self.api_domain.or(nameless.and_then(OAuthToken::api_domain)),
        };
        let named = own.only_one(candidates.iter().copied().filter(|candidate| {
            candidate.user_name() == Some(user_name) && own.agrees_with(candidate)
        }))?;
        Ok(match (named, nameless) {
            (Some(stored), absorbs) => Some(Target { stored, absorbs }),
            (None, Some(stored)) => Some(Target { stored, absorbs: None }),
            (None, None) => None,
        })
    }

    /// The token that has one of the values of `token`, by the precedence of rule 2.
    fn known_by_value<'c>(
        self,
        token: &OAuthToken,
        candidates: impl Iterator<Item = &'c OAuthToken> + Clone,
    ) -> Result<Option<&'c OAuthToken>, StoreError> {
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
            if found.is_some() {
                return Ok(found);
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

/// The candidate with this id: the row that a [`SavePlan::Update`] means.
///
/// # Errors
///
/// Ambiguous if several rows have this id, as a table without a primary key may hold them.
pub fn only<'a>(candidates: &'a [OAuthToken], id: &TokenId) -> Result<&'a OAuthToken, StoreError> {
    let mut found = candidates.iter().filter(|token| token.id() == Some(id));
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token),
        (first, _) => Err(StoreError::ambiguous(first.iter().map(|_| id.clone()).collect())),
    }
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
