//! What is beside a token in our table: whose it was, state, and the newest lease.

use std::time::Duration;

use mysql_async::{Conn, Params, Row, Value, prelude::Queryable};
use tokenkeep_core::{
    OAuthToken, SidecarEntry, StoreError, StoreErrorKind, Timestamp, TokenId, TokenState,
    shared::lease::LeaseRecord,
};

use crate::{
    error::{Fault, is_duplicate},
    layout::{BESIDE, Layout, same},
    rows::{NotText, Stored, corrupt, id_of, text, value},
};

/// A row of our table as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beside {
    token_id: String,
    user_name: Option<String>,
    client_id: Option<String>,
    /// JSON, whether it can be read or not.
    state: Option<String>,
    lease_holder: Option<String>,
    lease_generation: Option<i64>,
    lease_until: Option<i64>,
    lease_ttl: Option<i64>,
}

/// What of a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    State,
    Lease,
    All,
}

impl Part {
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::State => &["user_name", "client_id", "state"],
            Self::Lease => &[
                "user_name",
                "client_id",
                "lease_holder",
                "lease_generation",
                "lease_until",
                "lease_ttl",
            ],
            Self::All => &[
                "user_name",
                "client_id",
                "state",
                "lease_holder",
                "lease_generation",
                "lease_until",
                "lease_ttl",
            ],
        }
    }
}

impl Beside {
    /// The row of our table in the columns of [`BESIDE`]; `None` if there is none.
    pub(crate) fn of(values: &mut impl Iterator<Item = Value>) -> Result<Option<Self>, Fault> {
        let Some(token_id) = next_text(values)? else { return Ok(None) };
        Ok(Some(Self {
            token_id,
            user_name: next_text(values)?,
            client_id: next_text(values)?,
            state: next_text(values)?,
            lease_holder: next_text(values)?,
            lease_generation: next_number(values)?,
            lease_until: next_number(values)?,
            lease_ttl: next_number(values)?,
        }))
    }

    pub(crate) fn is_of(&self, id: &TokenId) -> bool {
        self.token_id == id.as_str()
    }

    /// The same in the form of the rules; a state that cannot be read is none.
    pub(crate) fn entry(&self) -> SidecarEntry {
        let mut entry = SidecarEntry::default();
        entry.user_name.clone_from(&self.user_name);
        entry.client_id.clone_from(&self.client_id);
        entry.state = self.state.as_deref().and_then(|json| serde_json::from_str(json).ok());
        entry.lease = self.lease_generation.and_then(|generation| {
            Some(LeaseRecord::new(
                self.lease_holder.clone().unwrap_or_default(),
                u64::try_from(generation).ok()?,
                Timestamp::from_millis(self.lease_until.unwrap_or_default()),
                Duration::from_millis(u64::try_from(self.lease_ttl.unwrap_or_default()).ok()?),
            ))
        });
        entry
    }

    pub(crate) fn belongs_to(&self, token: &OAuthToken) -> bool {
        let mut owner = SidecarEntry::default();
        owner.user_name.clone_from(&self.user_name);
        owner.client_id.clone_from(&self.client_id);
        owner.belongs_to(token)
    }

    /// The state of `token`, beside which this stands.
    pub(crate) fn state(&self, token: &OAuthToken) -> Result<Option<TokenState>, StoreError> {
        if !self.belongs_to(token) {
            return Ok(None);
        }
        let parse = |json: &str| {
            serde_json::from_str(json).map_err(|_not_a_state| {
                corrupt(format!("the state of token {} cannot be read", self.token_id))
                    .with_hint("refresh the token or log in again: that writes it anew")
            })
        };
        self.state.as_deref().map(parse).transpose()
    }

    /// This row after `part` of it has become what `entry` says. What was somebody else's goes.
    fn with(&self, token: &OAuthToken, entry: &SidecarEntry, part: Part) -> Result<Self, Fault> {
        let kept = if self.belongs_to(token) { self.clone() } else { Self::default() };
        Self { token_id: self.token_id.clone(), ..kept }.filled(entry, part)
    }

    fn filled(self, entry: &SidecarEntry, part: Part) -> Result<Self, Fault> {
        let mut after = self;
        after.user_name.clone_from(&entry.user_name);
        after.client_id.clone_from(&entry.client_id);
        if part != Part::Lease {
            after.state = entry.state.as_ref().map(json).transpose()?;
        }
        if part != Part::State {
            let lease = entry.lease.as_ref();
            let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            after.lease_holder = lease.map(|lease| lease.holder.clone());
            after.lease_generation = lease.map(|lease| number(lease.generation));
            after.lease_until = lease.map(|lease| lease.until.as_millis());
            after.lease_ttl = lease.map(|lease| number(lease.ttl_ms));
        }
        Ok(after)
    }

