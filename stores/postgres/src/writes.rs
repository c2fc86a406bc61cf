//! [`Writes`]: what a change writes, all in one transaction.

use std::{borrow::Cow, collections::BTreeMap};

use tokenkeep_core::{
    Field, FieldError, MAX_ID, OAuthToken, StoreError, TokenId, shared::lease::LeaseRecord,
};
use tokio_postgres::types::ToSql;

use crate::{
    beside::Entry,
    layout::{Layout, Query, bit},
    rows::{Hidden, id_of},
    transaction::Seen,
};

/// What a change writes.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) delete: Vec<TokenId>,
    /// Whose entries are removed.
    pub(crate) forget: Vec<TokenId>,
    pub(crate) forget_all: bool,
    pub(crate) insert: Vec<OAuthToken>,
    pub(crate) update: Vec<Update>,
    pub(crate) beside: BTreeMap<TokenId, Entry>,
    /// The largest id that was given.
    pub(crate) last_id: Option<u64>,
}

/// A token as it is after the change, and the fields that are written.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) token: OAuthToken,
    pub(crate) fields: Vec<Field>,
}

/// A parameter of a statement.
pub(crate) type Parameter<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// A statement and its parameters.
pub(crate) type Step<'a> = (Query, Vec<Parameter<'a>>);

/// How many rows one statement writes at most.
const ROWS: usize = 2_000;

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.delete.is_empty()
            && self.forget.is_empty()
            && !self.forget_all
            && self.insert.is_empty()
            && self.update.is_empty()
            && self.beside.is_empty()
            && self.last_id.is_none()
    }

    /// Remembers that `id` was given, if it is a number as stores give them.
    pub(crate) fn has_given(&mut self, id: &TokenId) {
        let number = id.number().filter(|number| *number <= MAX_ID);
        self.last_id = self.last_id.max(number);
    }

    /// `token` as a new row.
    ///
    /// # Errors
    ///
    /// Invalid if the table cannot hold it.
    pub(crate) fn add(&mut self, layout: &Layout, token: &OAuthToken) -> Result<(), StoreError> {
        check(layout, token, &Field::ALL)?;
        // An SDK may have deleted a token of this id and left what belonged to it.
        self.forget.push(id_of(token)?.clone());
        self.insert.push(token.clone());
        Ok(())
    }

    /// `merged` in the place of `stored`, which `given` is saved over.
    ///
    /// # Errors
    ///
    /// Invalid if the table cannot hold it.
    pub(crate) fn change(
        &mut self,
        layout: &Layout,
        stored: &OAuthToken,
        merged: &OAuthToken,
        given: &OAuthToken,
    ) -> Result<(), StoreError> {
        let fields = stored.fields_to_write(merged, given);
        check(layout, merged, &fields)?;
        if !fields.is_empty() {
            self.update.push(Update { token: merged.clone(), fields });
        }
        Ok(())
    }

    /// Keeps `entry`, which is beside `stored`, with it when its user or client becomes another.
    pub(crate) fn follow(
        &mut self,
        stored: &OAuthToken,
        merged: &OAuthToken,
        entry: Option<&Entry>,
    ) -> Result<(), StoreError> {
        let Some(entry) = entry else { return Ok(()) };
        let id = id_of(stored)?.clone();
        if !entry.known.belongs_to(stored) {
            self.forget.push(id);
        } else if subject(stored) != subject(merged) {
            let mut entry = entry.clone();
            entry.known.user_name = merged.user_name().map(str::to_owned);
            entry.known.client_id = merged.client_id().map(str::to_owned);
            self.beside.insert(id, entry);
        }
        Ok(())
    }

    /// Whether they have been made: whether what was seen under the same locks since is what they
    /// leave. All of them are made or none, so those of the token table speak for the rest.
    pub(crate) fn are_made(&self, seen: &Seen) -> bool {
        let row = |id: &TokenId| seen.tokens.iter().find(|token| token.id() == Some(id));
        let is_as_written = |token: &OAuthToken| token.id().and_then(row) == Some(token);
        if self.delete.is_empty() && self.insert.is_empty() && self.update.is_empty() {
            self.beside.iter().all(|(id, entry)| seen.beside.get(id) == Some(entry))
                && (!self.forget_all || seen.removed == 0)
        } else {
            self.delete.iter().all(|id| row(id).is_none())
                && self.insert.iter().all(is_as_written)
                && self.update.iter().all(|update| is_as_written(&update.token))
        }
    }

    /// What is to be sent, in order.
    pub(crate) fn steps(&self, layout: &Layout) -> Vec<Step<'_>> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        for ids in self.delete.chunks(ROWS) {
            steps.push((Query::Delete, vec![texts(ids)]));
        }
        if self.forget_all {
            steps.push((Query::BesideDeleteAll, Vec::new()));
        }
        for ids in self.forget.chunks(ROWS) {
            steps.push((Query::BesideDelete, vec![texts(ids)]));
        }
        for tokens in self.insert.chunks(ROWS) {
            let columns = columns(layout, tokens.iter());
            steps.push((Query::Insert, columns.map(hidden).into()));
        }
        for updates in self.update.chunks(ROWS) {
            let [ids, columns @ ..] = columns(layout, updates.iter().map(|update| &update.token));
            let bits: Vec<i32> = updates
                .iter()
                .map(|update| update.fields.iter().fold(0, |bits, field| bits | bit(*field)))
                .collect();
            let mut parameters = vec![hidden(ids), hidden(bits)];
            parameters.extend(columns.map(hidden));
            steps.push((Query::Update, parameters));
        }
        let beside: Vec<_> = self.beside.iter().collect();
        for entries in beside.chunks(ROWS) {
            steps.push((Query::BesideWrite, beside_parameters(entries)));
        }
        if let Some(last_id) = self.last_id {
            steps.push((Query::Raise, vec![hidden(i64::try_from(last_id).unwrap_or(i64::MAX))]));
        }
        steps
    }
}

