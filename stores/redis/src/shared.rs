//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::time::Duration;

use async_trait::async_trait;
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    SidecarEntry, StateReplaced, StoreError, TokenId, TokenMeta, TokenState, plan_replace,
};

use crate::{
    batch::Batch,
    change::{Decision, Look},
    error::invalid,
    rows::{self, Row, Seen},
    script::{Call, MARK},
    store::{RedisStore, token_of},
};

#[async_trait]
impl SharedStore for RedisStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let id = expected.id().ok_or_else(|| {
            invalid("the expected token has no id")
                .with_hint("pass the token as the store returned it")
                .during(Operation::ReplaceToken)
        })?;
        let decide = |seen: &Seen| replace(seen, id, expected, token, fence);
        let (replaced, _) =
            self.link.change(Operation::ReplaceToken, &Look::at(id), decide).await?;
        Ok(replaced)
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let now = || self.link.config.clock.now();
        let decide = |seen: &Seen| {
            let Some(mut beside) = Beside::of(seen, id)? else {
                return Ok(Decision::Answer(LeaseAttempt::NoToken));
            };
            let attempt = beside.entry.try_lease(id, holder, ttl, now());
            if matches!(attempt, LeaseAttempt::Granted(_)) {
                beside.write(seen, None, attempt)
            } else {
                Ok(Decision::Answer(attempt))
            }
        };
        let (attempt, _) = self.link.change(Operation::Lease, &Look::at(id), decide).await?;
        Ok(attempt)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let now = || self.link.config.clock.now();
        let decide = |seen: &Seen| {
            let Some(mut beside) = Beside::of(seen, &lease.token_id)? else {
                return Ok(Decision::Answer(None));
            };
            match beside.entry.renew_lease(lease, ttl, now()) {
                Some(renewed) => beside.write(seen, None, Some(renewed)),
                None => Ok(Decision::Answer(None)),
            }
        };
        let look = Look::at(&lease.token_id);
        let (renewed, _) = self.link.change(Operation::RenewLease, &look, decide).await?;
        Ok(renewed)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let decide = |seen: &Seen| {
            let Some(mut beside) = Beside::of(seen, &lease.token_id)? else {
                return Ok(Decision::Answer(false));
            };
            if beside.entry.release_lease(lease) {
                beside.write(seen, None, true)
            } else {
                Ok(Decision::Answer(false))
            }
        };
        let look = Look::at(&lease.token_id);
        let (released, _) = self.link.change(Operation::ReleaseLease, &look, decide).await?;
        Ok(released)
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let read = async {
            let seen = self.link.look(&Look::at(id), &mut self.link.limit()).await?;
            match (seen.row(id), token_of(&seen, id)?) {
                (Some(row), Some(token)) => row.state(&token),
                _ => Ok(None),
            }
        };
        read.await.map_err(|error: StoreError| error.during(Operation::State))
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let decide = |seen: &Seen| {
            let Some(mut beside) = Beside::of(seen, id)? else {
                return Ok(Decision::Answer(StateReplaced::NoToken));
            };
            let replaced = beside.entry.replace_state(expected, state);
            if replaced == StateReplaced::Written {
                beside.write(seen, Some(state), replaced)
            } else {
                Ok(Decision::Answer(replaced))
            }
        };
        let (replaced, _) =
            self.link.change(Operation::ReplaceState, &Look::at(id), decide).await?;
        Ok(replaced)
    }

    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        let read = async {
            let mark =
                self.link.read(&Call::new(&MARK, Vec::new()), &mut self.link.limit()).await?;
            let (written, expired) = rows::mark(mark)?;
            Ok(ChangeMark::new(written, expired))
        };
        read.await.map_err(|error: StoreError| error.during(Operation::ChangeMark))
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let read = self.link.rows(after, limit).await;
        let rows = read.map_err(|error| error.during(Operation::Page))?;
        let mut page = Page::new(Vec::new(), rows.next);
        for row in rows.rows {
            let (token, state, damage) = readable(row);
            page.tokens.extend(token.and_then(|token| TokenMeta::of(&token, state)));
            page.damage.extend(damage);
        }
        Ok(page)
    }
}

/// What of a row can be read, and what is wrong with the rest.
pub(crate) fn readable(
    row: Result<Row, StoreError>,
) -> (Option<OAuthToken>, Option<TokenState>, Option<String>) {
    let read = row.and_then(|row| {
        let token = row.token()?;
        Ok((token.as_ref().map_or(Ok(None), |token| row.state(token)), token))
    });
    match read {
        Ok((Ok(state), token)) => (token, state, None),
        Ok((Err(error), token)) => (token, None, Some(error.to_string())),
        Err(error) => (None, None, Some(error.to_string())),
    }
}

/// A token's row, and what is beside it by the time it is written.
struct Beside<'a> {
    row: &'a Row,
    /// Whether what is stored beside it belongs to it.
    keeps: bool,
    entry: SidecarEntry,
}

impl<'a> Beside<'a> {
    /// Of the token `id`; `None` if there is none.
    fn of(seen: &'a Seen, id: &TokenId) -> Result<Option<Self>, StoreError> {
        let (Some(row), Some(token)) = (seen.row(id), token_of(seen, id)?) else { return Ok(None) };
        let entry = SidecarEntry::beside(&token, row.entry());
        Ok(Some(Self { row, keeps: row.is_of(&token), entry }))
    }

    fn write<A>(
        self,
        seen: &Seen,
        state: Option<&TokenState>,
        answer: A,
    ) -> Result<Decision<A>, StoreError> {
        let mut batch = Batch::on(&[], seen)?;
        batch.watch_beside(self.row);
        batch.beside(&self.row.id, &self.entry, self.keeps, state)?;
        Ok(Decision::Write(batch, answer))
    }
}

fn replace(
    seen: &Seen,
    id: &TokenId,
    expected: &OAuthToken,
    token: &OAuthToken,
    fence: Option<&Lease>,
) -> Result<Decision<Replaced>, StoreError> {
    let row = seen.row(id);
    let entry = row.and_then(Row::entry);
    let replaced = plan_replace(token_of(seen, id)?, entry.as_ref(), expected, token, fence)?;
    let (Replaced::Saved(merged), Some(row)) = (&replaced, row) else {
        return Ok(Decision::Answer(replaced));
    };
    let mut batch = Batch::on(&[], seen)?;
    if fence.is_some() {
        batch.watch_beside(row);
    }
    batch.update(merged, expected.fields_to_write(merged, token));
    batch.follow(row, expected, merged, None)?;
    Ok(Decision::Write(batch, replaced))
}
