//! Writes: all of one change in one transaction, and what became of it if no answer came.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
};

use aws_sdk_dynamodb::operation::{
    put_item::PutItemError, transact_write_items::TransactWriteItemsError,
};
use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, TransactWriteItem, Update};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use tokenkeep_core::{StoreError, StoreErrorKind, TokenId};

use super::{
    edits::{self, Change, built},
    items::{Item, PK, REV, Row, mark_pk, nonce, number, text, text_of, token_pk},
    table::Run,
};
use crate::{
    error::{Fault, fault},
    pace::quietly,
};

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// Nothing was changed: what was read is not what is stored any more.
    Conflict,
}

/// A change of tokens, planned on what was read.
pub(crate) struct Plan {
    /// The tokens that were read.
    pub(crate) known: Vec<Row>,
    /// The key items that were read.
    pub(crate) read: HashMap<String, Option<Item>>,
    /// Those that a key item listed and that are not there.
    pub(crate) gone: HashSet<TokenId>,
    /// The token to write.
    pub(crate) write: Option<Row>,
    /// The token to remove.
    pub(crate) remove: Option<TokenId>,
}

impl Plan {
    fn changes(&self) -> Vec<Change<'_>> {
        let before = |id: &TokenId| self.known.iter().find(|row| row.id == *id);
        let mut changes = Vec::new();
        if let Some(row) = &self.write {
            let before = before(&row.id).map(|row| &row.token);
            changes.push(Change { id: &row.id, before, after: Some(&row.token) });
        }
        if let Some(id) = &self.remove {
            let before = before(id).map(|row| &row.token);
            changes.push(Change { id, before, after: None });
        }
        changes
    }
}

