//! What belongs to a token beyond its ten fields: state and lease, in the side table.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params, types::ValueRef};
use tokenkeep_core::{
    Lease, OAuthToken, Timestamp, TokenId, TokenState, shared::lease::LeaseRecord,
};

use crate::{
    connection::Database,
    error::{Fault, corrupt},
    layout::Beside,
    rows::id_of,
};

/// Whose token it was when something was written beside it: an id that an SDK has given to
/// another user since does not inherit it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) user_name: Option<&'a str>,
    pub(crate) client_id: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(token: &'a OAuthToken) -> Self {
        Self { user_name: token.user_name(), client_id: token.client_id() }
    }

    /// Whether what was written for this subject belongs to a token of `now`. A name that was not
    /// known then may have been learnt.
    pub(crate) fn is_still(self, now: Subject<'_>) -> bool {
        let same = |then: Option<&str>, now: Option<&str>| then.is_none() || then == now;
        same(self.user_name, now.user_name) && same(self.client_id, now.client_id)
    }
}

/// What is beside one token.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    state: Option<Vec<u8>>,
    pub(crate) lease: Option<LeaseRecord>,
}

impl Entry {
    /// What is beside `token`; nothing, if it belonged to somebody else.
    pub(crate) fn of(database: &Database, token: &OAuthToken) -> Result<Self, Fault> {
        if database.layout().beside == Beside::Nothing {
            return Ok(Self::default());
        }
        let mut statement = database.statement(&database.layout().sql.side_read)?;
        let found = statement
            .query_row([id_of(token)?.as_str()], |row| {
                let (user_name, client_id): (Option<String>, Option<String>) =
                    (row.get(0)?, row.get(1)?);
                let then =
                    Subject { user_name: user_name.as_deref(), client_id: client_id.as_deref() };
                if !then.is_still(Subject::of(token)) {
                    return Ok(Self::default());
                }
                Ok(Self { state: state_in(row, 2)?, lease: lease_in(row)? })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }

    /// The state.
    pub(crate) fn state(&self, id: &TokenId) -> Result<Option<TokenState>, Fault> {
        Ok(self.state.as_deref().map(|text| parse_state(id, text)).transpose()?)
    }

    /// The state, or nothing if it cannot be read.
    pub(crate) fn readable_state(&self) -> Option<TokenState> {
        serde_json::from_slice(self.state.as_deref()?).ok()
    }
}

/// A state as it is stored, whether it can be read or not.
pub(crate) fn state_in(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    Ok(match row.get_ref(at)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
        // A number is no state.
        ValueRef::Integer(_) | ValueRef::Real(_) => Some(Vec::new()),
    })
}

fn lease_in(row: &Row<'_>) -> rusqlite::Result<Option<LeaseRecord>> {
    let generation: Option<i64> = row.get(4)?;
    let Some(generation) = generation.and_then(|number| u64::try_from(number).ok()) else {
        return Ok(None);
    };
    let holder: Option<String> = row.get(3)?;
    let until: Option<i64> = row.get(5)?;
    let ttl: Option<i64> = row.get(6)?;
    Ok(Some(LeaseRecord::new(
        holder.unwrap_or_default(),
        generation,
        Timestamp::from_millis(until.unwrap_or_default()),
        Duration::from_millis(ttl.and_then(|ttl| u64::try_from(ttl).ok()).unwrap_or_default()),
    )))
}

/// Reads a state as it is stored.
pub(crate) fn parse_state(
    id: &TokenId,
    text: &[u8],
) -> Result<TokenState, tokenkeep_core::StoreError> {
    serde_json::from_slice(text).map_err(|_not_a_state| {
        corrupt(format!("the state of token {id} cannot be read"))
            .with_hint("refresh the token or log in again: that writes it anew")
    })
}

/// Writes the state of a token. A lease that belonged to somebody else goes.
pub(crate) fn write_state(
    database: &Database,
    token: &OAuthToken,
    state: &TokenState,
) -> Result<(), Fault> {
    let json = serde_json::to_string(state).map_err(|error| {
        tokenkeep_core::StoreError::new(
            tokenkeep_core::StoreErrorKind::Invalid,
            "the state cannot be written as JSON",
        )
        .with_source(error)
    })?;
    disown(database, token)?;
    database.statement(&database.layout().sql.side_state)?.execute(params![
        id_of(token)?.as_str(),
        token.user_name(),
        token.client_id(),
        json
    ])?;
    Ok(())
}

/// Writes the lease of a token. A state that belonged to somebody else goes.
pub(crate) fn write_lease(
    database: &Database,
    token: &OAuthToken,
    record: &LeaseRecord,
) -> Result<(), Fault> {
    disown(database, token)?;
    database.statement(&database.layout().sql.side_lease)?.execute(params![
        id_of(token)?.as_str(),
        token.user_name(),
        token.client_id(),
        record.holder,
        i64::try_from(record.generation).unwrap_or(i64::MAX),
        record.until.as_millis(),
        i64::try_from(record.ttl_ms).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}

/// Whether `lease` is the newest one of `token`.
pub(crate) fn holds(database: &Database, token: &OAuthToken, lease: &Lease) -> Result<bool, Fault> {
    let entry = Entry::of(database, token)?;
    Ok(token.id() == Some(&lease.token_id) && entry.lease.is_some_and(|record| record.is(lease)))
}

/// Forgets what is beside the token `id`.
pub(crate) fn forget(database: &Database, id: &TokenId) -> Result<(), Fault> {
    database.statement(&database.layout().sql.side_delete)?.execute([id.as_str()])?;
    Ok(())
}

/// Keeps what is beside `stored` with it when its user or client becomes another.
pub(crate) fn follow(
    database: &Database,
    stored: &OAuthToken,
    now: &OAuthToken,
) -> Result<(), Fault> {
    if stored.user_name() == now.user_name() && stored.client_id() == now.client_id() {
        return Ok(());
    }
    disown(database, stored)?;
    database.statement(&database.layout().sql.side_subject)?.execute(params![
        id_of(stored)?.as_str(),
        now.user_name(),
        now.client_id()
    ])?;
    Ok(())
}

/// Moves the state of `absorbed` to `token`, where nothing is known of that yet.
pub(crate) fn absorb(
    database: &Database,
    absorbed: &OAuthToken,
    token: &OAuthToken,
) -> Result<(), Fault> {
    if let Some(state) = Entry::of(database, absorbed)?.readable_state()
        && Entry::of(database, token)?.state.is_none()
    {
        write_state(database, token, &state)?;
    }
    forget(database, id_of(absorbed)?)
}

/// Forgets what is beside `token` if it belonged to somebody else.
fn disown(database: &Database, token: &OAuthToken) -> Result<(), Fault> {
    let id = id_of(token)?;
    let mut statement = database.statement(&database.layout().sql.side_read)?;
    let stale = statement
        .query_row([id.as_str()], |row| {
            let (user_name, client_id): (Option<String>, Option<String>) =
                (row.get(0)?, row.get(1)?);
            let then = Subject { user_name: user_name.as_deref(), client_id: client_id.as_deref() };
            Ok(!then.is_still(Subject::of(token)))
        })
        .optional()?;
    if stale == Some(true) { forget(database, id) } else { Ok(()) }
}
