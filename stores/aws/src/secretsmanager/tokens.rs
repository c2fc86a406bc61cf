//! The tokens: each in a secret of its own, which the index names.
//!
//! A token is changed in its secret, by comparison. Where the index has to say something else of it
//! afterwards, or its secret has as many versions as it may have, it is written into another
//! secret, and the index is changed to name that: the moment at which all of it is done. So that no
//! other change of the old secret comes in between, its last version says that it is being left,
//! and over which version of the index. Readers do not care. A writer who finds that either waits,
//! or sees that the index has changed and the leaving has failed, or changes the index so that it
//! fails.

use std::sync::Arc;

use tokenkeep_core::{OAuthToken, StoreError, TokenId};
use tokio::sync::OwnedMutexGuard;

use super::{
    directory::{MANY, Snapshot},
    document::Document,
    index::{Index, Row},
    secrets::{Run, Version, Written, busy},
};
use crate::error::corrupt;

/// How often somebody who leaves a secret is waited for.
const PATIENCE: u32 = 4;

/// A token as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) id: TokenId,
    row: Row,
    version: String,
    pub(crate) document: Document,
}

/// Tokens that were read: each, or why it cannot be.
pub(crate) type Tokens = Vec<(TokenId, Result<Loaded, StoreError>)>;

/// What was read together.
pub(crate) struct View {
    pub(crate) snapshot: Snapshot,
    pub(crate) tokens: Tokens,
}

impl View {
    /// The token with this id.
    pub(crate) fn one(self, id: &TokenId) -> Result<Option<Loaded>, StoreError> {
        self.tokens.into_iter().find(|(found, _)| found == id).map(|(_id, read)| read).transpose()
    }
}

impl Run {
    pub(crate) fn token_name(&self, end: &str) -> String {
        self.name(&format!("token/{end}"))
    }

    /// The index as it is now, and the tokens that `pick` names in it.
    pub(crate) async fn view(
        &mut self,
        pick: impl Fn(&Index) -> Vec<TokenId> + Send,
    ) -> Result<View, StoreError> {
        let mut before = None;
        loop {
            let snapshot = self.index().await?;
            let mark = snapshot.mark();
            let tokens = self.load(&snapshot.index, pick(&snapshot.index)).await?;
            // What is gone was removed by a later change of the index, if there is one.
            if tokens.iter().all(|(_id, found)| found.is_some()) || before.as_ref() == Some(&mark) {
                let gone = |id: &TokenId| {
                    let message = format!("the secret of token {id} is gone");
                    corrupt(message).with_hint("restore it, or delete the token and log in again")
                };
                let tokens = tokens.into_iter();
                let tokens = tokens.map(|(id, found)| {
                    let found = found.unwrap_or_else(|| Err(gone(&id)));
                    (id, found)
                });
                return Ok(View { tokens: tokens.collect(), snapshot });
            }
            before = Some(mark);
        }
    }

    async fn load(
        &mut self,
        index: &Index,
        ids: Vec<TokenId>,
    ) -> Result<Vec<(TokenId, Option<Result<Loaded, StoreError>>)>, StoreError> {
        let rows = ids.into_iter().filter_map(|id| index.tokens.get(&id).map(|row| (id, row)));
        let rows: Vec<_> = rows.map(|(id, row)| (id, row, self.token_name(row.secret()))).collect();
        let names: Vec<String> = rows.iter().map(|(_id, _row, name)| name.clone()).collect();
        let mut versions = self.get_all(&names).await?;
        let load = |(id, row, name): (TokenId, &Row, String)| {
            let loaded = versions.remove(&name).map(|Version { id: version, text }| {
                let document = Document::parse(&id, &text)?;
                Ok(Loaded { id: id.clone(), row: row.clone(), version, document })
            });
            (id, loaded)
        };
        Ok(rows.into_iter().map(load).collect())
    }

    /// Whether what was read may be written over. If somebody is leaving its secret it may not:
    /// it is read again.
    pub(crate) async fn is_settled(
        &mut self,
        loaded: &Loaded,
        waited: &mut u32,
    ) -> Result<bool, StoreError> {
        let Some(leaving) = &loaded.document.leaving else { return Ok(true) };
        // Only the index as it is after the token was read tells.
        let snapshot = self.index().await?;
        if snapshot.mark() != *leaving {
            return Ok(snapshot.index.tokens.get(&loaded.id) == Some(&loaded.row));
        }
        *waited += 1;
        if *waited > PATIENCE {
            // Whoever it is may be dead.
            self.commit(&snapshot, snapshot.index.clone()).await?;
        }
        self.again(busy()).await;
        Ok(false)
    }

    /// Writes `document` in the place of what was read, and lets `absorbed` go. It is a conflict if
    /// one of them, or what the index says of them, is not as it was read any more.
    pub(crate) async fn put(
        &mut self,
        over: &Snapshot,
        loaded: &Loaded,
        mut document: Document,
        absorbed: Option<&Loaded>,
    ) -> Result<Written, StoreError> {
        document.versions = loaded.document.versions + 1;
        document.leaving = None;
        let stays = Row::new(loaded.row.secret(), &document.token) == loaded.row;
        if stays && absorbed.is_none() && document.versions < MANY {
            let name = self.token_name(loaded.row.secret());
            return self.replace(&name, &loaded.version, &document.to_text()?).await;
        }
        document.versions = 1;
        let text = document.to_text()?;
        for left in [Some(loaded), absorbed].into_iter().flatten() {
            let mut last = left.document.clone();
            last.leaving = Some(over.mark());
            last.versions += 1;
            let name = self.token_name(left.row.secret());
            if self.replace_aside(&name, &left.version, &last.to_text()?).await?
                == Written::Conflict
            {
                return Ok(Written::Conflict);
            }
        }
        let new = self.create_aside("token", &text).await?;
        let mut index = over.index.clone();
        index.put(loaded.id.clone(), Row::new(&new, &document.token));
        if let Some(absorbed) = absorbed {
            index.tokens.remove(&absorbed.id);
        }
        let written = self.commit(over, index).await?;
        if written == Written::Done {
            self.keep(&self.token_name(&new));
            for left in [Some(loaded), absorbed].into_iter().flatten() {
                let name = self.token_name(left.row.secret());
                self.after().unused.push(name);
            }
        }
        Ok(written)
    }

    /// Whether writing `document` in the place of `loaded` changes the index.
    pub(crate) fn changes_index(loaded: &Loaded, token: &OAuthToken) -> bool {
        Row::new(loaded.row.secret(), token) != loaded.row || loaded.document.versions + 1 >= MANY
    }

    /// The turn to change the index, of those in this process.
    pub(crate) async fn index_turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.secrets.index_turn).lock_owned().await
    }

    /// The turn to change the index, if nobody has it.
    pub(crate) fn try_index_turn(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.secrets.index_turn).try_lock_owned().ok()
    }
}
