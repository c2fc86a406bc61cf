//! What scripts answer, as tokens and what is beside them.

use std::{collections::HashMap, time::Duration};

use redis::Value;
use tokenkeep_core::{
    Field, OAuthToken, SidecarEntry, StoreError, Timestamp, TokenId, TokenState,
    shared::lease::LeaseRecord,
};

use crate::{
    error::{corrupt, unexpected},
    keys::id_at,
};

/// What was read in one moment.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The largest number given as an id.
    pub(crate) last_id: u64,
    /// The ids that stand under each name of the index that was looked at.
    pub(crate) members: Vec<Vec<String>>,
    /// What was found under these ids, and under those that were asked for.
    pub(crate) rows: Vec<Row>,
}

/// One id with its token, if there is one, and what is beside it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: TokenId,
    token: Hash,
    beside: Hash,
}

/// The fields of a hash; none if it is not there.
#[derive(Default)]
struct Hash(HashMap<String, String>);

/// Some rows in the order of their ids.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) mark: (u64, u64),
    /// Where the last row stands, whether it could be read or not.
    pub(crate) last_place: Option<String>,
    /// How many places there were.
    pub(crate) places: usize,
    pub(crate) rows: Vec<(TokenId, Result<Row, StoreError>)>,
}

impl Seen {
    pub(crate) fn parse(value: Value) -> Result<Self, StoreError> {
        let [last_id, members, rows] = array::<3>(value)?;
        let last_id = if last_id == Value::Nil {
            0
        } else {
            text(last_id)?
                .parse()
                .map_err(|_not_a_number| corrupt("the store does not say which ids it has given"))?
        };
        let members =
            list(members)?.into_iter().map(texts).collect::<Result<Vec<_>, StoreError>>()?;
        let rows = list(rows)?.into_iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Self { last_id, members, rows })
    }

    /// The tokens among the rows.
    pub(crate) fn tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.rows.iter().filter_map(|row| row.token().transpose()).collect()
    }

    /// The row of this id.
    pub(crate) fn row(&self, id: &TokenId) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == *id)
    }

    /// The row that the write with this mark has written.
    pub(crate) fn written_with(&self, mark: u64) -> Option<&Row> {
        let mark = mark.to_string();
        self.rows.iter().find(|row| row.token_version() == mark || row.beside_version() == mark)
    }
}

impl Listed {
    pub(crate) fn parse(value: Value) -> Result<Self, StoreError> {
        let [mark, entries] = array::<2>(value)?;
        let entries = list(entries)?;
        let mut listed = Self {
            mark: self::mark(mark)?,
            last_place: None,
            places: entries.len(),
            rows: Vec::with_capacity(entries.len()),
        };
        for entry in entries {
            let [place, token, beside] = array::<3>(entry)?;
            let place = text(place)?;
            let id = id_at(&place).ok_or_else(|| corrupt("there is a token without an id"))?;
            match (Hash::parse(token), Hash::parse(beside)) {
                (Ok(token), _) if token.0.is_empty() => {}
                (Ok(token), Ok(beside)) => {
                    listed.rows.push((id.clone(), Ok(Row { id, token, beside })));
                }
                _ => listed.rows.push((id.clone(), Err(unreadable(&id)))),
            }
            listed.last_place = Some(place);
        }
        Ok(listed)
    }
}

/// The store's mark: what the last write left, and how many tokens have expired since.
pub(crate) fn mark(value: Value) -> Result<(u64, u64), StoreError> {
    let [written, gone] = array::<2>(value)?;
    let written = text(written)?.parse().map_err(|_not_a_number| unexpected())?;
    let Value::Int(gone) = gone else { return Err(unexpected()) };
    Ok((written, u64::try_from(gone).map_err(|_negative| unexpected())?))
}

fn row(value: Value) -> Result<Row, StoreError> {
    let [id, token, beside] = array::<3>(value)?;
    let id = TokenId::new(text(id)?).map_err(StoreError::from)?;
    match (Hash::parse(token), Hash::parse(beside)) {
        (Ok(token), Ok(beside)) => Ok(Row { id, token, beside }),
        _ => Err(unreadable(&id)),
    }
}

/// The tokens in a list of ids and hashes.
pub(crate) fn tokens(value: Value) -> Result<Vec<OAuthToken>, StoreError> {
    let mut tokens = Vec::new();
    for entry in list(value)? {
        let [id, hash] = array::<2>(entry)?;
        let id = TokenId::new(text(id)?).map_err(StoreError::from)?;
        tokens.extend(token(&id, hash)?);
    }
    Ok(tokens)
}

