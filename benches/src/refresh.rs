//! One whole refresh: what the protocol around the request costs.

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use tokenkeep_core::Operation;
use tokenkeep_testkit::FaultyStore;

use crate::{
    ahead::Ahead,
    filled::Filled,
    provider::Provider,
    report::{Report, Unit},
    timer::{Medians, Timer},
};

/// So that the provider's budget, ten in ten minutes, is never used up.
pub(crate) const BETWEEN: Duration = Duration::from_secs(61);

const READS: [Operation; 5] = [
    Operation::FindToken,
    Operation::FindTokenById,
    Operation::GetTokens,
    Operation::State,
    Operation::ChangeMark,
];

const WRITES: [Operation; 7] = [
    Operation::SaveToken,
    Operation::DeleteToken,
    Operation::ReplaceToken,
    Operation::Lease,
    Operation::RenewLease,
    Operation::ReleaseLease,
    Operation::ReplaceState,
];

/// Ours: `refresh` of a handle, on each store with `count` other tokens. The limit: the request,
/// which the emulator answers at once, and one durable write of the row.
pub(crate) async fn measure(timer: &Timer, count: usize, report: &mut Report) -> Result<()> {
    let clock = Arc::new(Ahead::default());
    for mut filled in Filled::each(count, &clock).await? {
        let provider = Provider::new(&clock);
        let manager = provider.manager(Arc::clone(&filled.store))?;
        let handle = provider.log_in(&manager).await?;
        let bare = Provider::new(&clock);
        let limit = &mut filled.bare;
        let medians = timer
            .for_writes()
            .prepared(
                async |_| clock.advance(BETWEEN),
                async |_| {
                    black_box(handle.refresh().await.expect("the provider answers"));
                },
                async |call| {
                    black_box(bare.refresh().await);
                    limit.save(1, call);
                },
            )
            .await;
        report.add("refresh", filled.name, count, medians);
        operations(&filled, &clock, count, report).await?;
    }
    Ok(())
}

/// How often a refresh reads the store and writes to it. The limit: read, ask, write.
async fn operations(
    filled: &Filled,
    clock: &Arc<Ahead>,
    count: usize,
    report: &mut Report,
) -> Result<()> {
    let store = FaultyStore::new(Arc::clone(&filled.store));
    let provider = Provider::new(clock);
    let manager = provider.manager(Arc::new(store.clone()))?;
    let handle = provider.log_in(&manager).await?;
    handle.refresh().await?;
    clock.advance(BETWEEN);
    let calls = |of: &[Operation]| of.iter().map(|it| store.calls(*it)).sum::<usize>();
    let before = (calls(&READS), calls(&WRITES), provider.refreshes());
    handle.refresh().await?;
    ensure!(provider.refreshes() == before.2 + 1, "a refresh is one request");
    let mut add = |name, ours: usize| {
        let medians = Medians { ours: ours as f64, limit: 1.0 };
        report.add_in(Unit::Operations, name, filled.name, count, medians);
    };
    add("refresh_reads", calls(&READS) - before.0);
    add("refresh_writes", calls(&WRITES) - before.1);
    Ok(())
}