    fn value(&self, column: &str) -> Value {
        let number = |number: Option<i64>| number.map_or(Value::NULL, Value::Int);
        match column {
            "user_name" => value(self.user_name.as_deref()),
            "client_id" => value(self.client_id.as_deref()),
            "state" => value(self.state.as_deref()),
            "lease_holder" => value(self.lease_holder.as_deref()),
            "lease_generation" => number(self.lease_generation),
            "lease_until" => number(self.lease_until),
            "lease_ttl" => number(self.lease_ttl),
            _ => value(Some(&self.token_id)),
        }
    }

    /// Whether columns of a row still are as in this one: the condition, and its values.
    pub(crate) fn is_unchanged(&self, part: Part) -> (String, Vec<Value>) {
        let condition = |column: &&str| match *column {
            "lease_generation" | "lease_until" | "lease_ttl" => format!("s.{column} <=> ?"),
            _ => same(&format!("s.{column}")),
        };
        let columns = part.columns();
        let conditions: Vec<_> = columns.iter().map(condition).collect();
        (conditions.join(" and "), columns.iter().map(|column| self.value(column)).collect())
    }
}

pub(crate) fn json(state: &TokenState) -> Result<String, StoreError> {
    serde_json::to_string(state).map_err(|error| {
        StoreError::new(StoreErrorKind::Invalid, "the state cannot be written as JSON")
            .with_source(error)
    })
}

fn next_text(values: &mut impl Iterator<Item = Value>) -> Result<Option<String>, Fault> {
    text(values.next().unwrap_or(Value::NULL)).map_err(|NotText| damaged())
}

fn next_number(values: &mut impl Iterator<Item = Value>) -> Result<Option<i64>, Fault> {
    match values.next() {
        None | Some(Value::NULL) => Ok(None),
        Some(Value::Int(number)) => Ok(Some(number)),
        Some(_) => Err(damaged()),
    }
}

fn damaged() -> Fault {
    corrupt("tokenkeep's own table is of another shape")
        .with_hint("see which other program changed tokenkeep_state")
        .into()
}

/// The token with this id and what is beside it, as they are stored.
pub(crate) async fn read(
    conn: &mut Conn,
    layout: &Layout,
    id: &TokenId,
) -> Result<Option<(Stored, Option<Beside>)>, Fault> {
    let given = value(Some(id.as_str()));
    let parameters = Params::Positional(vec![given.clone(), given]);
    let rows: Vec<Row> = conn.exec(&*layout.sql.with_beside, parameters).await?;
    let mut found = Vec::new();
    for row in rows {
        let mut values = row.unwrap().into_iter();
        let stored = Stored::of(&mut values)?;
        if stored.token.id() == Some(id) {
            found.push((stored, Beside::of(&mut values)?.filter(|beside| beside.is_of(id))));
        }
    }
    if found.len() > 1 {
        return Err(StoreError::ambiguous(vec![id.clone(); found.len()]).into());
    }
    Ok(found.pop())
}

/// Writes `part` of what is beside `stored`, if it still is `before` and the token is there;
/// whether it was.
pub(crate) async fn write(
    conn: &mut Conn,
    layout: &Layout,
    stored: &Stored,
    before: Option<&Beside>,
    entry: &SidecarEntry,
    part: Part,
) -> Result<bool, Fault> {
    let id = id_of(&stored.token)?;
    let side = &layout.side;
    let Some(before) = before else {
        let after = Beside { token_id: id.to_string(), ..Beside::default() };
        let after = after.with(&stored.token, entry, part)?;
        let columns = Part::All.columns();
        // The token's row is locked by it, so that nobody removes it at the same time.
        let sql = format!(
            "insert into `{side}` (token_id, {}) select ?, ?, ?, ?, ?, ?, ?, ? from `{}` t \
             where {} for update",
            columns.join(", "),
            layout.table,
            layout.is_id()
        );
        let mut values = vec![value(Some(id.as_str()))];
        values.extend(columns.iter().map(|column| after.value(column)));
        values.extend([value(Some(id.as_str())), value(Some(id.as_str()))]);
        return match conn.exec_drop(sql, Params::Positional(values)).await {
            Ok(()) => Ok(conn.affected_rows() > 0),
            Err(error) if is_duplicate(&error) => Ok(false),
            Err(error) => Err(error.into()),
        };
    };
    let after = before.with(&stored.token, entry, part)?;
    // What was somebody else's goes as a whole.
    let part = if before.belongs_to(&stored.token) { part } else { Part::All };
    let assignments: Vec<_> =
        part.columns().iter().map(|column| format!("s.{column} = ?")).collect();
    let (unchanged, read) = before.is_unchanged(part);
    let sql = format!(
        "update `{side}` s set {} where s.token_id = ? and {unchanged}",
        assignments.join(", ")
    );
    let mut values: Vec<_> = part.columns().iter().map(|column| after.value(column)).collect();
    values.push(value(Some(id.as_str())));
    values.extend(read);
    conn.exec_drop(sql, Params::Positional(values)).await?;
    Ok(conn.affected_rows() > 0)
}