/// The token in a hash; `None` if there is none.
pub(crate) fn token(id: &TokenId, hash: Value) -> Result<Option<OAuthToken>, StoreError> {
    let flat = texts(hash).map_err(|_not_text| unreadable(id))?;
    if flat.is_empty() {
        return Ok(None);
    }
    let mut columns: [Option<String>; 10] = Default::default();
    let mut flat = flat.into_iter();
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        if let Some(field) = Field::ALL.into_iter().find(|field| field.name() == name) {
            columns[field as usize] = Some(value);
        }
    }
    of_columns(id, columns).map(Some)
}

fn of_columns(id: &TokenId, mut columns: [Option<String>; 10]) -> Result<OAuthToken, StoreError> {
    columns[Field::Id as usize] = Some(id.to_string());
    OAuthToken::from_columns(columns).map_err(|error| {
        corrupt(format!("token {id} cannot be read: {}", error.field()))
            .with_hint("delete it and log in again, or restore a backup")
    })
}

fn unreadable(id: &TokenId) -> StoreError {
    corrupt(format!("token {id} cannot be read"))
        .with_hint("delete it and log in again, or restore a backup")
}

impl Row {
    /// The token; `None` if it is not there.
    pub(crate) fn token(&self) -> Result<Option<OAuthToken>, StoreError> {
        if self.token.0.is_empty() {
            return Ok(None);
        }
        let columns = Field::ALL.map(|field| self.token.get(field.name()).map(str::to_owned));
        of_columns(&self.id, columns).map(Some)
    }

    /// Which write left the token; empty if it is not there.
    pub(crate) fn token_version(&self) -> &str {
        self.token.get(VERSION).unwrap_or_default()
    }

    /// Which write left what is beside the token; empty if there is nothing.
    pub(crate) fn beside_version(&self) -> &str {
        self.beside.get(VERSION).unwrap_or_default()
    }

    /// What is beside the token, as far as it can be read; `None` if there is nothing.
    pub(crate) fn entry(&self) -> Option<SidecarEntry> {
        if self.beside.0.is_empty() {
            return None;
        }
        let mut entry = SidecarEntry::default();
        entry.user_name = self.beside.get(Field::UserName.name()).map(str::to_owned);
        entry.client_id = self.beside.get(Field::ClientId.name()).map(str::to_owned);
        entry.state = self.beside.get(STATE).and_then(|json| serde_json::from_str(json).ok());
        entry.lease = self.lease();
        Some(entry)
    }

    /// Whether what is beside the token was written for `token`, or there is nothing.
    pub(crate) fn is_of(&self, token: &OAuthToken) -> bool {
        self.entry().is_none_or(|entry| entry.belongs_to(token))
    }

    /// Whether a state is beside the token, readable or not.
    pub(crate) fn has_state(&self) -> bool {
        self.beside.get(STATE).is_some()
    }

    /// What is known of the token `token`.
    pub(crate) fn state(&self, token: &OAuthToken) -> Result<Option<TokenState>, StoreError> {
        let json = self.beside.get(STATE).filter(|_json| self.is_of(token));
        json.map(serde_json::from_str).transpose().map_err(|_not_a_state| {
            corrupt(format!("the state of token {} cannot be read", self.id))
                .with_hint("refresh the token or log in again: that writes it anew")
        })
    }

    fn lease(&self) -> Option<LeaseRecord> {
        let generation = self.beside.get(LEASE_GENERATION)?.parse().ok()?;
        Some(LeaseRecord::new(
            self.beside.get(LEASE_HOLDER).unwrap_or_default(),
            generation,
            Timestamp::from_millis(self.beside.number(LEASE_UNTIL)),
            Duration::from_millis(self.beside.number(LEASE_TTL)),
        ))
    }
}

/// Which write left a hash.
pub(crate) const VERSION: &str = "version";
pub(crate) const STATE: &str = "state";
pub(crate) const LEASE_HOLDER: &str = "lease_holder";
pub(crate) const LEASE_GENERATION: &str = "lease_generation";
pub(crate) const LEASE_UNTIL: &str = "lease_until";
pub(crate) const LEASE_TTL: &str = "lease_ttl_ms";

impl Hash {
    fn parse(value: Value) -> Result<Self, StoreError> {
        let flat = texts(value)?;
        let mut fields = HashMap::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            fields.insert(name, value);
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number; zero if it is none.
    fn number<N: std::str::FromStr + Default>(&self, name: &str) -> N {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// The names of the fields. The values may be secrets.
impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

fn array<const N: usize>(value: Value) -> Result<[Value; N], StoreError> {
    list(value)?.try_into().map_err(|_other_length| unexpected())
}

pub(crate) fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    let Value::Array(values) = value else { return Err(unexpected()) };
    Ok(values)
}

fn texts(value: Value) -> Result<Vec<String>, StoreError> {
    list(value)?.into_iter().map(text).collect()
}

pub(crate) fn text(value: Value) -> Result<String, StoreError> {
    let Value::BulkString(bytes) = value else { return Err(unexpected()) };
    String::from_utf8(bytes).map_err(|_not_utf8| corrupt("what is stored is not text"))
}
