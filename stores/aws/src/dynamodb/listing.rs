//! Listing: all tokens by a scan, and some in the order of ids by the index.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use tokenkeep_core::{OAuthToken, Page, StoreError, TokenId, TokenMeta};

use super::{
    items::{INDEX, PK, PLACE, Row, SHELF, SHELVES, TOKENS, id_at, place_of, text},
    save::rows,
    table::Run,
};

/// How many items one answer of the index brings at most.
const CHUNK: usize = 500;
/// How many tokens are read at a time.
const BATCH: usize = 100;

/// All tokens, as each is at the moment it is read.
pub(crate) async fn all(mut run: Run) -> Result<Vec<OAuthToken>, StoreError> {
    let mut tokens: Vec<OAuthToken> = Vec::new();
    scan(&mut run, TOKENS, &mut |item| {
        tokens.push(Row::parse(item)?.token);
        Ok(())
    })
    .await?;
    tokens.sort_by(|one, other| one.id().cmp(&other.id()));
    Ok(tokens)
}

/// Hands each item to `take` whose key begins with `prefix`.
pub(crate) async fn scan(
    run: &mut Run,
    prefix: &str,
    take: &mut (dyn FnMut(super::items::Item) -> Result<(), StoreError> + Send),
) -> Result<(), StoreError> {
    let mut from = None;
    loop {
        let table = Arc::clone(&run.table);
        let request = || {
            let scan = table.client.scan().table_name(&table.name).consistent_read(true);
            scan.filter_expression("begins_with(pk, :prefix)")
                .expression_attribute_values(":prefix", text(prefix))
                .set_exclusive_start_key(from.clone())
                .send()
        };
        let answer = run.ask(request).await?;
        for item in answer.items.into_iter().flatten() {
            take(item)?;
        }
        from = answer.last_evaluated_key;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// The next tokens in the order of ids, without their secrets.
pub(crate) async fn page(
    mut run: Run,
    after: Option<TokenId>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut order = Order::new(after.as_ref(), limit);
    let mut page = Page::default();
    // One more than asked for tells whether this is the last page.
    let wanted = limit.saturating_add(1);
    let mut found: Vec<Row> = Vec::new();
    while found.len() < wanted {
        let ids = order.take(&run, (wanted - found.len()).min(BATCH)).await?;
        if ids.is_empty() {
            break;
        }
        let mut rows: HashMap<TokenId, Row> =
            rows(&mut run, &ids).await?.into_iter().map(|row| (row.id.clone(), row)).collect();
        // The index may still have some that are gone.
        found.extend(ids.iter().filter_map(|id| rows.remove(id)));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    for row in found {
        let state = match row.state() {
            Ok(state) => state,
            Err(error) => {
                page.damage.push(error.to_string());
                None
            }
        };
        page.tokens.extend(TokenMeta::of(&row.token, state));
    }
    if more {
        page.next = page.tokens.last().map(|last| last.id.clone());
    }
    Ok(page)
}

/// The index, whose partitions are merged.
struct Order {
    shelves: Vec<Shelf>,
    chunk: usize,
}

struct Shelf {
    name: &'static str,
    /// Places that were read and are still to come.
    places: VecDeque<String>,
    /// The last place that was read, or where the page begins.
    after: Option<String>,
    /// Whether there may be more.
    more: bool,
}

impl Order {
    fn new(after: Option<&TokenId>, limit: usize) -> Self {
        let after = after.map(place_of);
        let shelf =
            |name| Shelf { name, places: VecDeque::new(), after: after.clone(), more: true };
        // Twice the share of each, so that one answer mostly is enough.
        let chunk = (limit / SHELVES.len() * 2).saturating_add(8).min(CHUNK);
        Self { shelves: SHELVES.map(shelf).into(), chunk }
    }

    /// The next ids.
    async fn take(&mut self, run: &Run, count: usize) -> Result<Vec<TokenId>, StoreError> {
        let mut ids = Vec::new();
        while ids.len() < count {
            self.fill(run).await?;
            let first = self.shelves.iter_mut().filter(|shelf| !shelf.places.is_empty());
            let Some(first) = first.min_by(|a, b| a.places[0].cmp(&b.places[0])) else { break };
            ids.extend(first.places.pop_front().as_deref().and_then(id_at));
        }
        Ok(ids)
    }

    /// Reads on wherever nothing is left.
    async fn fill(&mut self, run: &Run) -> Result<(), StoreError> {
        let empty = |shelf: &&mut Shelf| shelf.places.is_empty() && shelf.more;
        let chunk = self.chunk;
        let reads = self.shelves.iter_mut().filter(empty).map(|shelf| {
            let mut run = run.another();
            async move { shelf.read(&mut run, chunk).await }
        });
        try_join_all(reads).await.map(drop)
    }
}

impl Shelf {
    async fn read(&mut self, run: &mut Run, chunk: usize) -> Result<(), StoreError> {
        while self.places.is_empty() && self.more {
            let table = Arc::clone(&run.table);
            let request = || {
                let condition = match &self.after {
                    Some(_) => "#shelf = :shelf AND #place > :after",
                    None => "#shelf = :shelf",
                };
                let mut query = table.client.query().table_name(&table.name).index_name(INDEX);
                query = query.key_condition_expression(condition);
                query = query.expression_attribute_names("#shelf", SHELF);
                query = query.expression_attribute_values(":shelf", text(self.name));
                if let Some(after) = &self.after {
                    query = query.expression_attribute_names("#place", PLACE);
                    query = query.expression_attribute_values(":after", text(after));
                }
                query.limit(i32::try_from(chunk).unwrap_or(i32::MAX)).send()
            };
            let answer = run.ask(request).await?;
            self.more = answer.last_evaluated_key.is_some();
            for mut item in answer.items.into_iter().flatten() {
                if let Some(AttributeValue::S(place)) = item.remove(PLACE) {
                    self.places.push_back(place);
                }
            }
            self.after = self.places.back().cloned().or(self.after.take());
        }
        Ok(())
    }
}

/// The ids of all tokens.
pub(crate) async fn ids(mut run: Run) -> Result<Vec<TokenId>, StoreError> {
    let mut ids = Vec::new();
    scan(&mut run, TOKENS, &mut |item| {
        let pk = super::items::text_of(&item, PK)?.and_then(|pk| pk.strip_prefix(TOKENS));
        ids.extend(pk.and_then(|id| TokenId::new(id).ok()));
        Ok(())
    })
    .await?;
    Ok(ids)
}
