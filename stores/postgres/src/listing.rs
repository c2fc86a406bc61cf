//! Pages: tokens in the order of ids, without their secrets.

use tokenkeep_core::{Field, OAuthToken, Operation, Page, StoreError, TokenId, TokenMeta};
use tokio_postgres::{Row, types::ToSql};

use crate::{
    beside::Entry,
    error::corrupt,
    layout::Query,
    rows::{self, Hidden, value},
    shared::entry,
    store::PostgresStore,
};

/// Where a listing begins: after a number, or after another id, which all come after the numbers.
pub(crate) enum After<'a> {
    Number(i64),
    Text(&'a str),
}

impl<'a> After<'a> {
    /// After `id`, or from the beginning. Numbers that the server cannot count to are texts to it.
    pub(crate) fn new(id: Option<&'a TokenId>) -> Self {
        let number = |id: &TokenId| i64::try_from(id.number()?).ok().filter(|n| *n < NO_NUMBER);
        match id {
            None => Self::Number(-1),
            Some(id) => number(id).map_or(Self::Text(id.as_str()), Self::Number),
        }
    }

    /// The text that those with other ids come after. Those after one that cannot be stored are
    /// after what that begins with.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Self::Number(_) => "",
            Self::Text(text) => text.split('\0').next().unwrap_or_default(),
        }
    }
}

/// The first that has too many digits.
const NO_NUMBER: i64 = 1_000_000_000_000_000_000;

impl PostgresStore {
    pub(crate) async fn list(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let operation = Operation::Page;
        let mut listed = Vec::new();
        let mut damage = Vec::new();
        if after.is_none() {
            damage.extend(self.nameless(operation).await?);
        }
        // One more, to know whether there is another page.
        let wanted = limit.saturating_add(1);
        let from = After::new(after);
        if let After::Number(number) = from {
            listed = self.next(Query::PageOfNumbers, &Hidden(number), wanted).await?;
        }
        if listed.len() < wanted {
            let left = wanted - listed.len();
            listed.extend(self.next(Query::PageOfTexts, &Hidden(from.text()), left).await?);
        }
        let more = listed.len() > limit;
        listed.truncate(limit);
        let mut tokens = Vec::with_capacity(listed.len());
        for (meta, unreadable) in listed {
            tokens.push(meta);
            damage.extend(unreadable);
        }
        let next = tokens.last().filter(|_| more).map(|last: &TokenMeta| last.id.clone());
        Ok(Page::new(tokens, next).with_damage(damage))
    }

    async fn next(
        &self,
        query: Query,
        after: &(dyn ToSql + Sync),
        limit: usize,
    ) -> Result<Vec<(TokenMeta, Option<String>)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let decode = |rows: Vec<Row>| rows.iter().map(meta).collect();
        self.pool.read_much(Operation::Page, query, &[after, &limit], decode).await
    }

    /// Rows without an id stand on no page.
    pub(crate) async fn nameless(
        &self,
        operation: Operation,
    ) -> Result<Option<String>, StoreError> {
        let decode = |rows: Vec<Row>| rows.first().map(|row| value::<i64>(row, 0)).transpose();
        let count = self.pool.read_much(operation, Query::Nameless, &[], decode).await?;
        let count = count.unwrap_or_default();
        Ok((count > 0).then(|| format!("rows without an id: {count}")))
    }
}

/// The metadata in a row of a page, and what of it cannot be read.
fn meta(row: &Row) -> Result<(TokenMeta, Option<String>), StoreError> {
    let mut columns: [Option<String>; 10] = Default::default();
    let shown = [Field::Id, Field::UserName, Field::ClientId, Field::ApiDomain, Field::ExpiryTime];
    for (at, field) in shown.into_iter().enumerate() {
        columns[field as usize] = rows::text(row, at, field)?;
    }
    let expiry = &mut columns[Field::ExpiryTime as usize];
    *expiry = expiry.take().filter(|text| rows::expiry(text).is_some());
    let bare = OAuthToken::from_columns(columns)?;
    let id = rows::id_of(&bare)?.clone();

    let (state, damage) = match Entry::beside(&bare, entry(row, 9)?.as_ref()).state(&id) {
        Ok(state) => (state, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut meta =
        TokenMeta::of(&bare, state).ok_or_else(|| corrupt("a stored token has no id"))?;
    meta.has_access_token = value(row, 5)?;
    meta.has_refresh_token = value(row, 6)?;
    meta.has_grant_token = value(row, 7)?;
    meta.has_client_secret = value(row, 8)?;
    Ok((meta, damage))
}
