//! Coordination across processes: compare-and-swap, leases, state, pages.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use mysql_async::{Conn, Params, prelude::Queryable};
use tokenkeep_core::{
    ChangeMark, Lease, LeaseAttempt, OAuthToken, Operation, Page, Replaced, SharedStore,
    SidecarEntry, StateReplaced, StoreError, TokenId, TokenState, plan_replace,
};

use crate::{
    beside::{self, Beside, Part},
    error::Fault,
    layout::Layout,
    pages,
    rows::{self, Stored, id_of, value, values_of},
    server::{Decision, Server, Session},
    store::MysqlStore,
};

#[async_trait]
impl SharedStore for MysqlStore {
    async fn replace_token(
        &self,
        expected: &OAuthToken,
        token: &OAuthToken,
        fence: Option<&Lease>,
    ) -> Result<Replaced, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        let args = Replacement { expected, token, fence };
        server.attempt(Operation::ReplaceToken, decision, || replace(server, decision, &args)).await
    }

    async fn try_lease(
        &self,
        id: &TokenId,
        holder: &str,
        ttl: Duration,
    ) -> Result<LeaseAttempt, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        let take = |entry: &mut SidecarEntry| {
            let attempt = entry.try_lease(id, holder, ttl, server.config.clock.now());
            let granted = matches!(attempt, LeaseAttempt::Granted(_));
            (attempt, granted.then_some(Part::Lease))
        };
        let taken =
            server.attempt(Operation::Lease, decision, || change(server, decision, id, take));
        Ok(taken.await?.unwrap_or(LeaseAttempt::NoToken))
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        let renew = |entry: &mut SidecarEntry| {
            let renewed = entry.renew_lease(lease, ttl, server.config.clock.now());
            let part = renewed.is_some().then_some(Part::Lease);
            (renewed, part)
        };
        let renewed = server.attempt(Operation::RenewLease, decision, || {
            change(server, decision, &lease.token_id, renew)
        });
        Ok(renewed.await?.flatten())
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        let release = |entry: &mut SidecarEntry| {
            let released = entry.release_lease(lease);
            (released, released.then_some(Part::Lease))
        };
        let released = server.attempt(Operation::ReleaseLease, decision, || {
            change(server, decision, &lease.token_id, release)
        });
        Ok(released.await?.unwrap_or(false))
    }

    async fn state(&self, id: &TokenId) -> Result<Option<TokenState>, StoreError> {
        let server = &*self.server;
        server
            .attempt(Operation::State, &Decision::default(), || async {
                let mut conn = server.connection().await?;
                match beside::read(&mut conn, &server.layout(), id).await? {
                    Some((stored, Some(beside))) => Ok(beside.state(&stored.token)?),
                    Some((_, None)) | None => Ok(None),
                }
            })
            .await
    }

    async fn replace_state(
        &self,
        id: &TokenId,
        expected: Option<&TokenState>,
        state: &TokenState,
    ) -> Result<StateReplaced, StoreError> {
        let (server, decision) = (&*self.server, &Decision::default());
        let replace = |entry: &mut SidecarEntry| {
            let replaced = entry.replace_state(expected, state);
            let written = replaced == StateReplaced::Written;
            (replaced, written.then_some(Part::State))
        };
        let replaced = server
            .attempt(Operation::ReplaceState, decision, || change(server, decision, id, replace));
        Ok(replaced.await?.unwrap_or(StateReplaced::NoToken))
    }

    /// Another one each time: an official SDK may have written, and no sign of that can be had for
    /// less than reading.
    async fn change_mark(&self) -> Result<ChangeMark, StoreError> {
        Ok(ChangeMark::new(self.server.marks.fetch_add(1, Ordering::Relaxed), 0))
    }

    async fn page(&self, after: Option<&TokenId>, limit: usize) -> Result<Page, StoreError> {
        let server = &*self.server;
        server
            .attempt(Operation::Page, &Decision::default(), || pages::page(server, after, limit))
            .await
    }
}

/// How often something is decided anew because others have written meanwhile, before others get a
/// pause.
const MEANWHILE: u32 = 16;

fn again_and_again() -> Fault {
    Fault::Passing(
        StoreError::new(
            tokenkeep_core::StoreErrorKind::Busy,
            "others changed what belongs to the token again and again",
        )
        .with_hint("try again"),
    )
}

/// Changes what is beside the token `id`: reads it, has `decide` change it, and writes it on the
/// condition that it still is as it was read; decides anew if not. `None` if there is no token.
async fn change<T>(
    server: &Server,
    decision: &Decision,
    id: &TokenId,
    decide: impl Fn(&mut SidecarEntry) -> (T, Option<Part>) + Send,
) -> Result<Option<T>, Fault>
where
    T: Send,
{
    let layout = server.layout();
    layout.check_writable()?;
    let mut conn = server.connection().await?;
    for _ in 0..MEANWHILE {
        let Some((stored, beside)) = beside::read(&mut conn, &layout, id).await? else {
            return Ok(None);
        };
        let read = beside.as_ref().map(Beside::entry);
        let mut entry = SidecarEntry::beside(&stored.token, read);
        let (answer, part) = decide(&mut entry);
        let Some(part) = part else { return Ok(Some(answer)) };
        let write = beside::write(&mut conn, &layout, &stored, beside.as_ref(), &entry, part);
        if decision.on(write).await? {
            return Ok(Some(answer));
        }
    }
    Err(again_and_again())
}

