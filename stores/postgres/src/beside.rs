//! What belongs to a token beyond its ten fields: state and lease, as the side table has them.

use std::time::Duration;

use tokenkeep_core::{
    OAuthToken, SidecarEntry, StoreError, Timestamp, TokenId, TokenState,
    shared::lease::LeaseRecord,
};
use tokio_postgres::Row;

use crate::{config::invalid, error::corrupt, rows::value};

/// What is beside one token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// Its state is `None` where it cannot be read, too.
    pub(crate) known: SidecarEntry,
    /// The state as it is stored, whether it can be read or not.
    pub(crate) state: Option<String>,
}

/// Which columns an entry has, where they are not null: see [`Entry::read`].
pub(crate) const COLUMNS: &str = "user_name, client_id, state, lease_holder, lease_generation, \
     lease_until, lease_ttl";

impl Entry {
    /// The entry in the [columns](COLUMNS) of a row from `at` on.
    pub(crate) fn read(row: &Row, at: usize) -> Result<Self, StoreError> {
        let state: Option<String> = value(row, at + 2)?;
        let mut known = SidecarEntry::default();
        known.user_name = value(row, at)?;
        known.client_id = value(row, at + 1)?;
        known.state = state.as_deref().and_then(|text| serde_json::from_str(text).ok());
        known.lease = lease(row, at + 3)?;
        Ok(Self { known, state })
    }

    /// What is beside `token`, of which `stored` was read: nothing, if that belonged to somebody
    /// else.
    pub(crate) fn beside(token: &OAuthToken, stored: Option<&Self>) -> Self {
        let kept = stored.filter(|entry| entry.known.belongs_to(token)).cloned();
        let (known, state) = match kept {
            Some(kept) => (Some(kept.known), kept.state),
            None => (None, None),
        };
        Self { known: SidecarEntry::beside(token, known), state }
    }

    /// The state of the token `id`.
    pub(crate) fn state(self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        match (self.known.state, self.state) {
            (None, Some(_unreadable)) => {
                Err(corrupt(format!("the state of token {id} cannot be read"))
                    .with_hint("refresh the token or log in again: that writes it anew"))
            }
            (state, _) => Ok(state),
        }
    }

    /// The same with this state.
    pub(crate) fn with_state(self, state: TokenState) -> Result<Self, StoreError> {
        let mut known = self.known.clone();
        known.state = Some(state);
        Self::now(Some(&self), known)
    }

    /// What `before` has become: as it stands in the table, where the state is the same.
    pub(crate) fn now(before: Option<&Self>, known: SidecarEntry) -> Result<Self, StoreError> {
        let kept = before.filter(|before| before.known.state == known.state);
        let state = match (kept, &known.state) {
            (Some(before), _) => before.state.clone(),
            (None, Some(state)) => Some(serde_json::to_string(state).map_err(|error| {
                invalid("the state cannot be written as JSON").with_source(error)
            })?),
            (None, None) => None,
        };
        Ok(Self { known, state })
    }
}

fn lease(row: &Row, at: usize) -> Result<Option<LeaseRecord>, StoreError> {
    let whole = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let Some(generation) = whole(value(row, at + 1)?) else { return Ok(None) };
    let holder: Option<String> = value(row, at)?;
    let until: Option<i64> = value(row, at + 2)?;
    Ok(Some(LeaseRecord::new(
        holder.unwrap_or_default(),
        generation,
        Timestamp::from_millis(until.unwrap_or_default()),
        Duration::from_millis(whole(value(row, at + 3)?).unwrap_or_default()),
    )))
}