/// Whose token it is.
pub(crate) fn subject(token: &OAuthToken) -> (Option<&str>, Option<&str>) {
    (token.user_name(), token.client_id())
}

fn hidden<'a, T: ToSql + Sync + Send + 'a>(value: T) -> Parameter<'a> {
    Box::new(Hidden(value))
}

fn texts(ids: &[TokenId]) -> Parameter<'_> {
    hidden(ids.iter().map(TokenId::as_str).collect::<Vec<_>>())
}

/// The ten columns of tokens, column by column; absence as the table has it.
fn columns<'a>(
    layout: &Layout,
    tokens: impl Iterator<Item = &'a OAuthToken>,
) -> [Vec<Option<Cow<'a, str>>>; 10] {
    let mut columns: [Vec<_>; 10] = Default::default();
    for token in tokens {
        for (field, value) in Field::ALL.into_iter().zip(token.expose_columns()) {
            columns[field as usize].push(value.or_else(|| layout.absent(field).map(Cow::Borrowed)));
        }
    }
    columns
}

fn beside_parameters<'a>(entries: &[(&'a TokenId, &'a Entry)]) -> Vec<Parameter<'a>> {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let texts = |of: fn(&'a Entry) -> Option<&'a str>| {
        hidden(entries.iter().map(|(_, entry)| of(entry)).collect::<Vec<_>>())
    };
    let numbers = |of: &dyn Fn(&LeaseRecord) -> i64| {
        let lease = |entry: &Entry| entry.known.lease.as_ref().map(of);
        hidden(entries.iter().map(|(_, entry)| lease(entry)).collect::<Vec<_>>())
    };
    vec![
        hidden(entries.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>()),
        texts(|entry| entry.known.user_name.as_deref()),
        texts(|entry| entry.known.client_id.as_deref()),
        texts(|entry| entry.state.as_deref()),
        texts(|entry| Some(entry.known.lease.as_ref()?.holder.as_str())),
        numbers(&|lease| whole(lease.generation)),
        numbers(&|lease| lease.until.as_millis()),
        numbers(&|lease| whole(lease.ttl_ms)),
    ]
}

/// Refuses what a column would cut, or no column can hold.
pub(crate) fn check(
    layout: &Layout,
    token: &OAuthToken,
    fields: &[Field],
) -> Result<(), StoreError> {
    let values = token.expose_columns();
    for field in fields {
        let Some(value) = values[*field as usize].as_deref() else { continue };
        if value.contains('\0') {
            return Err(FieldError::new(
                *field,
                "must not hold a NUL character, which PostgreSQL cannot store",
                "leave it out",
            )
            .into());
        }
        if let Some(limit) = layout.columns[*field as usize].limit
            && layout.length(value) > limit
        {
            return Err(FieldError::new(
                *field,
                format!("must not be longer than {limit}, as table {} has it", layout.table),
                format!(
                    "shorten it, or make the column text: alter table … alter {field} type text"
                ),
            )
            .into());
        }
        if *field == Field::Id && value.len() > LONGEST_ID {
            return Err(FieldError::new(
                *field,
                format!("must not be longer than {LONGEST_ID} bytes"),
                "shorten it",
            )
            .into());
        }
    }
    Ok(())
}

/// What an entry of a tree has room for, whatever the id is made of.
const LONGEST_ID: usize = 2_600;
