//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    SidecarEntry, StateReplaced, StoreError, TokenId, TokenMeta, TokenState, plan_replace,
};

use super::{
    document::Document,
    secrets::{Run, Written, busy},
    store::SecretsManagerStore,
};

#[async_trait]
impl SharedStore for SecretsManagerStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let id = expected.id().cloned();
        let (expected, token, fence) = (expected.clone(), token.clone(), fence.cloned());
        let plan = move |stored: Option<Document>| {
            let entry = stored.as_ref().map(Document::entry);
            let was = stored.as_ref().map(|document| document.token.clone());
            let replaced = plan_replace(was, entry.as_ref(), &expected, &token, fence.as_ref())?;
            let write = match (&replaced, stored) {
                (Replaced::Saved(merged), Some(stored)) if *merged != expected => {
                    Some(stored.with_token(merged.clone()))
                }
                _ => None,
            };
            Ok((replaced, write))
        };
        match id {
            Some(id) => self.edit(Operation::ReplaceToken, id, plan).await,
            None => plan(None)
                .map(|(replaced, _write)| replaced)
                .map_err(|error: StoreError| error.during(Operation::ReplaceToken)),
        }
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (of, holder) = (id.clone(), holder.to_owned());
        let clock = Arc::clone(&self.secrets.clock);
        let take = move |entry: &mut SidecarEntry| {
            let attempt = entry.try_lease(&of, &holder, ttl, clock.now());
            let granted = matches!(attempt, LeaseAttempt::Granted(_));
            (attempt, granted)
        };
        self.lease(Operation::Lease, id, LeaseAttempt::NoToken, take).await
    }

    async fn renew_lease(&self, held: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let (lease, clock) = (held.clone(), Arc::clone(&self.secrets.clock));
        let renew = move |entry: &mut SidecarEntry| {
            let renewed = entry.renew_lease(&lease, ttl, clock.now());
            let write = renewed.is_some();
            (renewed, write)
        };
        self.lease(Operation::RenewLease, &held.token_id, None, renew).await
    }

    async fn release_lease(&self, held: &Lease) -> Result<bool, StoreError> {
        let lease = held.clone();
        let release = move |entry: &mut SidecarEntry| {
            let released = entry.release_lease(&lease);
            (released, released)
        };
        self.lease(Operation::ReleaseLease, &held.token_id, false, release).await
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let read = |mut run: Run| async move {
            match run.view(|_index| vec![id.clone()]).await?.one(id)? {
                Some(loaded) => loaded.document.state(),
                None => Ok(None),
            }
        };
        self.secrets.read(Operation::State, read).await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (expected, state) = (expected.cloned(), state.clone());
        let plan = move |stored: Option<Document>| {
            let Some(stored) = stored else { return Ok((StateReplaced::NoToken, None)) };
            let was = stored.state().ok().flatten();
            if was != expected {
                return Ok((StateReplaced::Changed(was.map(Box::new)), None));
            }
            Ok((StateReplaced::Written, Some(stored.with_state(&state)?)))
        };
        self.edit(Operation::ReplaceState, id.clone(), plan).await
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        // Each token is in a secret of its own, and nothing tells cheaply that one has changed.
        Ok(ChangeMark::new(1, self.secrets.asked.fetch_add(1, Ordering::SeqCst)))
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.secrets.read(Operation::Page, |run| page(run, after, limit)).await
    }
}

impl SecretsManagerStore {
    /// Applies a rule to what is stored under `id`, and writes what it says.
    async fn edit<T: Send + 'static>(
        &self,
        operation: Operation,
        id: TokenId,
        rule: impl Fn(Option<Document>) -> Result<(T, Option<Document>), StoreError>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, StoreError> {
        let about = id.as_str().to_owned();
        let work = |mut run: Run| async move {
            let mut waited = 0;
            loop {
                let view = run.view(|_index| vec![id.clone()]).await?;
                let snapshot = view.snapshot.clone();
                let Some(loaded) = view.one(&id)? else { return Ok(rule(None)?.0) };
                let (answer, write) = rule(Some(loaded.document.clone()))?;
                let Some(write) = write else { return Ok(answer) };
                if run.is_settled(&loaded, &mut waited).await?
                    && run.put(&snapshot, &loaded, write, None).await? == Written::Done
                {
                    return Ok(answer);
                }
                run.again(busy()).await;
            }
        };
        self.secrets.write(operation, &about, work).await
    }

    /// Applies a rule of leases. `none` is the answer if there is no such token.
    async fn lease<T: Clone + Send + Sync + 'static>(
        &self,
        operation: Operation,
        id: &TokenId,
        none: T,
        rule: impl Fn(&mut SidecarEntry) -> (T, bool) + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let plan = move |stored: Option<Document>| {
            let Some(stored) = stored else { return Ok((none.clone(), None)) };
            let mut entry = stored.entry();
            let (answer, write) = rule(&mut entry);
            Ok((answer, write.then(|| stored.with_lease(entry.lease))))
        };
        self.edit(operation, id.clone(), plan).await
    }
}

async fn page(mut run: Run, after: Option<TokenId>, limit: usize) -> Result<Page, StoreError> {
    let view = run
        .view(|index| {
            let ids = index.tokens.keys().filter(|id| after.as_ref().is_none_or(|a| *id > a));
            ids.take(limit).cloned().collect()
        })
        .await?;
    let last = view.tokens.last().map(|(id, _read)| id.clone());
    let mut page = Page::default();
    for (_id, read) in view.tokens {
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(error) => {
                page.damage.push(error.to_string());
                continue;
            }
        };
        let state = loaded.document.state().unwrap_or_else(|error| {
            page.damage.push(error.to_string());
            None
        });
        page.tokens.extend(TokenMeta::of(&loaded.document.token, state));
    }
    let rest = last.filter(|last| view.snapshot.index.tokens.keys().any(|id| id > last));
    page.next = rest;
    Ok(page)
}
