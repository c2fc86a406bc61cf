//! One look at all tokens: rows as they lie in the table, and no token made of them.

use std::{
    borrow::Cow,
    fmt,
    sync::{Mutex, PoisonError},
};

use rusqlite::{Row, types::ValueRef};
use tokenkeep_core::{Columns, Field, Look, StoreError, StoreErrorKind, TokenId, TokenState};

use crate::{
    connection::Database,
    error::Fault,
    rows::{self, unreadable},
    shared::nameless,
    side::SideRow,
};

/// A look at all tokens, which is begun once.
pub(crate) struct Scan(Mutex<Option<Look>>);

impl Scan {
    pub(crate) fn new(look: Look) -> Self {
        Self(Mutex::new(Some(look)))
    }

    /// Shows every token to the look. What could not be read.
    pub(crate) fn run(database: &Database, scan: &Self) -> Result<Vec<String>, Fault> {
        let mut damage = Vec::new();
        let mut statement = database.statement(&database.layout().sql.entries)?;
        let mut rows = statement.query([])?;
        damage.extend(nameless(database)?);
        // What was shown cannot be shown again.
        let look = scan.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut look) = look else {
            let message = "the database was removed or replaced while it was read";
            return Err(StoreError::new(StoreErrorKind::Unavailable, message).into());
        };
        while let Some(row) = rows.next()? {
            let columns = match columns(row) {
                Ok(columns) => columns,
                Err(Fault::Store(error)) if error.kind() == StoreErrorKind::Corrupt => {
                    damage.push(error.to_string());
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            // It has been counted.
            let Some(id) = &columns[Field::Id as usize] else { continue };
            let state = match state(row, id, &columns) {
                Ok(state) => state,
                Err(Fault::Store(error)) if error.kind() == StoreErrorKind::Corrupt => {
                    damage.push(error.to_string());
                    None
                }
                Err(fault) => return Err(fault),
            };
            if look(&columns, state.as_ref()).is_break() {
                break;
            }
        }
        Ok(damage)
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").finish_non_exhaustive()
    }
}

/// The ten columns of a row, as the token in it would have them.
fn columns<'a>(row: &'a Row<'_>) -> Result<Columns<'a>, Fault> {
    let mut columns = Columns::default();
    for field in Field::ALL {
        columns[field as usize] = match (row.get_ref(field as usize)?, field) {
            (ValueRef::Null, _) => None,
            (value, Field::ExpiryTime) => expiry(value),
            (ValueRef::Integer(number), _) => Some(Cow::Owned(number.to_string())),
            (ValueRef::Real(number), _) => Some(Cow::Owned(number.to_string())),
            (ValueRef::Text(bytes) | ValueRef::Blob(bytes), _) => {
                let text = std::str::from_utf8(bytes);
                let text = text.map_err(|_not_utf8| unreadable(row, field))?;
                Some(Cow::Borrowed(text)).filter(|text| !text.is_empty())
            }
        };
    }
    Ok(columns)
}

/// An expiry time as it is written, which it mostly is already.
fn expiry(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    if let ValueRef::Text(digits @ [b'1'..=b'9', ..]) = value
        && digits.len() < 19
        && digits.iter().all(u8::is_ascii_digit)
    {
        return std::str::from_utf8(digits).ok().map(Cow::Borrowed);
    }
    rows::expiry(value).map(|expiry| Cow::Owned(expiry.as_millis().to_string()))
}

/// What is known of the token with these columns, if what is beside it is its own.
fn state(row: &Row<'_>, id: &str, columns: &Columns<'_>) -> Result<Option<TokenState>, Fault> {
    if row.get_ref(12)? == ValueRef::Null {
        return Ok(None);
    }
    let beside = SideRow::in_row(row, 10)?;
    let is = |ours: &Option<String>, field: Field| {
        ours.is_none() || ours.as_deref() == columns[field as usize].as_deref()
    };
    if !is(&beside.entry.user_name, Field::UserName)
        || !is(&beside.entry.client_id, Field::ClientId)
    {
        return Ok(None);
    }
    let state = beside.state(&TokenId::new(id).map_err(StoreError::from)?)?;
    Ok(state.map(|mut state| {
        state.in_flight = None;
        state
    }))
}
