//! What belongs to a token beyond its ten fields: state and lease, in the side table.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params, types::ValueRef};
use tokenkeep_core::{
    OAuthToken, SidecarEntry, StoreError, StoreErrorKind, Timestamp, TokenId, TokenState,
    shared::lease::LeaseRecord,
};

use crate::{
    connection::Database,
    error::{Fault, corrupt},
    layout::Beside,
    rows::id_of,
};

/// What is beside one token, as it stands in the side table.
#[derive(Debug, Default)]
pub(crate) struct SideRow {
    /// Whose it is, and the lease.
    pub(crate) entry: SidecarEntry,
    /// The state, whether it can be read or not.
    state: Option<Vec<u8>>,
}

impl SideRow {
    /// What is beside `token`; nothing, if it belonged to somebody else.
    pub(crate) fn of(database: &Database, token: &OAuthToken) -> Result<Self, Fault> {
        Ok(Self::stored(database, id_of(token)?)?.unwrap_or_default().if_of(token))
    }

    /// What stands in the side table for the token `id`, whosever it is.
    fn stored(database: &Database, id: &TokenId) -> Result<Option<Self>, Fault> {
        if database.layout().beside == Beside::Nothing {
            return Ok(None);
        }
        let mut statement = database.statement(&database.layout().sql.side_read)?;
        let found = statement.query_row([id.as_str()], |row| {
            let mut found = Self::in_row(row, 0)?;
            found.entry.lease = lease_in(row)?;
            Ok(found)
        });
        Ok(found.optional()?)
    }

    /// The user, the client and the state, in a row's columns from `at` on.
    pub(crate) fn in_row(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        let mut found = Self { state: state_in(row, at + 2)?, ..Self::default() };
        found.entry.user_name = row.get(at)?;
        found.entry.client_id = row.get(at + 1)?;
        Ok(found)
    }

    /// The same; nothing, if it belonged to somebody else than `token`.
    pub(crate) fn if_of(self, token: &OAuthToken) -> Self {
        if self.entry.belongs_to(token) { self } else { Self::default() }
    }

    /// The state of the token `id`.
    pub(crate) fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        self.state.as_deref().map(|text| parse_state(id, text)).transpose()
    }

    /// The state, or nothing if it cannot be read.
    pub(crate) fn readable_state(&self) -> Option<TokenState> {
        serde_json::from_slice(self.state.as_deref()?).ok()
    }
}

/// A state as it is stored, whether it can be read or not.
fn state_in(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Vec<u8>>> {
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
fn parse_state(id: &TokenId, text: &[u8]) -> Result<TokenState, StoreError> {
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
        StoreError::new(StoreErrorKind::Invalid, "the state cannot be written as JSON")
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
    beside: &SideRow,
) -> Result<(), Fault> {
    let Some(record) = &beside.entry.lease else { return Ok(()) };
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
    if let Some(state) = SideRow::of(database, absorbed)?.readable_state()
        && SideRow::of(database, token)?.state.is_none()
    {
        write_state(database, token, &state)?;
    }
    forget(database, id_of(absorbed)?)
}

/// Forgets what is beside `token` if it belonged to somebody else.
fn disown(database: &Database, token: &OAuthToken) -> Result<(), Fault> {
    let id = id_of(token)?;
    match SideRow::stored(database, id)? {
        Some(stored) if !stored.entry.belongs_to(token) => forget(database, id),
        Some(_) | None => Ok(()),
    }
}
