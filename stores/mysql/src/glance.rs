//! A save in two requests: one reads what it is decided on, the other writes, if nobody has had a
//! turn since.
//!
//! So is written what most saves are: other values of one token, which stays whose it is, while
//! nobody else saves. All else, errors included, is decided again in its
//! [turn](crate::server::Transaction), under locks.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicUsize, Ordering},
};

use mysql_async::{Conn, Params, Row, Value, prelude::Queryable};
use tokenkeep_core::{
    Field, OAuthToken,
    matching::{self, SavePlan},
};

use crate::{
    error::Fault,
    layout::Layout,
    rows::{self, NotText, Stored, id_of, value, values_of},
    server::{Decision, Server},
    store::given_number,
};

/// What was there at one moment.
struct Glance {
    /// Who had the last turn.
    turn: u64,
    /// The rows that share a key with the token; each once.
    found: Vec<Stored>,
}

/// The token as it was saved; `None` if it has to be saved in its turn, and nothing was written.
pub(crate) async fn save(
    server: &Server,
    layout: &Layout,
    decision: &Decision,
    token: &OAuthToken,
    keys: &[(Field, Value)],
) -> Result<Option<OAuthToken>, Fault> {
    if keys.is_empty() || layout.reads_back {
        return Ok(None);
    }
    let mut conn = server.connection().await?;
    let Some(glance) = Glance::take(&mut conn, layout, keys).await? else { return Ok(None) };
    let candidates: Vec<&OAuthToken> = glance.found.iter().map(|stored| &stored.token).collect();
    let Ok(SavePlan::Update { id, merged, absorbs: None }) =
        matching::plan_save(token, &candidates)
    else {
        return Ok(None);
    };
    let mut meant = glance.found.iter().filter(|stored| stored.token.id() == Some(&id));
    let (Some(stored), None) = (meant.next(), meant.next()) else { return Ok(None) };
    let fields = stored.token.fields_to_write(&merged, token);
    if fields.is_empty() || becomes_anothers(&stored.token, &merged) {
        return Ok(None);
    }
    let write = glance.write(&mut conn, layout, stored, &merged, &fields);
    Ok(decision.on(write).await?.then_some(*merged))
}

/// Whether what is beside a token has to follow it.
fn becomes_anothers(stored: &OAuthToken, merged: &OAuthToken) -> bool {
    stored.user_name() != merged.user_name() || stored.client_id() != merged.client_id()
}

impl Glance {
    /// All in one statement, which sees one moment.
    async fn take(
        conn: &mut Conn,
        layout: &Layout,
        keys: &[(Field, Value)],
    ) -> Result<Option<Self>, Fault> {
        let (fields, values): (Vec<_>, Vec<_>) = keys.iter().cloned().unzip();
        let rows: Vec<Row> = conn.exec(layout.glance(&fields), Params::Positional(values)).await?;
        let mut turn = None;
        let mut found: Vec<Stored> = Vec::new();
        for row in rows {
            let mut values = row.unwrap().into_iter();
            // MariaDB makes a decimal of it, which comes as text.
            match rows::text(values.next().unwrap_or(Value::NULL)) {
                Ok(Some(number)) => turn = number.parse().ok(),
                Err(NotText) => {}
                Ok(None) => {
                    let columns = rows::columns(&mut values)?;
                    if !found.iter().any(|stored| stored.columns == columns) {
                        found.push(Stored::new(columns)?);
                    }
                }
            }
        }
        Ok(turn.map(|turn| Self { turn, found }))
    }

    /// Writes `fields` of `stored` as `merged` has them, if that row still is as it was read and
    /// nobody has had a turn; whether it was. It is a turn itself.
    async fn write(
        &self,
        conn: &mut Conn,
        layout: &Layout,
        stored: &Stored,
        merged: &OAuthToken,
        fields: &[Field],
    ) -> Result<bool, Fault> {
        let id = id_of(merged)?;
        let given = given_number(id).unwrap_or_default();
        let next = RandomState::new().hash_one(());
        let id = value(Some(id.as_str()));
        let mut values = vec![Value::UInt(next), Value::UInt(given)];
        values.extend(values_of(layout, merged, fields));
        values.extend([Value::UInt(self.turn), id.clone(), id]);
        values.extend(stored.columns.iter().map(|column| value(column.as_deref())));
        conn.exec_drop(layout.write_in_turn(fields), Params::Positional(values)).await?;
        Ok(conn.affected_rows() > 0)
    }
}

/// How many saves of this process are under way.
#[derive(Debug, Default)]
pub(crate) struct Saves(AtomicUsize);

/// One of them.
#[derive(Debug)]
pub(crate) struct Saving<'a> {
    saves: &'a Saves,
    /// Whether there was no other when it began.
    pub(crate) is_alone: bool,
}

impl Saves {
    pub(crate) fn begin(&self) -> Saving<'_> {
        Saving { saves: self, is_alone: self.0.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        self.saves.0.fetch_sub(1, Ordering::Relaxed);
    }
}
