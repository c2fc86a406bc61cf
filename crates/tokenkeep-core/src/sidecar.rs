//! [`Sidecar`]: state and leases of the tokens of one store, for stores that keep them whole.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    Lease, LeaseAttempt, OAuthToken, Replaced, StateReplaced, StoreError, StoreErrorKind,
    Timestamp, TokenId, TokenMeta, TokenState, TokenTable,
    shared::Page,
    shared::lease::{self, LeaseRecord},
};

/// What belongs to the tokens of a [`TokenTable`] beyond their ten fields: state, leases, and the
/// last id given. Holds no secret; its serialised form is the file store's side file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sidecar {
    /// The format's version.
    #[serde(default)]
    pub version: u32,
    /// The largest number given as an id.
    #[serde(default)]
    pub last_id: u64,
    /// By token.
    #[serde(default)]
    pub tokens: BTreeMap<TokenId, SidecarEntry>,
}

/// What belongs to one token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SidecarEntry {
    /// Whose token it was when this was written: an id that an official SDK has given to another
    /// user since does not inherit this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// The client it was given to then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TokenState>,
    /// Its newest lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseRecord>,
}

impl SidecarEntry {
    /// What is beside `token`, of which `stored` was read: a new entry if there is none, or if it
    /// belonged to somebody else.
    #[must_use]
    pub fn beside(token: &OAuthToken, stored: Option<Self>) -> Self {
        let kept = stored.filter(|entry| entry.belongs_to(token)).unwrap_or_default();
        Self {
            user_name: token.user_name().map(str::to_owned),
            client_id: token.client_id().map(str::to_owned),
            ..kept
        }
    }

    /// Whether this was written beside `token`, or beside what has become it: a name that was not
    /// known then may have been learnt.
    #[must_use]
    pub fn belongs_to(&self, token: &OAuthToken) -> bool {
        let same = |ours: Option<&str>, theirs: Option<&str>| ours.is_none() || ours == theirs;
        same(self.user_name.as_deref(), token.user_name())
            && same(self.client_id.as_deref(), token.client_id())
    }

