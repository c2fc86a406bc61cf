//! What a change of tokens does to the items by which they are found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::{
    error::BuildError,
    types::{ConditionCheck, Delete, Put, TransactWriteItem},
};
use tokenkeep_core::{OAuthToken, StoreError, StoreErrorKind, TokenId};

use super::{
    commit::Plan,
    items::{IDS, PK, ids_of, keys_of, text, text_of},
};

/// A token that is written: as it was, and as it is going to be.
pub(crate) struct Change<'a> {
    pub(crate) id: &'a TokenId,
    pub(crate) before: Option<&'a OAuthToken>,
    pub(crate) after: Option<&'a OAuthToken>,
}

/// The keys that the changes concern.
pub(crate) fn touched(changes: &[Change<'_>]) -> BTreeSet<String> {
    let keys = |token: Option<&OAuthToken>| token.map(keys_of).unwrap_or_default();
    changes
        .iter()
        .flat_map(|change| {
            let before: BTreeSet<String> = keys(change.before).into_iter().collect();
            let after: BTreeSet<String> = keys(change.after).into_iter().collect();
            before.symmetric_difference(&after).cloned().collect::<Vec<_>>()
        })
        .collect()
}

/// The writes and checks of key items that `changes` need.
///
/// Each key item that was read is checked to be still the same. Of others it is supposed that they
/// list those of the known tokens that have the key; that holds but in odd cases, in which the
/// transaction fails and they are read.
pub(crate) fn writes(
    table: &str,
    plan: &Plan,
    changes: &[Change<'_>],
) -> Result<Vec<TransactWriteItem>, StoreError> {
    let mut after: BTreeMap<TokenId, Vec<String>> =
        plan.known.iter().map(|row| (row.id.clone(), keys_of(&row.token))).collect();
    let before = after.clone();
    for change in changes {
        after.insert(change.id.clone(), change.after.map(keys_of).unwrap_or_default());
    }
    let holders = |tokens: &BTreeMap<TokenId, Vec<String>>, pk: &String| {
        let holding = tokens.iter().filter(|(_id, keys)| keys.contains(pk));
        holding.map(|(id, _keys)| id.clone()).collect::<BTreeSet<TokenId>>()
    };
    let mut pks = touched(changes);
    pks.extend(plan.read.keys().cloned());
    pks.iter()
        .map(|pk| {
            let (old, mut new) = match plan.read.get(pk) {
                Some(None) => (None, BTreeSet::new()),
                Some(Some(item)) => {
                    let listed = ids_of(item)?.into_iter();
                    // Whoever was not read was not a candidate, and stays.
                    let others =
                        listed.filter(|id| !after.contains_key(id) && !plan.gone.contains(id));
                    (text_of(item, IDS)?.map(str::to_owned), others.collect())
                }
                None => {
                    let known = holders(&before, pk);
                    ((!known.is_empty()).then(|| list(&known)).transpose()?, BTreeSet::new())
                }
            };
            new.extend(holders(&after, pk));
            let new = (!new.is_empty()).then(|| list(&new)).transpose()?;
            write(table, pk, old, new).map_err(built)
        })
        .collect()
}

fn list(ids: &BTreeSet<TokenId>) -> Result<String, StoreError> {
    serde_json::to_string(ids)
        .map_err(|_error| StoreError::new(StoreErrorKind::Other, "ids cannot be written"))
}

fn write(
    table: &str,
    pk: &str,
    old: Option<String>,
    new: Option<String>,
) -> Result<TransactWriteItem, BuildError> {
    let item = TransactWriteItem::builder();
    let condition = if old.is_some() { "ids = :old" } else { "attribute_not_exists(pk)" };
    let values = old.clone().map(|old| HashMap::from([(":old".to_owned(), text(old))]));
    Ok(match new {
        new if new == old => item.condition_check(
            ConditionCheck::builder()
                .table_name(table)
                .key(PK, text(pk))
                .condition_expression(condition)
                .set_expression_attribute_values(values)
                .build()?,
        ),
        Some(new) => item.put(
            Put::builder()
                .table_name(table)
                .item(PK, text(pk))
                .item(IDS, text(new))
                .condition_expression(condition)
                .set_expression_attribute_values(values)
                .build()?,
        ),
        None => item.delete(
            Delete::builder()
                .table_name(table)
                .key(PK, text(pk))
                .condition_expression(condition)
                .set_expression_attribute_values(values)
                .build()?,
        ),
    }
    .build())
}

/// A request that lacks something is a mistake of ours.
pub(crate) fn built(_error: BuildError) -> StoreError {
    StoreError::new(StoreErrorKind::Other, "the request to AWS could not be made")
}
