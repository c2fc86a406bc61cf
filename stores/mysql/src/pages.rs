//! Listing by pages in the order of ids: numbers by number, then texts by their bytes.

use mysql_async::{Conn, Params, Row, Value, prelude::Queryable};
use tokenkeep_core::{Entries, Entry, OAuthToken, Page, StoreError, TokenId, TokenMeta};

use crate::{
    beside::Beside,
    error::Fault,
    layout::{Layout, is_number},
    rows::{NotText, Stored, corrupt, expiry, text, value},
    server::Server,
};

pub(crate) async fn page(
    server: &Server,
    after: Option<&TokenId>,
    limit: usize,
) -> Result<Page, Fault> {
    let layout = server.layout();
    let mut conn = server.connection().await?;
    let (rows, more) = rows_after(&mut conn, &layout, &layout.sql.metadata, after, limit).await?;
    let mut page = Page::default();
    for row in rows {
        let (meta, damage) = meta(row)?;
        page.tokens.push(meta);
        page.damage.extend(damage);
    }
    if after.is_none() {
        page.damage.extend(nameless(&mut conn, &layout).await?);
    }
    if more {
        page.next = page.tokens.last().map(|last| last.id.clone());
    }
    Ok(page)
}

pub(crate) async fn entries(
    server: &Server,
    after: Option<&TokenId>,
    limit: usize,
) -> Result<Entries, Fault> {
    let layout = server.layout();
    let mut conn = server.connection().await?;
    let limit = limit.max(1);
    let (rows, more) = rows_after(&mut conn, &layout, &layout.sql.entries, after, limit).await?;
    let mut entries = Vec::with_capacity(rows.len());
    let (mut damage, mut last) = (Vec::new(), None);
    for row in rows {
        last = row.get::<Option<String>, _>(0).flatten().and_then(|id| TokenId::new(id).ok());
        match entry(row) {
            Ok((entry, unreadable)) => {
                entries.push(entry);
                damage.extend(unreadable);
            }
            Err(Fault::Store(error)) => damage.push(error.to_string()),
            Err(fault) => return Err(fault),
        }
    }
    if after.is_none() {
        damage.extend(nameless(&mut conn, &layout).await?);
    }
    Ok(Entries::new(entries, last.filter(|_| more)).with_damage(damage))
}

/// The next at most `limit` rows after an id, and whether there are more.
///
/// Numbers of one length have the order of their texts, which the primary key has too; so they are
/// read length by length, each page from where the one before ended.
async fn rows_after(
    conn: &mut Conn,
    layout: &Layout,
    select: &str,
    after: Option<&TokenId>,
    limit: usize,
) -> Result<(Vec<Row>, bool), Fault> {
    let asked = u64::try_from(limit).unwrap_or(u64::MAX).min(i64::MAX as u64 - 1) + 1;
    let mut rows: Vec<Row> = Vec::new();
    let number = after.filter(|after| after.number().is_some());
    if after.is_none() || number.is_some() {
        let first = number.map_or(1, |number| number.as_str().len());
        let longest: Option<Option<u64>> = conn.query_first(&*layout.sql.longest_number).await?;
        let longest = longest.flatten().and_then(|l| usize::try_from(l).ok()).unwrap_or_default();
        for length in first..=longest {
            let room = asked - rows.len() as u64;
            if room == 0 {
                break;
            }
            let from = number.filter(|number| number.as_str().len() == length);
            let sql = format!(
                "{select} where char_length(t.id) = ? and {} {} order by t.id limit ?",
                is_number("t.id"),
                from.map_or("", |_| "and t.id > ?")
            );
            let mut values = vec![Value::UInt(length as u64)];
            values.extend(from.map(|from| value(Some(from.as_str()))));
            values.push(Value::UInt(room));
            rows.extend(conn.exec::<Row, _, _>(sql, Params::Positional(values)).await?);
        }
    }
    let room = asked - rows.len() as u64;
    if room > 0 {
        let from = after.filter(|_| number.is_none());
        let bytes = "cast(convert(t.id using utf8mb4) as binary)";
        let sql = format!(
            "{select} where not ({}) and length(t.id) > 0 {} order by {bytes} limit ?",
            is_number("t.id"),
            from.map_or(String::new(), |_| format!("and {bytes} > cast(? as binary)"))
        );
        let mut values: Vec<_> = from.map(|from| value(Some(from.as_str()))).into_iter().collect();
        values.push(Value::UInt(room));
        rows.extend(conn.exec::<Row, _, _>(sql, Params::Positional(values)).await?);
    }
    let more = rows.len() as u64 == asked;
    rows.truncate(limit);
    Ok((rows, more))
}

/// Rows without an id stand on no page.
async fn nameless(conn: &mut Conn, layout: &Layout) -> Result<Option<String>, Fault> {
    let rows: Option<u64> = conn.query_first(&*layout.sql.nameless).await?;
    Ok(rows.filter(|rows| *rows > 0).map(|rows| format!("rows without an id: {rows}")))
}

/// The metadata in a row of a page, and what of it cannot be read.
fn meta(row: Row) -> Result<(TokenMeta, Option<String>), Fault> {
    let mut values = row.unwrap().into_iter();
    let mut next = || {
        let text = text(values.next().unwrap_or(Value::NULL));
        text.map_err(|NotText| corrupt("a row of the token table is not UTF-8 text"))
    };
    let [id, user_name, client_id, api_domain, expires] =
        [next()?, next()?, next()?, next()?, next()?];
    let expires = expires.filter(|text| expiry(text).is_some());
    let columns = [id, user_name, client_id, None, None, None, None, expires, None, api_domain];
    let token = OAuthToken::from_columns(columns).map_err(StoreError::from)?;
    let mut is_there = || matches!(values.next(), Some(Value::Int(1) | Value::UInt(1)));
    let [access, refresh, grant, secret] = [is_there(), is_there(), is_there(), is_there()];
    let (state, damage) = state_of(&token, &mut values)?;
    let mut meta = TokenMeta::of(&token, state).ok_or_else(|| corrupt("a token has no id"))?;
    meta.has_access_token = access;
    meta.has_refresh_token = refresh;
    meta.has_grant_token = grant;
    meta.has_client_secret = secret;
    Ok((meta, damage))
}

fn entry(row: Row) -> Result<(Entry, Option<String>), Fault> {
    let mut values = row.unwrap().into_iter();
    let stored = Stored::of(&mut values)?;
    let (state, damage) = state_of(&stored.token, &mut values)?;
    Ok((Entry::new(stored.token).with_state(state), damage))
}

/// The state in the rest of a row; or what is wrong with it.
fn state_of(
    token: &OAuthToken,
    values: &mut impl Iterator<Item = Value>,
) -> Result<(Option<tokenkeep_core::TokenState>, Option<String>), Fault> {
    let beside = Beside::of(values)?.filter(|beside| token.id().is_some_and(|id| beside.is_of(id)));
    Ok(match beside.map(|beside| beside.state(token)).transpose() {
        Ok(state) => (state.flatten(), None),
        Err(error) => (None, Some(error.to_string())),
    })
}