    /// Writes the state, if that still is `expected`.
    pub fn replace_state(
        &mut self,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> StateReplaced {
        if self.state.as_ref() != expected {
            return StateReplaced::Changed(self.state.clone().map(Box::new));
        }
        self.state = Some(state.clone());
        StateReplaced::Written
    }

    /// Takes the lease of the token `id`, whose entry this is, if nobody has it.
    pub fn try_lease(
        &mut self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> LeaseAttempt {
        match lease::take(self.lease.as_ref(), holder, ttl, now) {
            Ok(record) => {
                let granted = Lease::from_record(id.clone(), &record);
                self.lease = Some(record);
                LeaseAttempt::Granted(granted)
            }
            Err(until) => LeaseAttempt::Held { until },
        }
    }

    /// Moves the end of `lease`; `None` if it has passed to somebody else.
    pub fn renew_lease(&mut self, lease: &Lease, ttl: Duration, now: Timestamp) -> Option<Lease> {
        let record = lease::renew(self.lease.as_ref(), lease, ttl, now)?;
        let renewed = Lease::from_record(lease.token_id.clone(), &record);
        self.lease = Some(record);
        Some(renewed)
    }

    /// Gives `lease` back; `false` if it had passed to somebody else.
    pub fn release_lease(&mut self, lease: &Lease) -> bool {
        match lease::release(self.lease.as_ref(), lease) {
            Some(record) => {
                self.lease = Some(record);
                true
            }
            None => false,
        }
    }

    /// Whether `lease` is the newest one.
    #[must_use]
    pub fn holds(&self, lease: &Lease) -> bool {
        self.lease.as_ref().is_some_and(|record| record.is(lease))
    }
}

/// What a compare-and-swap comes to: `token` in the place of `expected`, where `stored` is what
/// is stored under the id of `expected` now, and `entry` what is beside it.
///
/// The answer is [`Replaced::Saved`] with the token to write, or says why nothing is written.
///
/// # Errors
///
/// Invalid if `expected` has no id.
pub fn plan_replace(
    stored: Option<OAuthToken>,
    entry: Option<&SidecarEntry>,
    expected: &OAuthToken,
    token: &OAuthToken,
    fence: Option<&Lease>,
) -> Result<Replaced, StoreError> {
    let id = expected.id().ok_or_else(|| {
        StoreError::new(StoreErrorKind::Invalid, "the expected token has no id")
            .with_hint("pass the token as the store returned it")
    })?;
    let is_held = |lease: &Lease| {
        lease.token_id == *id
            && entry
                .zip(stored.as_ref())
                .is_some_and(|(entry, stored)| entry.holds(lease) && entry.belongs_to(stored))
    };
    if fence.is_some_and(|lease| !is_held(lease)) {
        return Ok(Replaced::LeaseLost(stored));
    }
    match stored {
        Some(stored) if stored == *expected => Ok(Replaced::Saved(stored.merged_with(token))),
        other => Ok(Replaced::Changed(other)),
    }
}

impl Sidecar {
    /// The version this code writes.
    pub const VERSION: u32 = 1;

    /// Drops what belongs to a token that is gone or has become another one.
    pub fn retain(&mut self, table: &TokenTable) {
        self.tokens.retain(|id, entry| {
            table.find_by_id(id).ok().flatten().is_some_and(|token| entry.belongs_to(token))
        });
    }

    /// Forgets one token.
    pub fn remove(&mut self, id: &TokenId) {
        self.tokens.remove(id);
    }

    /// Forgets what is kept under the id of `token` if it belonged to another token: an official
    /// SDK gives the id of a deleted token again.
    pub fn disown(&mut self, token: &OAuthToken) {
        if let Some(id) = token.id()
            && self.tokens.get(id).is_some_and(|entry| !entry.belongs_to(token))
        {
            self.tokens.remove(id);
        }
    }

    /// Moves what is known of `from` to `to`, where nothing is known of `to` yet.
    pub fn absorb(&mut self, from: &TokenId, to: &OAuthToken) {
        let Some(absorbed) = self.tokens.remove(from) else { return };
        if let Some(entry) = self.entry(to)
            && entry.state.is_none()
        {
            entry.state = absorbed.state;
        }
    }

    /// What is known of `token`.
    #[must_use]
    pub fn state(&self, token: &OAuthToken) -> Option<&TokenState> {
        self.tokens.get(token.id()?).filter(|entry| entry.belongs_to(token))?.state.as_ref()
    }

    /// Writes what is known of `token`, if that still is `expected`.
    pub fn replace_state(
        &mut self,
        token: &OAuthToken,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> StateReplaced {
        if self.state(token) != expected {
            return StateReplaced::Changed(self.state(token).cloned().map(Box::new));
        }
        match self.entry(token) {
            Some(entry) => entry.replace_state(expected, state),
            None => StateReplaced::NoToken,
        }
    }

    /// Takes the lease of `token`, if nobody has it.
    pub fn try_lease(
        &mut self,
        token: &OAuthToken,
        holder: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> LeaseAttempt {
        match (token.id().cloned(), self.entry(token)) {
            (Some(id), Some(entry)) => entry.try_lease(&id, holder, ttl, now),
            _ => LeaseAttempt::NoToken,
        }
    }

    /// Moves the end of `lease`; `None` if it has passed to somebody else.
    pub fn renew_lease(&mut self, lease: &Lease, ttl: Duration, now: Timestamp) -> Option<Lease> {
        self.tokens.get_mut(&lease.token_id)?.renew_lease(lease, ttl, now)
    }

    /// Gives `lease` back; `false` if it had passed to somebody else.
    pub fn release_lease(&mut self, lease: &Lease) -> bool {
        self.tokens.get_mut(&lease.token_id).is_some_and(|entry| entry.release_lease(lease))
    }

    /// Whether `lease` is the newest one of its token.
    #[must_use]
    pub fn holds(&self, lease: &Lease) -> bool {
        self.tokens.get(&lease.token_id).is_some_and(|entry| entry.holds(lease))
    }

    /// Puts `token` in the place of `expected` in `table`, if that is still there and `fence`
    /// holds. The table is changed only when the answer is [`Replaced::Saved`].
    ///
    /// # Errors
    ///
    /// Invalid if `expected` has no id; Ambiguous if storage held several rows with that id.
    pub fn replace(
        &self,
        table: &mut TokenTable,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let replaced = self.plan_replace(table, expected, token, fence)?;
        if let Replaced::Saved(merged) = &replaced
            && let Some(id) = merged.id()
        {
            table.put(id, merged.clone());
        }
        Ok(replaced)
    }

    /// What [`replace`](Self::replace) would do, for stores that write before they change their
    /// table.
    ///
    /// # Errors
    ///
    /// Invalid if `expected` has no id; Ambiguous if storage held several rows with that id.
    pub fn plan_replace(
        &self,
        table: &TokenTable,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let id = expected.id();
        let stored = id.map(|id| table.find_by_id(id)).transpose()?.flatten().cloned();
        let entry = id.and_then(|id| self.tokens.get(id));
        plan_replace(stored, entry, expected, token, fence)
    }

    /// The next at most `limit` tokens of `table` after `after`.
    #[must_use]
    pub fn page(&self, table: &TokenTable, after: Option<&TokenId>, limit: usize) -> Page {
        let mut rest = table
            .sorted()
            .into_iter()
            .filter(|token| after.is_none_or(|after| token.id() > Some(after)));
        let tokens: Vec<_> = rest
            .by_ref()
            .take(limit)
            .filter_map(|token| TokenMeta::of(token, self.state(token).cloned()))
            .collect();
        let next = rest.next().and_then(|_| tokens.last()).map(|last| last.id.clone());
        Page::new(tokens, next)
    }

    /// The entry of `token`, a new one if there is none or it belonged to somebody else.
    fn entry(&mut self, token: &OAuthToken) -> Option<&mut SidecarEntry> {
        let id = token.id()?;
        let entry = SidecarEntry::beside(token, self.tokens.remove(id));
        Some(self.tokens.entry(id.clone()).or_insert(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(user: &str) -> OAuthToken {
        let token = OAuthToken::builder().id("1").user_name(user).access_token("test-access");
        token.build().unwrap()
    }

    #[test]
    fn who_gets_an_id_after_another_user_gets_neither_state_nor_lease() {
        let (alice, bob) = (token("alice@example.com"), token("bob@example.com"));
        let mut sidecar = Sidecar::default();
        sidecar.replace_state(&alice, None, &TokenState::default());
        let ttl = Duration::from_secs(60);
        let attempt = sidecar.try_lease(&alice, "alice", ttl, Timestamp::default());
        let LeaseAttempt::Granted(lease) = attempt else { panic!("nobody has it") };

        let mut table = TokenTable::new();
        table.load(bob.clone()).unwrap();
        let replaced = sidecar.replace(&mut table, &bob, &bob, Some(&lease)).unwrap();
        assert_eq!(replaced, Replaced::LeaseLost(Some(bob.clone())));
        assert_eq!(sidecar.state(&bob), None);
        sidecar.disown(&alice);
        assert!(sidecar.holds(&lease));
        sidecar.disown(&bob);
        assert!(!sidecar.holds(&lease));
    }
}
