//! Rows of the token table as tokens, and back.

use std::borrow::Cow;

use rusqlite::{
    Connection, Row, Statement, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use tokenkeep_core::{Field, OAuthToken, StoreError, StoreErrorKind, Timestamp, TokenId};

use crate::{
    error::{Fault, corrupt},
    layout::Layout,
};

/// The token in a row with the ten columns in their order, which must have an id.
pub(crate) fn identified(row: &Row<'_>) -> Result<OAuthToken, Fault> {
    let token = token(row)?;
    id_of(&token)?;
    Ok(token)
}

/// Whether a row with the ten columns in their order has this very value in this field.
pub(crate) fn has(row: &Row<'_>, field: Field, value: Option<&str>) -> Result<bool, Fault> {
    Ok(match (row.get_ref(field as usize)?, value) {
        (ValueRef::Text(stored), Some(value)) => stored == value.as_bytes(),
        _ => false,
    })
}

/// Whether a row with the ten columns in their order has this id.
pub(crate) fn has_id(row: &Row<'_>, id: &TokenId) -> Result<bool, Fault> {
    Ok(match row.get_ref(Field::Id as usize)? {
        ValueRef::Text(stored) | ValueRef::Blob(stored) => stored == id.as_str().as_bytes(),
        ValueRef::Integer(number) => number.to_string() == id.as_str(),
        ValueRef::Real(number) => number.to_string() == id.as_str(),
        ValueRef::Null => false,
    })
}

/// The token in a row with the ten columns in their order.
pub(crate) fn token(row: &Row<'_>) -> Result<OAuthToken, Fault> {
    let mut columns: [Option<String>; 10] = Default::default();
    for field in Field::ALL.into_iter().filter(|field| *field != Field::ExpiryTime) {
        columns[field as usize] = text(row, field as usize, field)?;
    }
    let token = OAuthToken::from_columns(columns).map_err(StoreError::from)?;
    Ok(match expiry(row.get_ref(Field::ExpiryTime as usize)?) {
        Some(expiry) => token.with_expiry_time(expiry),
        None => token,
    })
}

/// An expiry time; others write what is none.
pub(crate) fn expiry(value: ValueRef<'_>) -> Option<Timestamp> {
    match value {
        ValueRef::Integer(millis) => Some(Timestamp::from_millis(millis)),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            let text = std::str::from_utf8(text).ok()?;
            text.trim().parse().ok().map(Timestamp::from_millis)
        }
        ValueRef::Real(_) | ValueRef::Null => None,
    }
}

/// Whether a text is an expiry time.
pub(crate) fn is_expiry(text: &str) -> bool {
    expiry(ValueRef::Text(text.as_bytes())).is_some()
}

/// The text at `at`, where `field` stands; `None` if it is null or empty.
pub(crate) fn text(row: &Row<'_>, at: usize, field: Field) -> Result<Option<String>, Fault> {
    let bytes = match row.get_ref(at)? {
        ValueRef::Null => return Ok(None),
        ValueRef::Integer(number) => return Ok(Some(number.to_string())),
        ValueRef::Real(number) => return Ok(Some(number.to_string())),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
    };
    match std::str::from_utf8(bytes) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_not_utf8) => Err(unreadable(row, field).into()),
    }
}

pub(crate) fn unreadable(row: &Row<'_>, field: Field) -> StoreError {
    let id = match row.get_ref(0) {
        Ok(ValueRef::Text(id)) if field != Field::Id => String::from_utf8_lossy(id).into_owned(),
        _ => "of unknown id".to_owned(),
    };
    corrupt(format!("{field} of token {id} is not UTF-8 text"))
        .with_hint("correct that row, or delete it and log in again")
}

/// The id of a stored token.
pub(crate) fn id_of(token: &OAuthToken) -> Result<&TokenId, StoreError> {
    token.id().ok_or_else(|| {
        corrupt("a stored token has no id")
            .with_hint("give the row whose id is empty one of its own")
    })
}

/// A column's value as it is bound to a statement: text, or what absence is written as.
struct Value<'a>(Option<Cow<'a, str>>);

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            Some(text) => ValueRef::Text(text.as_bytes()),
            None => ValueRef::Null,
        }))
    }
}

/// Inserts a row.
pub(crate) fn insert(
    connection: &Connection,
    layout: &Layout,
    token: &OAuthToken,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&layout.sql.insert)?;
    for (field, value) in Field::ALL.into_iter().zip(token.expose_columns()) {
        bind(&mut statement, layout, field, value)?;
    }
    statement.raw_execute()?;
    check_written(connection, layout, token)
}

/// Binds a field's value to its place in an insert.
pub(crate) fn bind(
    statement: &mut Statement<'_>,
    layout: &Layout,
    field: Field,
    value: Option<Cow<'_, str>>,
) -> Result<(), Fault> {
    let value = value.or_else(|| layout.absent(field).map(Cow::Borrowed));
    Ok(statement.raw_bind_parameter(field as usize + 1, Value(value))?)
}

/// Triggers and types of columns that others have defined may change what is written, or drop it.
fn check_written(
    connection: &Connection,
    layout: &Layout,
    expected: &OAuthToken,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(&layout.sql.by_id)?;
    let mut rows = statement.query([id_of(expected)?.as_str()])?;
    let written = rows.next()?.map(token).transpose()?;
    if written.is_some_and(|written| written.expose_columns() == expected.expose_columns()) {
        return Ok(());
    }
    Err(StoreError::new(
        StoreErrorKind::Invalid,
        format!("table {} does not keep the token as it is saved", layout.table),
    )
    .with_hint("see the table's triggers, and the types of its columns: they should be varchar")
    .into())
}

/// Writes the fields of `merged` that are not as in `stored`, and those that `given` clears; so
/// indices of untouched columns need not be written.
pub(crate) fn update(
    connection: &Connection,
    layout: &Layout,
    stored: &OAuthToken,
    merged: &OAuthToken,
    given: &OAuthToken,
) -> Result<(), Fault> {
    let mut after = merged.expose_columns();
    let changed = stored.fields_to_write(merged, given);
    if changed.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(&layout.update(&changed))?;
    statement.raw_bind_parameter(1, id_of(stored)?.as_str())?;
    for (at, field) in changed.into_iter().enumerate() {
        let value = after[field as usize].take();
        let value = value.or_else(|| layout.absent(field).map(Cow::Borrowed));
        statement.raw_bind_parameter(at + 2, Value(value))?;
    }
    statement.raw_execute()?;
    check_written(connection, layout, merged)
}
