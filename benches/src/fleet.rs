//! Refreshes through a manager on stores that several machines can share.

use std::{hint::black_box, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokenkeep_core::TokenStore;
use tokenkeep_manager::TokenHandle;
use tokenkeep_servers::Server;
use tokenkeep_store_redis::RedisConfig;
use tokio::task::JoinSet;

use crate::{
    ahead::Ahead,
    mysql,
    options::Options,
    provider::Provider,
    redis,
    refresh::BETWEEN,
    report::{Report, Unit},
    servers::{Driver, Pair, TASKS},
    timer::{Medians, Timer, median, now},
    tokens,
};

/// Ours: `refresh` of a handle, one after the other and of [`TASKS`] users at once. The limit: the
/// request, which the emulator answers at once, and one durable write of the row.
pub(crate) async fn refreshes<D: Driver>(
    timer: &Timer,
    pair: &Pair<D>,
    clock: &Arc<Ahead>,
    report: &mut Report,
) -> Result<()> {
    let Pair { name, count, store, driver } = pair;
    let provider = Provider::new(clock);
    let manager = provider.manager(Arc::clone(store))?;
    let handle = provider.log_in(&manager).await?;
    let bare = Provider::new(clock);
    let medians = timer
        .for_writes()
        .prepared(
            async |_| clock.advance(BETWEEN),
            async |_| {
                black_box(handle.refresh().await.expect("the provider answers"));
            },
            async |call| {
                black_box(bare.refresh().await);
                driver.upsert(&tokens::columns(1, call)).await.expect("the driver works");
            },
        )
        .await;
    report.add("refresh", name, *count, medians);

    let bare = Arc::new(bare);
    let handles = users(&provider, store).await?;
    let mut rates = (Vec::new(), Vec::new());
    let begun = now();
    for round in 0.. {
        if rates.0.len() > timer.rounds() && begun.elapsed() > timer.for_writes().budget() {
            break;
        }
        rates.0.push(renewed(clock, &handles).await?);
        let begun = now();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let (bare, driver) = (Arc::clone(&bare), driver.clone());
            tasks.spawn(async move {
                black_box(bare.refresh().await);
                driver.upsert(&tokens::columns(task + 1, round)).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("a task panicked")??;
        }
        rates.1.push(TASKS as f64 / begun.elapsed().as_secs_f64());
    }
    let rates = Medians { ours: median(rates.0), limit: median(rates.1) };
    report.add_in(Unit::Rate, "refreshes_16", name, *count, rates);
    Ok(())
}

/// The same of a store that has no limit beside it.
async fn alone(
    timer: &Timer,
    name: &'static str,
    count: usize,
    store: Arc<dyn TokenStore>,
    clock: &Arc<Ahead>,
    report: &mut Report,
) -> Result<()> {
    let provider = Provider::new(clock);
    let handles = users(&provider, &store).await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    let begun = now();
    while many.len() <= timer.rounds() || begun.elapsed() < timer.for_writes().budget() {
        for handle in &handles {
            clock.advance(BETWEEN);
            let begun = now();
            black_box(handle.refresh().await?);
            one.push(crate::timer::nanos(begun.elapsed()));
        }
        many.push(renewed(clock, &handles).await?);
    }
    report.add("refresh", name, count, Medians { ours: median(one), limit: 0.0 });
    let rates = Medians { ours: median(many), limit: 0.0 };
    report.add_in(Unit::Rate, "refreshes_16", name, count, rates);
    Ok(())
}

/// [`TASKS`] users that are logged in.
async fn users(provider: &Provider, store: &Arc<dyn TokenStore>) -> Result<Vec<Arc<TokenHandle>>> {
    let manager = provider.manager(Arc::clone(store))?;
    let mut handles = Vec::new();
    for number in 0..TASKS {
        let user = format!("test-user-{number}@example.com");
        handles.push(Arc::new(provider.log_in_as(&manager, &user).await?));
    }
    Ok(handles)
}

/// All users' tokens are refreshed at once: how many that is a second.
async fn renewed(clock: &Ahead, handles: &[Arc<TokenHandle>]) -> Result<f64> {
    clock.advance(BETWEEN);
    let begun = now();
    let mut tasks = JoinSet::new();
    for handle in handles {
        let handle = Arc::clone(handle);
        tasks.spawn(async move { handle.refresh().await.map(drop) });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a task panicked")??;
    }
    Ok(handles.len() as f64 / begun.elapsed().as_secs_f64())
}

/// Three nodes, of which one is written to.
pub(crate) async fn galera(
    timer: &Timer,
    options: &Options,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let address = &server.nodes()[0];
    let count = options.on_servers().last().copied().unwrap_or(crate::STORED);
    eprintln!("galera, {count} tokens");
    let clock = Arc::<Ahead>::default();
    let database = mysql::database(address, "ours", count).await?;
    let shared = Arc::<Ahead>::clone(&clock);
    let store = mysql::open(address, &database, Some(shared)).await?;
    mysql::fill(address, &database, count).await?;
    mysql::weigh(address, "galera", &database, count, report).await?;
    alone(timer, "galera", count, Arc::new(store), &clock, report).await
}

/// Three masters with a replica each.
pub(crate) async fn redis_cluster(
    timer: &Timer,
    options: &Options,
    server: &Server,
    report: &mut Report,
) -> Result<()> {
    let address = &server.nodes()[0];
    let count = options.on_servers().first().copied().unwrap_or(crate::STORED);
    eprintln!("redis cluster, {count} tokens");
    let clock = Arc::<Ahead>::default();
    let shared = Arc::<Ahead>::clone(&clock);
    for (name, replicas) in [("cluster", 0), ("cluster-w1", 1)] {
        let config = RedisConfig::cluster(&*address.host)
            .port(address.port)
            .user(&*address.user)
            .password(&*address.password)
            .prefix(name)
            .clock(Arc::<Ahead>::clone(&shared));
        let config = match replicas {
            0 => config,
            number => config.wait_replicas(number, Duration::from_secs(1)),
        };
        let store = config.open().await?;
        redis::fill(&store, count).await?;
        alone(timer, name, count, Arc::new(store), &clock, report).await?;
    }
    Ok(())
}
