//! Removing what nobody names any more: after each operation, and what a crash has left.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use aws_smithy_types::DateTime;
use futures_util::{StreamExt, stream};
use tokenkeep_core::{StoreError, StoreErrorKind, Timestamp};

use super::secrets::{After, Run, Secrets, TAG};
use crate::pace::limited;

/// How many secrets are removed at a time.
const AT_ONCE: usize = 8;

/// Does what is left to do when an operation is over. What cannot be done now is left to
/// [`sweep`].
pub(crate) async fn tidy(secrets: &Arc<Secrets>, after: After, is_known: bool) {
    let After { index, mut unused, unsure } = after;
    if is_known {
        unused.extend(unsure);
    }
    if index.is_none() && unused.is_empty() {
        return;
    }
    let mut run = Run::tidying(secrets);
    let progress = Arc::clone(&run.progress);
    let work = async {
        if let Some((end, number)) = index {
            // Before the old one goes.
            run.point(&end, number).await?;
        }
        remove(&run, unused, None).await.map(drop)
    };
    if let Err(error) = limited(secrets.timeout, &progress, Box::pin(work)).await {
        tracing::warn!(%error, "secrets that are not used any more stay until they are swept");
    }
}

/// Removes secrets; says how many there were.
pub(crate) async fn remove(
    run: &Run,
    names: Vec<String>,
    days: Option<u8>,
) -> Result<u64, StoreError> {
    let removing = names.into_iter().map(|name| {
        let mut run = run.another();
        async move { run.delete(&name, days).await }
    });
    let mut removing = stream::iter(removing).buffer_unordered(AT_ONCE);
    let mut removed = 0;
    while let Some(was_there) = removing.next().await {
        removed += u64::from(was_there?);
    }
    Ok(removed)
}

/// Removes the secrets of this store that nobody names and that are older than this.
pub(crate) async fn sweep(mut run: Run, older_than: Duration) -> Result<u64, StoreError> {
    let before = run.secrets.clock.now().minus(older_than);
    let mut listed = listed(&mut run).await?;
    listed.retain(|(_name, made)| *made <= before);
    let named = named(&mut run).await?;
    if named.is_empty() {
        // Without its root nobody can tell what is used.
        return Ok(0);
    }
    let unused = listed.into_iter().map(|(name, _made)| name);
    let unused = unused.filter(|name| !named.contains(name)).collect();
    remove(&run, unused, None).await
}

/// Removes the whole store: first what makes it one.
pub(crate) async fn remove_all(mut run: Run, days: Option<u8>) -> Result<u64, StoreError> {
    let listed = listed(&mut run).await?.into_iter().map(|(name, _made)| name);
    let named = match named(&mut run).await {
        // What is listed can be removed all the same.
        Err(error) if error.kind() == StoreErrorKind::Corrupt => BTreeSet::new(),
        named => named?,
    };
    let root = run.root_name();
    let first = remove(&run, vec![root.clone()], days).await?;
    let mut rest: BTreeSet<String> = listed.chain(named).collect();
    rest.remove(&root);
    Ok(first + remove(&run, rest.into_iter().collect(), days).await?)
}

/// The secrets that make the store, as far as they are there. The root names the newest index
/// afterwards: what it named before need not stay.
async fn named(run: &mut Run) -> Result<BTreeSet<String>, StoreError> {
    let snapshot = run.index().await?;
    let Some(end) = snapshot.secret() else { return Ok(BTreeSet::new()) };
    run.point(end, snapshot.index.number).await?;
    let mut named = BTreeSet::from([run.root_name(), run.index_name(end)]);
    named.extend(snapshot.index.tokens.values().map(|row| run.token_name(row.secret())));
    Ok(named)
}

/// The secrets below the prefix, as AWS lists them, and when each was made. The newest may lack.
async fn listed(run: &mut Run) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let prefix = run.name("");
    let mut listed = Vec::new();
    let mut next = None;
    loop {
        let client = run.secrets.client.clone();
        let request = || {
            let filter = |key, value: &str| Filter::builder().key(key).values(value).build();
            let list = client.list_secrets().max_results(100);
            list.filters(filter(FilterNameStringType::Name, &prefix))
                .filters(filter(FilterNameStringType::TagKey, TAG))
                .set_next_token(next.clone())
                .send()
        };
        let answer = run.ask(request).await?;
        for entry in answer.secret_list.into_iter().flatten() {
            if let (Some(name), Some(made)) = (entry.name, entry.created_date)
                && name.starts_with(&prefix)
            {
                listed.push((name, moment(made)));
            }
        }
        next = answer.next_token;
        if next.is_none() {
            return Ok(listed);
        }
    }
}

fn moment(at: DateTime) -> Timestamp {
    Timestamp::from_millis(at.to_millis().unwrap_or(i64::MAX))
}
