//! What is to be written, and what has to be so for it still.

use std::time::Duration;

use tokenkeep_core::{
    Field, OAuthToken, SidecarEntry, StoreError, StoreErrorKind, TokenId, TokenState,
};

use crate::{
    error::invalid,
    keys::{index_names, place_of},
    rows::{LEASE_GENERATION, LEASE_HOLDER, LEASE_TTL, LEASE_UNTIL, Row, STATE, Seen},
    script::{COMMIT, Call},
};

/// Several changes that are made at once, if what they were decided on is so still.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Names this write and no other: what it writes is known by it, and so is the store after it.
    pub(crate) mark: u64,
    /// The last id that was read, and the last one now, if ids were given by it.
    last_ids: Option<(u64, u64)>,
    names: Vec<(String, Vec<String>)>,
    tokens: Vec<(TokenId, String)>,
    besides: Vec<(TokenId, String)>,
    steps: Vec<String>,
    /// Whether a token is added.
    adds: bool,
}

impl Batch {
    /// Nothing yet, on what was `seen` under these `names` of the index.
    pub(crate) fn on(names: &[String], seen: &Seen) -> Result<Self, StoreError> {
        let members = seen.members.iter().cloned();
        let token = |row: &Row| (row.id.clone(), row.token_version().to_owned());
        Ok(Self {
            mark: new_mark()?,
            last_ids: None,
            names: names.iter().cloned().zip(members).collect(),
            tokens: seen.rows.iter().map(token).collect(),
            besides: Vec::new(),
            steps: Vec::new(),
            adds: false,
        })
    }

    /// With the ids from `read` to `now` given already, and only if nobody else has given any since.
    pub(crate) fn give_ids(&mut self, read: u64, now: u64) {
        self.last_ids = Some((read, now));
    }

    /// Adds `token` under its id, or under the next one if it has none.
    pub(crate) fn insert(&mut self, token: &OAuthToken) {
        self.adds = true;
        let fields = Field::ALL.into_iter().filter(|field| token.has(*field));
        self.put(token, fields.collect());
        if let Some(id) = token.id() {
            // What belonged to somebody else who had the id.
            self.step("forget", &place_of(id));
        }
    }

    /// Writes `fields` of `merged`, which is stored already.
    pub(crate) fn update(&mut self, merged: &OAuthToken, fields: Vec<Field>) {
        self.put(merged, fields);
    }

    fn put(&mut self, token: &OAuthToken, fields: Vec<Field>) {
        let columns = token.expose_columns();
        let (mut set, mut clear) = (Vec::new(), Vec::new());
        for field in fields {
            match columns[field as usize].as_deref() {
                Some(value) => set.extend([field.name().to_owned(), value.to_owned()]),
                None => clear.push(field.name().to_owned()),
            }
        }
        self.step("put", &token.id().map(place_of).unwrap_or_default());
        self.steps.push(index_names(token).join(" "));
        self.list(set);
        self.list(clear);
    }

    /// Keeps what is beside the token of `row` with it when it becomes `merged`, and moves the state
    /// of a token that goes into it, where nothing is known yet.
    pub(crate) fn follow(
        &mut self,
        row: &Row,
        stored: &OAuthToken,
        merged: &OAuthToken,
        absorbed: Option<(&Row, &OAuthToken)>,
    ) -> Result<(), StoreError> {
        let renamed =
            stored.user_name() != merged.user_name() || stored.client_id() != merged.client_id();
        if !renamed && absorbed.is_none() {
            return Ok(());
        }
        self.watch_beside(row);
        let kept = row.entry().filter(|entry| entry.belongs_to(stored));
        let is_known = kept.is_some() && row.has_state();
        // A state that cannot be read is none.
        let inherited = absorbed
            .filter(|_| !is_known)
            .and_then(|(row, token)| row.state(token).unwrap_or_default());
        match (kept, inherited) {
            (None, None) => {
                if row.entry().is_some() {
                    self.forget(row);
                }
                Ok(())
            }
            (Some(_), None) if !renamed => Ok(()),
            (kept, inherited) => {
                let keeps = kept.is_some();
                let mut entry = kept.unwrap_or_default();
                entry.user_name = merged.user_name().map(str::to_owned);
                entry.client_id = merged.client_id().map(str::to_owned);
                self.beside(&row.id, &entry, keeps, inherited.as_ref())
            }
        }
    }

