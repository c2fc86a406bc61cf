//! The path that every API call takes: a fresh token from memory.

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use arc_swap::ArcSwapOption;
use tokenkeep_core::{Clock, ListStore, SystemClock, TokenStore};
use tokenkeep_manager::TokenManager;

use crate::{allocations, report::Report, timer::Timer, tokens};

const CALLS: u64 = 10_000;

/// Ours: the handle of a user. The limit: one atomic load of a pointer, one look at the clock.
pub(crate) async fn measure(timer: &Timer, report: &mut Report) -> Result<()> {
    let store = ListStore::new();
    let expiry = SystemClock.now().plus(Duration::from_secs(3_600));
    let token = tokens::token(1, 0)?;
    let access_token = token.access_token().cloned();
    let token = match access_token {
        Some(access_token) => token.with_access_token(access_token, expiry),
        None => token,
    };
    store.save_token(&token).await?;
    let manager = TokenManager::builder(store).build()?;
    let handle = manager.user(&tokens::user(1)).await?;
    handle.access_token().await?;

    let before = allocations::so_far();
    for _ in 0..CALLS {
        black_box(handle.access_token().await?);
    }
    let allocations = allocations::so_far() - before;
    ensure!(
        allocations == 0,
        "a fresh token must not cost memory: {allocations} allocations in {CALLS} calls"
    );

    let bare = ArcSwapOption::from(Some(Arc::new((token, expiry))));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let medians = timer
        .compare(
            async |_| {
                black_box(handle.access_token().await.expect("the token is fresh"));
            },
            |_| {
                let now = clock.now();
                black_box(bare.load_full().filter(|token| now < token.1));
            },
        )
        .await;
    report.add("fresh_token", "memory", 1, medians);
    Ok(())
}