impl Run {
    /// Does what was planned, if all that was read is still so.
    ///
    /// With `careful`, the keys that the plan only supposes are read before.
    pub(crate) async fn commit(
        &mut self,
        mut plan: Plan,
        careful: bool,
    ) -> Result<Commit, StoreError> {
        if careful {
            let unread = edits::touched(&plan.changes()).into_iter();
            let unread: Vec<String> = unread.filter(|pk| !plan.read.contains_key(pk)).collect();
            let mut items = self.items(unread.clone()).await?;
            plan.read.extend(unread.into_iter().map(|pk| (pk.clone(), items.remove(&pk))));
        }
        let rev = nonce()?;
        let subject = plan.write.as_ref().map(|row| &row.id).or(plan.remove.as_ref());
        let Some(subject) = subject.cloned() else { return Ok(Commit::Done) };
        let was = plan.known.iter().find(|row| row.id == subject).map(|row| row.rev.clone());
        let will_be = plan.write.is_some().then(|| rev.clone());
        let items = self.transaction(plan, &subject, &rev)?;

        let mut lost = false;
        loop {
            self.progress.undecided.store(true, Ordering::SeqCst);
            let sent = self.send(&items, &rev).await;
            // Nobody knows as long as one that was sent may still be done.
            self.progress.undecided.store(lost, Ordering::SeqCst);
            match sent {
                Ok(Commit::Done) => {
                    self.progress.undecided.store(false, Ordering::SeqCst);
                    return Ok(Commit::Done);
                }
                Ok(Commit::Conflict) if lost => {
                    return self.find_out(&subject, was, will_be).await;
                }
                Ok(Commit::Conflict) => return Ok(Commit::Conflict),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(error)) => self.again(error).await,
                Err(Fault::Lost(error)) => {
                    lost = true;
                    self.progress.undecided.store(true, Ordering::SeqCst);
                    self.again(error).await;
                }
            }
        }
    }

    /// A change was sent, no answer came, and sent again it does not fit any more: because it was
    /// made the first time, or because somebody else was faster?
    async fn find_out(
        &mut self,
        subject: &TokenId,
        was: Option<String>,
        will_be: Option<String>,
    ) -> Result<Commit, StoreError> {
        let item = self.item(&token_pk(subject)).await?;
        let is = item.map(|item| text_of(&item, REV).map(|rev| rev.unwrap_or("").to_owned()));
        let is = is.transpose()?;
        let answer = if is == will_be {
            Commit::Done
        } else if is == was {
            Commit::Conflict
        } else {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "no answer came, and somebody else has written since",
            )
            .with_hint("load the token before you write again"));
        };
        self.progress.undecided.store(false, Ordering::SeqCst);
        Ok(answer)
    }

    fn transaction(
        &self,
        plan: Plan,
        subject: &TokenId,
        rev: &str,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let table = &self.table;
        let mut items = edits::writes(&table.name, &plan, &plan.changes())?;
        let old = |rev: &str| Some(HashMap::from([(":rev".to_owned(), text(rev))]));
        let write = plan.write.as_ref().map(|row| row.id.clone());
        for row in plan.known {
            let pk = text(token_pk(&row.id));
            let item = TransactWriteItem::builder();
            if write.as_ref() == Some(&row.id) {
                continue;
            }
            items.push(if plan.remove.as_ref() == Some(&row.id) {
                let delete = Delete::builder().table_name(&table.name).key(PK, pk);
                let delete = delete.condition_expression("rev = :rev");
                let delete = delete.set_expression_attribute_values(old(&row.rev));
                item.delete(delete.build().map_err(built)?).build()
            } else {
                let check = ConditionCheck::builder().table_name(&table.name).key(PK, pk);
                let check = check.condition_expression("rev = :rev");
                let check = check.set_expression_attribute_values(old(&row.rev));
                item.condition_check(check.build().map_err(built)?).build()
            });
        }
        if let Some(row) = plan.write {
            let was = row.rev.clone();
            let item = row.into_item(rev, table.clock.now(), table.expire_after)?;
            let put = Put::builder().table_name(&table.name).set_item(Some(item));
            let put = if was.is_empty() {
                put.condition_expression("attribute_not_exists(pk)")
            } else {
                put.condition_expression("rev = :rev").set_expression_attribute_values(old(&was))
            };
            items.push(TransactWriteItem::builder().put(put.build().map_err(built)?).build());
        }
        if let Some(shard) = shard(subject, table.marks) {
            let update = Update::builder().table_name(&table.name);
            let update = update.key(PK, text(mark_pk(shard)));
            let update = update.update_expression("ADD changes :one");
            let update = update.expression_attribute_values(":one", number(1));
            items.push(TransactWriteItem::builder().update(update.build().map_err(built)?).build());
        }
        Ok(items)
    }

    /// Sends it once. A single write needs no transaction, which would cost twice as much.
    async fn send(&self, items: &[TransactWriteItem], rev: &str) -> Result<Commit, Fault> {
        let client = &self.table.client;
        if let [item] = items
            && let Some(put) = &item.put
        {
            let request = client
                .put_item()
                .table_name(&put.table_name)
                .set_item(Some(put.item.clone()))
                .set_condition_expression(put.condition_expression.clone())
                .set_expression_attribute_values(put.expression_attribute_values.clone());
            return match quietly(request.send()).await {
                Ok(_answer) => Ok(Commit::Done),
                Err(error) if is_condition(&error) => Ok(Commit::Conflict),
                Err(error) => Err(fault(&error, "table")),
            };
        }
        let request = client.transact_write_items().client_request_token(rev);
        let request = request.set_transact_items(Some(items.to_vec()));
        match quietly(request.send()).await {
            Ok(_answer) => Ok(Commit::Done),
            Err(error) => cancelled(&error),
        }
    }
}

fn is_condition(error: &SdkError<PutItemError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception)
}

/// Why a transaction was not made.
fn cancelled(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Result<Commit, Fault> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return Err(fault(error, "table"));
    };
    let has = |wanted: &[&str]| {
        let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
        codes.any(|code| wanted.contains(&code))
    };
    let passing = |message: &str| {
        Err(Fault::Passing(StoreError::new(StoreErrorKind::Busy, message).with_hint("try again")))
    };
    if has(&["ConditionalCheckFailed"]) {
        Ok(Commit::Conflict)
    } else if has(&["ValidationError", "ItemCollectionSizeLimitExceeded"]) {
        Err(Fault::Final(StoreError::new(
            StoreErrorKind::Invalid,
            "DynamoDB does not take the token: it is too large, or the table is of another shape",
        )))
    } else if has(&["AccessDenied", "AccessDeniedException"]) {
        Err(Fault::Final(StoreError::new(
            StoreErrorKind::PermissionDenied,
            "AWS does not let these credentials write all items of the table",
        )))
    } else if has(&["TransactionConflict"]) {
        passing("others are writing the same tokens")
    } else {
        passing("AWS throttles the requests")
    }
}

/// Which item counts the changes of a token.
fn shard(id: &TokenId, marks: u32) -> Option<u32> {
    let sum = id
        .as_str()
        .bytes()
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    sum.checked_rem(marks)
}
