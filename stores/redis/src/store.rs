//! [`RedisStore`] and the six operations of a store.

use std::{ptr, sync::Arc};

use async_trait::async_trait;
use redis::Value;
use tokenkeep_core::{
    OAuthToken, Operation, SharedStore, StoreError, StoreErrorKind, TokenId, TokenQuery,
    TokenStore,
    matching::{self, KEYS, SavePlan, only},
};

use crate::{
    RedisConfig,
    batch::{Batch, new_mark},
    change::{Decision, Look},
    config::Topology,
    error::{corrupt, unexpected, unknown},
    keys::{index_name, place_of},
    link::Link,
    rows::{Row, Seen, text, token, tokens},
    script::{Call, FIND, OPEN, REMOVE},
};

/// Tokens in Redis: on one server, behind Sentinel, or in a Cluster.
///
/// Clones share their connections. See the crate for what it guarantees.
#[derive(Clone, Debug)]
pub struct RedisStore {
    pub(crate) link: Arc<Link>,
}

/// The version of what is stored that this code reads and writes.
const FORMAT: &str = "1";

impl RedisStore {
    pub(crate) async fn with(config: RedisConfig) -> Result<Self, StoreError> {
        let link = Link::new(config)?;
        if link.config.topology == Topology::Single {
            // Where nothing can be followed, nothing is waited for.
            link.reach().await?;
        }
        let format = link.read(&Call::new(&OPEN, Vec::new()), &mut link.limit()).await?;
        match text(format)?.as_str() {
            "" | FORMAT => Ok(Self { link: Arc::new(link) }),
            _ => Err(corrupt("what is stored was written by another version of tokenkeep")
                .with_hint("use that version, or another prefix")),
        }
    }

    /// Removes one token, or all; how many there were.
    async fn remove(&self, operation: Operation, id: Option<&TokenId>) -> Result<u64, StoreError> {
        let mut limit = match id {
            Some(_) => self.link.limit(),
            None => self.link.limit().patient(),
        };
        let mut arguments = vec![new_mark()?.to_string()];
        arguments.extend(id.map(place_of));
        let call = Call::new(&REMOVE, arguments);
        let removed = loop {
            match self.link.write(&call, &limit).await {
                Ok(answer) => break answer,
                Err(fault) if fault.lost => return Err(unknown(fault.error).during(operation)),
                Err(fault) => limit.pause(fault).await.map_err(|error| error.during(operation))?,
            }
        };
        let Value::Int(number) = removed else {
            return Err(unknown(unexpected()).during(operation));
        };
        Ok(u64::try_from(number).unwrap_or_default())
    }
}

#[async_trait]
impl TokenStore for RedisStore {
    async fn find_token(&self, query: &TokenQuery) -> Result<Option<OAuthToken>, StoreError> {
        let find = async {
            let key = query.key();
            let name = index_name(key.field(), key.expose_value())
                .ok_or_else(|| unsupported("this store does not know how to look for that"))?;
            let call = Call::new(&FIND, vec![name]);
            let mut tokens = tokens(self.link.read(&call, &mut self.link.limit()).await?)?;
            let Some(meant) = matching::find_one(query, &tokens)? else { return Ok(None) };
            let at = tokens.iter().position(|token| ptr::eq(token, meant));
            Ok(at.map(|at| tokens.swap_remove(at)))
        };
        find.await.map_err(|error: StoreError| error.during(Operation::FindToken))
    }

    async fn find_token_by_id(&self, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
        let mut ask = redis::cmd("HGETALL");
        ask.arg(self.link.keys.token(id));
        let found = self.link.ask(&ask, &mut self.link.limit()).await;
        found
            .and_then(|found| token(id, found))
            .map_err(|error| error.during(Operation::FindTokenById))
    }

    async fn save_token(&self, token: &OAuthToken) -> Result<OAuthToken, StoreError> {
        let look = Look::of(token);
        let save = |seen: &Seen| save(&look, seen, token);
        let (saved, given) = self.link.change(Operation::SaveToken, &look, save).await?;
        Ok(match given {
            Some(id) => saved.with_id(id),
            None => saved,
        })
    }

    async fn get_tokens(&self) -> Result<Vec<OAuthToken>, StoreError> {
        self.link.all().await.map_err(|error| error.during(Operation::GetTokens))
    }

    async fn delete_token(&self, id: &TokenId) -> Result<bool, StoreError> {
        Ok(self.remove(Operation::DeleteToken, Some(id)).await? > 0)
    }

    async fn delete_tokens(&self) -> Result<u64, StoreError> {
        self.remove(Operation::DeleteTokens, None).await
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }
}

impl Look {
    /// Everything that a save of `token` is decided on.
    pub(crate) fn of(token: &OAuthToken) -> Self {
        let columns = token.expose_columns();
        let names = KEYS
            .into_iter()
            .filter_map(|field| index_name(field, columns[field as usize].as_deref()?));
        Self { names: names.collect(), ids: token.id().cloned().into_iter().collect() }
    }
}

/// The token of this id, if it is there.
pub(crate) fn token_of(seen: &Seen, id: &TokenId) -> Result<Option<OAuthToken>, StoreError> {
    seen.row(id).map_or(Ok(None), Row::token)
}

fn save(look: &Look, seen: &Seen, token: &OAuthToken) -> Result<Decision<OAuthToken>, StoreError> {
    let candidates = seen.tokens()?;
    let mut batch = Batch::on(&look.names, seen)?;
    match matching::plan_save(token, &candidates)? {
        SavePlan::Update { id, merged, absorbs } => {
            let stored = only(&candidates, &id)?;
            let absorbed = match &absorbs {
                Some(absorbed) => Some((row_of(seen, absorbed)?, only(&candidates, absorbed)?)),
                None => None,
            };
            batch.update(&merged, stored.fields_to_write(&merged, token));
            batch.follow(row_of(seen, &id)?, stored, &merged, absorbed)?;
            if let Some((row, _)) = absorbed {
                batch.drop(row);
            }
            Ok(Decision::Write(batch, *merged))
        }
        SavePlan::Insert => {
            let stored = match token.id() {
                Some(id) => OAuthToken::new_row(id.clone(), token),
                // The script gives the id, so that those who add tokens do not wait for each other.
                None => OAuthToken::new_row(TokenId::from_number(0), token).without_id(),
            };
            batch.insert(&stored);
            Ok(Decision::Write(batch, stored))
        }
        _ => Err(unsupported("this store does not know how to save that")),
    }
}

fn row_of<'a>(seen: &'a Seen, id: &TokenId) -> Result<&'a Row, StoreError> {
    seen.row(id).ok_or_else(unexpected)
}

fn unsupported(message: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, message)
}
