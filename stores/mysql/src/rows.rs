//! Rows of the token table as tokens, and back.

use mysql_async::{Conn, Params, Row, Value, prelude::Queryable};
use tokenkeep_core::{Field, OAuthToken, StoreError, StoreErrorKind, Timestamp, TokenId};

use crate::{
    error::{Fault, is_duplicate},
    layout::Layout,
};

/// The ten columns of a row as they are stored.
pub(crate) type Columns = [Option<String>; 10];

/// A row as it is stored, and the token it stands for.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) columns: Columns,
    pub(crate) token: OAuthToken,
}

impl Stored {
    pub(crate) fn of(values: &mut impl Iterator<Item = Value>) -> Result<Self, Fault> {
        Self::new(columns(values)?)
    }

    pub(crate) fn new(columns: Columns) -> Result<Self, Fault> {
        Ok(Self { token: token_of(columns.clone())?, columns })
    }
}

/// The token in a row with the ten columns in their order.
pub(crate) fn token(row: Row) -> Result<OAuthToken, Fault> {
    token_of(columns(&mut row.unwrap().into_iter())?)
}

pub(crate) fn columns(values: &mut impl Iterator<Item = Value>) -> Result<Columns, Fault> {
    let mut columns: Columns = Default::default();
    for field in Field::ALL {
        columns[field as usize] = match text(values.next().unwrap_or(Value::NULL)) {
            Ok(text) => text,
            Err(NotText) => {
                let id = columns[0].as_deref().unwrap_or("of unknown id");
                return Err(corrupt(format!("{field} of token {id} is not UTF-8 text"))
                    .with_hint("correct that row, or delete it and log in again")
                    .into());
            }
        };
    }
    Ok(columns)
}

/// An expiry time that is none counts as absent.
fn token_of(mut columns: Columns) -> Result<OAuthToken, Fault> {
    let expiry = columns[Field::ExpiryTime as usize].take().and_then(|text| expiry(&text));
    let token = OAuthToken::from_columns(columns).map_err(StoreError::from)?;
    Ok(match expiry {
        Some(expiry) => token.with_expiry_time(expiry),
        None => token,
    })
}

pub(crate) fn expiry(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok().map(Timestamp::from_millis)
}

/// What is stored is no text.
#[derive(Debug)]
pub(crate) struct NotText;

pub(crate) fn text(value: Value) -> Result<Option<String>, NotText> {
    match value {
        Value::NULL => Ok(None),
        Value::Bytes(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_not_utf8) => Err(NotText),
        },
        Value::Int(number) => Ok(Some(number.to_string())),
        Value::UInt(number) => Ok(Some(number.to_string())),
        Value::Float(_) | Value::Double(_) | Value::Date(..) | Value::Time(..) => Err(NotText),
    }
}

/// A text as it is given to a statement.
pub(crate) fn value(text: Option<&str>) -> Value {
    text.map_or(Value::NULL, |text| Value::Bytes(text.as_bytes().to_vec()))
}

pub(crate) fn corrupt(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, message)
}

/// The id of a stored token.
pub(crate) fn id_of(token: &OAuthToken) -> Result<&TokenId, StoreError> {
    token.id().ok_or_else(|| {
        corrupt("a stored token has no id")
            .with_hint("give the row whose id is empty one of its own")
    })
}

/// The values of `fields` of a token, in their order, as they are written.
pub(crate) fn values_of(layout: &Layout, token: &OAuthToken, fields: &[Field]) -> Vec<Value> {
    let columns = token.expose_columns();
    let of = |field: &Field| value(columns[*field as usize].as_deref().or(layout.absent(*field)));
    fields.iter().map(of).collect()
}

/// What became of an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Done,
    /// There is such an id, or one that the table's collation counts as equal.
    IdTaken,
}

/// Inserts a row.
pub(crate) async fn insert(
    conn: &mut Conn,
    layout: &Layout,
    token: &OAuthToken,
) -> Result<Inserted, Fault> {
    let values = values_of(layout, token, &Field::ALL);
    match conn.exec_drop(&*layout.sql.insert, Params::Positional(values)).await {
        Ok(()) => {}
        Err(error) if is_duplicate(&error) => return Ok(Inserted::IdTaken),
        Err(error) => return Err(error.into()),
    }
    check_written(conn, layout, token).await?;
    Ok(Inserted::Done)
}

/// Writes the fields of `merged` that are not as in `stored`, and those that `given` clears.
pub(crate) async fn update(
    conn: &mut Conn,
    layout: &Layout,
    stored: &OAuthToken,
    merged: &OAuthToken,
    given: &OAuthToken,
) -> Result<(), Fault> {
    let changed = stored.fields_to_write(merged, given);
    if changed.is_empty() { Ok(()) } else { write(conn, layout, merged, &changed).await }
}

/// Writes `fields` of a row that is there.
pub(crate) async fn write(
    conn: &mut Conn,
    layout: &Layout,
    token: &OAuthToken,
    fields: &[Field],
) -> Result<(), Fault> {
    let mut values = values_of(layout, token, fields);
    let id = value(Some(id_of(token)?.as_str()));
    values.extend([id.clone(), id]);
    conn.exec_drop(layout.update(fields), Params::Positional(values)).await?;
    check_written(conn, layout, token).await
}

/// Triggers and types of columns that others have defined may change what is written.
pub(crate) async fn check_written(
    conn: &mut Conn,
    layout: &Layout,
    expected: &OAuthToken,
) -> Result<(), Fault> {
    if !layout.reads_back {
        return Ok(());
    }
    let id = id_of(expected)?;
    let written = by_id(conn, layout, id).await?;
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

/// The tokens that a statement selects.
pub(crate) async fn select(
    conn: &mut Conn,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<OAuthToken>, Fault> {
    let parameters = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
    let rows: Vec<Row> = conn.exec(sql, parameters).await?;
    rows.into_iter().map(token).collect()
}

/// The token with this id.
pub(crate) async fn by_id(
    conn: &mut Conn,
    layout: &Layout,
    id: &TokenId,
) -> Result<Option<OAuthToken>, Fault> {
    let sql = layout.by(Field::Id).unwrap_or(&layout.sql.all);
    let mut found = select(conn, sql, vec![value(Some(id.as_str()))]).await?;
    found.retain(|token| token.id() == Some(id));
    if found.len() > 1 {
        return Err(StoreError::ambiguous(vec![id.clone(); found.len()]).into());
    }
    Ok(found.pop())
}