/// Keeps what is beside `stored` with it when its user or client becomes another. Inside a
/// transaction.
pub(crate) async fn follow(
    conn: &mut Conn,
    layout: &Layout,
    stored: &OAuthToken,
    now: &OAuthToken,
) -> Result<(), Fault> {
    if stored.user_name() == now.user_name() && stored.client_id() == now.client_id() {
        return Ok(());
    }
    let id = id_of(stored)?;
    let Some(beside) = locked(conn, layout, id).await? else { return Ok(()) };
    if !beside.belongs_to(stored) {
        return forget(conn, layout, id).await;
    }
    let sql =
        format!("update `{}` set user_name = ?, client_id = ? where token_id = ?", layout.side);
    let values = vec![value(now.user_name()), value(now.client_id()), value(Some(id.as_str()))];
    Ok(conn.exec_drop(sql, Params::Positional(values)).await?)
}

/// Moves the state of `absorbed` to `token`, where nothing is known of that yet. Inside a
/// transaction.
pub(crate) async fn absorb(
    conn: &mut Conn,
    layout: &Layout,
    absorbed: &OAuthToken,
    token: &OAuthToken,
) -> Result<(), Fault> {
    let from = locked(conn, layout, id_of(absorbed)?).await?;
    let state = from.filter(|from| from.belongs_to(absorbed)).and_then(|from| from.entry().state);
    if let Some(state) = state {
        give_state(conn, layout, token, &state).await?;
    }
    forget(conn, layout, id_of(absorbed)?).await
}

/// Writes the state of `token`, where nothing is known of it yet. Inside a transaction.
pub(crate) async fn give_state(
    conn: &mut Conn,
    layout: &Layout,
    token: &OAuthToken,
    state: &TokenState,
) -> Result<(), Fault> {
    let before = locked(conn, layout, id_of(token)?).await?;
    if before.as_ref().is_some_and(|before| before.belongs_to(token) && before.state.is_some()) {
        return Ok(());
    }
    let mut entry = SidecarEntry::beside(token, before.as_ref().map(Beside::entry));
    entry.state = Some(state.clone());
    let stored = Stored { columns: Default::default(), token: token.clone() };
    write(conn, layout, &stored, before.as_ref(), &entry, Part::State).await?;
    Ok(())
}

/// Forgets what is beside the token `id`. Inside a transaction.
pub(crate) async fn forget(conn: &mut Conn, layout: &Layout, id: &TokenId) -> Result<(), Fault> {
    let sql = format!("delete from `{}` where token_id = ?", layout.side);
    Ok(conn.exec_drop(sql, (id.as_str(),)).await?)
}

async fn locked(conn: &mut Conn, layout: &Layout, id: &TokenId) -> Result<Option<Beside>, Fault> {
    let sql = format!("select {BESIDE} from `{}` s where s.token_id = ? for update", layout.side);
    let row: Option<Row> = conn.exec_first(sql, (id.as_str(),)).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Beside::of(&mut row.unwrap().into_iter())?.filter(|beside| beside.is_of(id)))
}

/// What is beside the tokens with these ids, locked.
pub(crate) async fn among(
    conn: &mut Conn,
    layout: &Layout,
    ids: &[Value],
) -> Result<Vec<(TokenId, Beside)>, Fault> {
    let places = vec!["?"; ids.len()].join(", ");
    let sql = format!(
        "select {BESIDE} from `{}` s where s.token_id in ({places}) for update",
        layout.side
    );
    let rows: Vec<Row> = conn.exec(sql, Params::Positional(ids.to_vec())).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(beside) = Beside::of(&mut row.unwrap().into_iter())? {
            let id = TokenId::new(beside.token_id.clone()).map_err(StoreError::from)?;
            found.push((id, beside));
        }
    }
    Ok(found)
}

/// Puts whole rows into our table, in the place of those that are there.
pub(crate) async fn put(
    conn: &mut Conn,
    layout: &Layout,
    entries: &[(&TokenId, &SidecarEntry)],
) -> Result<(), Fault> {
    let columns = Part::All.columns();
    let mut values = Vec::with_capacity(entries.len() * (columns.len() + 1));
    for (id, entry) in entries {
        let beside = Beside { token_id: id.to_string(), ..Beside::default() };
        let beside = beside.filled(entry, Part::All)?;
        values.push(value(Some(id.as_str())));
        values.extend(columns.iter().map(|column| beside.value(column)));
    }
    let row = "(?, ?, ?, ?, ?, ?, ?, ?)";
    let rows = vec![row; entries.len()].join(", ");
    let replaced: Vec<_> =
        columns.iter().map(|column| format!("{column} = values({column})")).collect();
    let sql = format!(
        "insert into `{}` (token_id, {}) values {rows} on duplicate key update {}",
        layout.side,
        columns.join(", "),
        replaced.join(", ")
    );
    Ok(conn.exec_drop(sql, Params::Positional(values)).await?)
}