struct Replacement<'a> {
    expected: &'a OAuthToken,
    token: &'a OAuthToken,
    fence: Option<&'a Lease>,
}

async fn replace(
    server: &Server,
    decision: &Decision,
    args: &Replacement<'_>,
) -> Result<Replaced, Fault> {
    let Replacement { expected, token, fence } = *args;
    let layout = server.layout();
    layout.check(token)?;
    let Some(id) = expected.id() else {
        return Ok(plan_replace(None, None, expected, token, fence)?);
    };
    let mut conn = server.session().await?;
    for _ in 0..MEANWHILE {
        let (stored, beside) = match beside::read(&mut conn, &layout, id).await? {
            Some((stored, beside)) => (Some(stored), beside),
            None => (None, None),
        };
        let entry = beside.as_ref().map(Beside::entry);
        let now = stored.as_ref().map(|stored| stored.token.clone());
        let planned = plan_replace(now, entry.as_ref(), expected, token, fence)?;
        let (Replaced::Saved(merged), Some(stored)) = (&planned, stored) else {
            return Ok(planned);
        };
        let beside = beside.filter(|_| fence.is_some() || becomes_anothers(&stored.token, merged));
        let swap = Swap { stored: &stored, beside: beside.as_ref(), merged, given: token };
        if swap.make(&mut conn, &layout, decision).await? {
            return Ok(planned);
        }
    }
    Err(again_and_again())
}

fn becomes_anothers(stored: &OAuthToken, merged: &OAuthToken) -> bool {
    stored.user_name() != merged.user_name() || stored.client_id() != merged.client_id()
}

/// One row in the place of another.
struct Swap<'a> {
    stored: &'a Stored,
    /// What is beside it, if that is part of the condition or has to follow.
    beside: Option<&'a Beside>,
    merged: &'a OAuthToken,
    given: &'a OAuthToken,
}

impl Swap<'_> {
    /// Writes it, if all still is as it was read; whether it was.
    async fn make(
        &self,
        conn: &mut Session,
        layout: &Layout,
        decision: &Decision,
    ) -> Result<bool, Fault> {
        let fields = self.stored.token.fields_to_write(self.merged, self.given);
        if fields.is_empty() && self.beside.is_none() {
            return Ok(true);
        }
        if !layout.reads_back {
            return decision.on(self.write(conn, layout, &fields)).await;
        }
        conn.open();
        conn.query_drop("start transaction").await?;
        let written = self.write(conn, layout, &fields).await?;
        if written {
            rows::check_written(conn, layout, self.merged).await?;
        }
        decision.on(async { Ok(conn.query_drop("commit").await?) }).await?;
        conn.close();
        Ok(written)
    }

    /// One statement for both rows. The row beside the token is changed too, if it is part of the
    /// condition: only so does a node of a cluster notice that another one has changed it at the
    /// same time.
    async fn write(
        &self,
        conn: &mut Conn,
        layout: &Layout,
        fields: &[tokenkeep_core::Field],
    ) -> Result<bool, Fault> {
        let id = value(Some(id_of(&self.stored.token)?.as_str()));
        let mut values = Vec::new();
        let mut assignments = Vec::new();
        let (mut join, mut condition) = (String::new(), String::new());
        if let Some(beside) = self.beside {
            join = format!("join `{}` s on s.token_id = ?", layout.side);
            values.push(id.clone());
            assignments.push("s.writes = s.writes + 1".to_owned());
            let mut then = Vec::new();
            if becomes_anothers(&self.stored.token, self.merged) {
                if !beside.belongs_to(&self.stored.token) {
                    assignments.push("s.state = null, s.lease_generation = null".to_owned());
                }
                assignments.push("s.user_name = ?, s.client_id = ?".to_owned());
                then.push(value(self.merged.user_name()));
                then.push(value(self.merged.client_id()));
            }
            values.extend(then);
        }
        if !fields.is_empty() {
            assignments.push(layout.assignments(fields));
            values.extend(values_of(layout, self.merged, fields));
        }
        values.extend([id.clone(), id]);
        values.extend(self.stored.columns.iter().map(|column| value(column.as_deref())));
        if let Some(beside) = self.beside {
            let (unchanged, read) = beside.is_unchanged(Part::Lease);
            condition = format!(" and {unchanged}");
            values.extend(read);
        }
        let sql = format!(
            "update `{}` t {join} set {} where {} and {}{condition}",
            layout.table,
            assignments.join(", "),
            layout.is_id(),
            layout.is_unchanged()
        );
        conn.exec_drop(sql, Params::Positional(values)).await?;
        Ok(conn.affected_rows() > 0)
    }
}
