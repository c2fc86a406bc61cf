//! What it costs that no token is served for long after another process has replaced it: the
//! store's change mark, the asks that look at it, and what that is for each of many asks.

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use arc_swap::ArcSwapOption;
use tokenkeep_core::{Clock, Timestamp};
use tokenkeep_manager::{TokenHandle, TokenManager};

use crate::{ahead::Ahead, filled::Filled, report::Report, timer::Timer, tokens};

/// Half of the manager's bound, which is a second unless said: how often a token's handle looks.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// Between two asks of 1,000 a second, of which two look.
const PACE: Duration = Duration::from_millis(1);

/// The token that is asked for, and the one of somebody else.
const OURS: usize = 1;
const OTHERS: usize = 2;

/// All of it, on each store with `count` tokens.
pub(crate) async fn measure(timer: &Timer, count: usize, report: &mut Report) -> Result<()> {
    let clock = Arc::new(Ahead::default());
    for filled in Filled::each(count, &clock).await? {
        let manager = TokenManager::builder(Arc::clone(&filled.store))
            .clock(Arc::<Ahead>::clone(&clock))
            .build()?;
        let handle = manager.user(&tokens::user(OURS)).await?;
        handle.access_token().await?;
        let scene = Scene { timer, count, clock: &clock, filled: &filled, handle: &handle };
        scene.mark(report).await?;
        scene.asks("look_unchanged", LOOK_AFTER, report).await;
        scene.asks("ask_1000_hz", PACE, report).await;
        scene.changed(report).await?;
        scene.replaced(report).await?;
    }
    Ok(())
}

struct Scene<'a> {
    timer: &'a Timer,
    count: usize,
    clock: &'a Arc<Ahead>,
    filled: &'a Filled,
    handle: &'a TokenHandle,
}

impl Scene<'_> {
    /// The limit: an atomic number, `data_version` of a bare connection, two `stat`s.
    async fn mark(&self, report: &mut Report) -> Result<()> {
        let Filled { store, bare, name, .. } = self.filled;
        ensure!(store.shared().is_some(), "{name} is no shared store");
        let medians = self
            .timer
            .compare(
                async |_| {
                    let shared = store.shared().expect("it is a shared store");
                    black_box(shared.change_mark().await.expect("the store works"));
                },
                |_| {
                    black_box(bare.mark());
                },
            )
            .await;
        report.add("change_mark", name, self.count, medians);
        Ok(())
    }

    /// An ask each `pace`: one that looks and finds that nothing was changed, if it is time to; else
    /// most do not look. The limit: that of a fresh token and, if each looks, the mark.
    async fn asks(&self, row: &'static str, pace: Duration, report: &mut Report) {
        let token = self.bare_token();
        let clock: Arc<dyn Clock> = Arc::<Ahead>::clone(self.clock);
        let each_looks = pace >= LOOK_AFTER;
        let medians = self
            .timer
            .compare(
                async |_| {
                    self.clock.advance(pace);
                    self.ask().await;
                },
                |_| {
                    self.clock.advance(pace);
                    if each_looks {
                        black_box(self.filled.bare.mark());
                    }
                    let now = clock.now();
                    black_box(token.load_full().filter(|token| now < token.1));
                },
            )
            .await;
        report.add(row, self.filled.name, self.count, medians);
    }

    /// An ask that looks after another token was changed, so that it reads its own again. The
    /// limit: the mark and a read.
    async fn changed(&self, report: &mut Report) -> Result<()> {
        let before = self.handle.access_token().await?;
        self.after_a_change("look_changed", OTHERS, report).await;
        let after = self.handle.access_token().await?;
        ensure!(Arc::ptr_eq(&before, &after), "the token was not changed, and is another one");
        Ok(())
    }

    /// The same after its own was replaced, so that it serves the new one.
    async fn replaced(&self, report: &mut Report) -> Result<()> {
        let before = self.handle.access_token().await?;
        self.after_a_change("look_replaced", OURS, report).await;
        let after = self.handle.access_token().await?;
        ensure!(before.expires_at() < after.expires_at(), "the old token is served");
        Ok(())
    }

    async fn after_a_change(&self, row: &'static str, changed: usize, report: &mut Report) {
        let medians = self
            .timer
            .prepared(
                async |call| {
                    self.filled.change(changed, call + 1).await;
                    if let Some(young) = self.filled.young() {
                        tokio::time::sleep(young).await;
                    }
                    self.clock.advance(LOOK_AFTER);
                },
                async |_| self.ask().await,
                async |_| {
                    black_box(self.filled.bare.mark());
                    self.filled.bare.read(changed);
                },
            )
            .await;
        report.add(row, self.filled.name, self.count, medians);
    }

    async fn ask(&self) {
        black_box(self.handle.access_token().await.expect("the token is fresh"));
    }

    fn bare_token(&self) -> ArcSwapOption<(usize, Timestamp)> {
        let end = Timestamp::from_millis(i64::MAX);
        ArcSwapOption::from(Some(Arc::new((OURS, end))))
    }
}
