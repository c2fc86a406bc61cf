//! Many users' tokens in a manager's memory.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use anyhow::{Result, ensure};
use arc_swap::ArcSwapOption;
use tokenkeep_core::{
    Clock as _, ListStore, OAuthToken, SystemClock, Timestamp, TokenId, TokenQuery, TokenStore,
};
use tokenkeep_manager::TokenManager;
use tokenkeep_testkit::ManualClock;

use crate::{
    allocations::Scales,
    report::{Report, Unit},
    timer::{Medians, Timer, now, per_call},
    tokens,
};

const PEER: &str = "a HashMap of whole tokens by user, written here";

/// The least that has to be known of a user: the token, where it goes, its end.
type Least = HashMap<TokenId, Arc<ArcSwapOption<(String, String, Timestamp)>>>;

/// Ours: handles of `users` users whose tokens are in memory; what the store holds is not weighed.
pub(crate) async fn measure(timer: &Timer, users: usize, report: &mut Report) -> Result<()> {
    let store = Arc::new(ListStore::new());
    for number in 1..=users {
        store.save_token(&tokens::token(number, 0)?).await?;
    }
    let names: Vec<String> = (1..=users).map(tokens::user).collect();
    // It stands still, so that no token has to be compared with what is stored again.
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let manager = TokenManager::builder(Arc::clone(&store)).clock(clock).build()?;
    let per_user = |bytes: i64| bytes as f64 / users as f64;

    let mut handles = Vec::with_capacity(users);
    let scales = Scales::new();
    let begun = now();
    for name in &names {
        let handle = manager.user(name).await?;
        handle.access_token().await?;
        handles.push(handle);
    }
    let first = per_call(begun.elapsed(), users);
    let cached = per_user(scales.bytes());
    drop(scales);
    ensure!(handles.iter().all(|handle| handle.cached().is_some()), "a token is not in memory");

    let scales = Scales::new();
    let begun = now();
    let least = least(&store, &names).await?;
    let limit_first = per_call(begun.elapsed(), users);
    let limit = per_user(scales.bytes());
    drop(scales);

    let scales = Scales::new();
    let whole = whole(&store, &names).await?;
    let peer = per_user(scales.bytes());
    drop(scales);
    report.add_in(Unit::Bytes, "user_memory", "list", users, Medians { ours: cached, limit });
    report.add_peer("user_memory", "list", users, PEER, peer);
    let medians = Medians { ours: first, limit: limit_first };
    report.add("user_first", "list", users, medians);

    found(timer, "handle_held", &manager, &least, &whole, &names, report).await;

    let scales = Scales::new();
    drop(handles);
    let left = cached + per_user(scales.bytes());
    drop(scales);
    let medians = Medians { ours: left, limit: 0.0 };
    report.add_in(Unit::Bytes, "user_gone", "list", users, medians);

    found(timer, "handle_anew", &manager, &least, &whole, &names, report).await;
    Ok(())
}

async fn least(store: &ListStore, names: &[String]) -> Result<Least> {
    let mut least = Least::new();
    for name in names {
        let Some(token) = store.find_token(&TokenQuery::user(name)?).await? else { continue };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let access_token = text(token.access_token().map(|it| it.expose_secret()));
        let known =
            (access_token, text(token.api_domain()), token.expiry_time().unwrap_or_default());
        if let Some(id) = token.id() {
            least.insert(id.clone(), Arc::new(ArcSwapOption::from(Some(Arc::new(known)))));
        }
    }
    ensure!(least.len() == names.len(), "a token is missing");
    Ok(least)
}

async fn whole(store: &ListStore, names: &[String]) -> Result<HashMap<String, OAuthToken>> {
    let mut whole = HashMap::new();
    for name in names {
        if let Some(token) = store.find_token(&TokenQuery::user(name)?).await? {
            whole.insert(name.clone(), token);
        }
    }
    Ok(whole)
}

/// A handle for a user by name. The limit: to look the token up and copy it, as a store has to, and
/// to look up what is known of it.
async fn found(
    timer: &Timer,
    row: &'static str,
    manager: &TokenManager,
    least: &Least,
    whole: &HashMap<String, OAuthToken>,
    names: &[String],
    report: &mut Report,
) {
    let spread = tokens::spread(names.len(), names.len());
    let name = |call: usize| &names[spread[call % spread.len()] - 1];
    let medians = timer
        .compare(
            async |call| {
                black_box(manager.user(name(call)).await.expect("the user is there"));
            },
            |call| {
                let token = black_box(whole.get(name(call)).cloned());
                let id = token.as_ref().and_then(OAuthToken::id).expect("it has an id");
                black_box(least.get(id).map(Arc::clone));
            },
        )
        .await;
    report.add(row, "list", names.len(), medians);
}
