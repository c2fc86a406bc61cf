//! Values on their way to and from the server.

use std::{error::Error, fmt};

use tokenkeep_core::{Field, OAuthToken, StoreError, Timestamp, TokenId};
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut},
};

use crate::error::corrupt;

/// A parameter. The driver writes parameters to its log as their `Debug` is, which shows nothing.
pub(crate) struct Hidden<T>(pub(crate) T);

/// The parameters of a statement.
pub(crate) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl<T: ToSql> ToSql for Hidden<T> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        T::accepts(kind)
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.0.to_sql_checked(kind, out)
    }
}

/// A column as it comes: in a database that knows no encoding it may be no UTF-8.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }
}

/// What is at `at` in a row, of a type that the statement has.
pub(crate) fn value<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at).map_err(|_shows_the_column| {
        corrupt("the server answers with another type than was asked for")
    })
}

/// The text at `at`, of `field`; `None` if it is null or empty.
pub(crate) fn text(row: &Row, at: usize, field: Field) -> Result<Option<String>, StoreError> {
    let Some(Raw(bytes)) = value::<Option<Raw<'_>>>(row, at)? else { return Ok(None) };
    match std::str::from_utf8(bytes) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_not_utf8) => {
            let id = match value::<Option<Raw<'_>>>(row, 0)? {
                Some(Raw(id)) if field != Field::Id => String::from_utf8_lossy(id).into_owned(),
                _ => "of unknown id".to_owned(),
            };
            Err(corrupt(format!("{field} of token {id} is not UTF-8 text"))
                .with_hint("correct that row, or delete it and log in again"))
        }
    }
}

/// The token in a row that begins with the ten columns in their order.
pub(crate) fn token(row: &Row) -> Result<OAuthToken, StoreError> {
    let mut columns: [Option<String>; 10] = Default::default();
    for field in Field::ALL {
        columns[field as usize] = text(row, field as usize, field)?;
    }
    // Others write what is no time.
    let expiry = columns[Field::ExpiryTime as usize].take().as_deref().and_then(expiry);
    let token = OAuthToken::from_columns(columns)?;
    Ok(match expiry {
        Some(expiry) => token.with_expiry_time(expiry),
        None => token,
    })
}

/// An expiry time, if the text is one.
pub(crate) fn expiry(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok().map(Timestamp::from_millis)
}

/// The token in such a row, which must have an id.
pub(crate) fn identified(row: &Row) -> Result<OAuthToken, StoreError> {
    let token = token(row)?;
    id_of(&token)?;
    Ok(token)
}

/// The id of a stored token.
pub(crate) fn id_of(token: &OAuthToken) -> Result<&TokenId, StoreError> {
    token.id().ok_or_else(|| {
        corrupt("a stored token has no id")
            .with_hint("give the row whose id is empty one of its own")
    })
}