    /// Removes the token of `row` with what is beside it.
    pub(crate) fn drop(&mut self, row: &Row) {
        self.watch_beside(row);
        self.step("drop", &place_of(&row.id));
    }

    /// Forgets what is beside the token of `row`.
    pub(crate) fn forget(&mut self, row: &Row) {
        self.watch_beside(row);
        self.step("forget", &place_of(&row.id));
    }

    /// Writes whose token `id` is and its lease, and its state if one is given. A state that is there
    /// stays if it `keeps` it, readable or not.
    pub(crate) fn beside(
        &mut self,
        id: &TokenId,
        entry: &SidecarEntry,
        keeps: bool,
        state: Option<&TokenState>,
    ) -> Result<(), StoreError> {
        let state = state
            .map(serde_json::to_string)
            .transpose()
            .map_err(|error| invalid("the state cannot be written as JSON").with_source(error))?;
        let lease = entry.lease.as_ref();
        let mut fields = vec![
            (Field::UserName.name(), entry.user_name.clone()),
            (Field::ClientId.name(), entry.client_id.clone()),
            (LEASE_HOLDER, lease.map(|lease| lease.holder.clone())),
            (LEASE_GENERATION, lease.map(|lease| lease.generation.to_string())),
            (LEASE_UNTIL, lease.map(|lease| lease.until.as_millis().to_string())),
            (LEASE_TTL, lease.map(|lease| lease.ttl_ms.to_string())),
        ];
        if state.is_some() || !keeps {
            fields.push((STATE, state));
        }
        let (mut set, mut clear) = (Vec::new(), Vec::new());
        for (name, value) in fields {
            match value {
                Some(value) => set.extend([name.to_owned(), value]),
                None => clear.push(name.to_owned()),
            }
        }
        self.step("side", &place_of(id));
        self.list(set);
        self.list(clear);
        Ok(())
    }

    /// Only if what is beside the token of `row` is what was read.
    pub(crate) fn watch_beside(&mut self, row: &Row) {
        if !self.besides.iter().any(|(id, _)| *id == row.id) {
            self.besides.push((row.id.clone(), row.beside_version().to_owned()));
        }
    }

    /// Whether this can be sent a second time after the first got no answer, where `seen` is what
    /// is there now: because it was not done, and at most one of the two can be.
    ///
    /// Each write gives what it writes a version that never comes again. Only of what was not there
    /// it cannot be said whether it has come and gone in between.
    pub(crate) fn can_be_repeated(&self, seen: &Seen) -> bool {
        let same = |id: &TokenId, version: &str, of: fn(&Row) -> &str| {
            seen.row(id).is_some_and(|row| of(row) == version)
        };
        !self.adds
            && self.tokens.iter().any(|(_, version)| !version.is_empty())
            && self.tokens.iter().all(|(id, version)| same(id, version, Row::token_version))
            && self.besides.iter().all(|(id, version)| same(id, version, Row::beside_version))
    }

    /// The script that does it. Tokens are kept for `lifetime` from now on, if there is one.
    pub(crate) fn call(&self, lifetime: Option<Duration>) -> Call {
        let mut arguments = vec![
            self.mark.to_string(),
            lifetime.map(|time| time.as_millis().to_string()).unwrap_or_default(),
            self.last_ids.map(|(read, _)| read.to_string()).unwrap_or_default(),
            self.last_ids.map(|(_, now)| now.to_string()).unwrap_or_default(),
            self.names.len().to_string(),
        ];
        for (name, members) in &self.names {
            arguments.extend([name.clone(), members.len().to_string()]);
            arguments.extend_from_slice(members);
        }
        for watched in [&self.tokens, &self.besides] {
            arguments.push(watched.len().to_string());
            arguments
                .extend(watched.iter().flat_map(|(id, version)| [id.to_string(), version.clone()]));
        }
        arguments.extend_from_slice(&self.steps);
        Call::new(&COMMIT, arguments)
    }

    fn step(&mut self, what: &str, place: &str) {
        self.steps.extend([what.to_owned(), place.to_owned()]);
    }

    fn list(&mut self, values: Vec<String>) {
        self.steps.push(values.len().to_string());
        self.steps.extend(values);
    }
}

/// A number that no write has had before.
pub(crate) fn new_mark() -> Result<u64, StoreError> {
    getrandom::u64().map_err(|error| {
        StoreError::new(StoreErrorKind::Other, "the system has no random numbers")
            .with_source(error)
    })
}
