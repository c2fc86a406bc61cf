//! The stores on servers, each beside the bare driver on the same server.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokenkeep_core::{TokenId, TokenQuery, TokenStore};
use tokenkeep_servers::{Kind, Server};
use tokio::task::JoinSet;

use crate::{
    fleet, mysql,
    options::Options,
    postgres, redis,
    report::{Report, Unit},
    timer::{Medians, Timer, median, now},
    tokens,
};

/// How many tasks work at once.
pub(crate) const TASKS: usize = 16;

/// How often tasks are let loose at once on ours and on the limit, in turn.
const ROUNDS: u32 = 3;

/// What the figures of this part are beside.
pub(crate) const LIMITS: &str = "
On servers ours and the limit use one server, without TLS, and are as durable: a save is on the disk
(redis-1s: within a second). _16 is 16 tasks at once.
find_by_user     one select by the indexed user name; in Redis one HGETALL of a hash under the name.
find_looked_up   Redis: a script that looks up where the token is and reads it, for a user may have several
                 tokens and a token no user.
save             one upsert of the whole row by an id that is known; nothing is looked for or decided.
save_decided     the user's row is read and locked, and what has changed is written: begin, select, update,
                 commit. Ours also looks for other rows with one of the tokens, and saves take turns.
saves_16         beside save_decided, of which several commit at once. Ours take turns; a refresh does not.
refresh          one request to a provider that takes no time, and one upsert. Ours writes five times.
";

/// The ten columns of a row.
pub(crate) type Columns = [Option<String>; 10];

/// What a good programmer writes with the driver alone, on a table of its own with the same indices.
pub(crate) trait Driver: Clone + Send + Sync + 'static {
    /// The row of a user.
    fn by_user(&self, user: &str) -> impl Future<Output = Result<Columns>> + Send;

    /// The row with an id.
    fn by_id(&self, id: &str) -> impl Future<Output = Result<Columns>> + Send;

    /// The same by one request that looks another key up first, where the data are laid out so that
    /// this makes a difference.
    fn look_up(&self, id: &str) -> impl Future<Output = Result<Option<Columns>>> + Send {
        let _one_index_leads_to_the_row = id;
        async { Ok(None) }
    }

    /// Writes a whole row whose id is known, as durably as the store.
    fn upsert(&self, row: &[String; 10]) -> impl Future<Output = Result<()>> + Send;

    /// Does what a save has to: reads the row of the user, so that nobody else changes it meanwhile,
    /// and then writes what has changed under the id that was read.
    fn decide(&self, row: &[String; 10]) -> impl Future<Output = Result<()>> + Send;
}

/// A store with `count` tokens and the driver without it.
pub(crate) struct Pair<D> {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
    pub(crate) store: Arc<dyn TokenStore>,
    pub(crate) driver: D,
}

/// All stores, each on a server of its own that is started for it; says which one is left out.
pub(crate) async fn measure(timer: &Timer, options: &Options, report: &mut Report) -> Result<()> {
    let kinds = [Kind::MariaDb, Kind::Postgres, Kind::Redis, Kind::Galera, Kind::RedisCluster];
    if kinds.iter().any(|kind| tokenkeep_servers::missing(*kind).is_some())
        && let Err(error) = tokenkeep_servers::fetch(&kinds)
    {
        eprintln!("servers could not be fetched: {error}");
    }
    if let Some(server) = started(Kind::MariaDb, mysql::SETTINGS) {
        mysql::measure(timer, options, &server, report).await?;
    }
    if let Some(server) = started(Kind::Postgres, postgres::SETTINGS) {
        postgres::measure(timer, options, &server, report).await?;
    }
    if let Some(server) = started(Kind::Redis, redis::DURABLE) {
        redis::measure(timer, options, "redis", &server, report).await?;
    }
    // Once more as Redis is mostly run: a write that was answered is on its way to the disk.
    if let Some(server) = started(Kind::Redis, &[]) {
        redis::measure(timer, options, "redis-1s", &server, report).await?;
    }
    if let Some(server) = started(Kind::Galera, mysql::SETTINGS) {
        fleet::galera(timer, options, &server, report).await?;
    }
    if let Some(server) = started(Kind::RedisCluster, redis::DURABLE) {
        fleet::redis_cluster(timer, options, &server, report).await?;
    }
    Ok(())
}

fn started(kind: Kind, settings: &[&str]) -> Option<Server> {
    match tokenkeep_servers::start_with(kind, settings) {
        Ok(server) => Some(server),
        Err(missing) => {
            eprintln!("LEFT OUT: {kind}: {missing}");
            None
        }
    }
}

impl<D: Driver> Pair<D> {
    /// Finds and saves, one after the other and [`TASKS`] at once.
    pub(crate) async fn measure(
        &self,
        timer: &Timer,
        users: usize,
        report: &mut Report,
    ) -> Result<()> {
        let numbers = tokens::spread(self.count, users);
        // First, so that all connections are there, and all statements prepared.
        self.finds_at_once(timer, &numbers, report).await?;
        self.finds(timer, &numbers, report).await?;
        self.saves(timer, &numbers, report).await?;
        self.saves_at_once(timer, &numbers, report).await
    }

    async fn finds(&self, timer: &Timer, numbers: &[usize], report: &mut Report) -> Result<()> {
        let Self { name, count, store, driver } = self;
        let users: Vec<String> = numbers.iter().map(|number| tokens::user(*number)).collect();
        let queries: Vec<TokenQuery> =
            users.iter().map(TokenQuery::user).collect::<Result<_, _>>()?;
        let found = store.find_token(&queries[0]).await?.context("the store lost a token")?;
        ensure!(found.user_name() == Some(&users[0]), "the store found another token");
        let found = driver.by_user(&users[0]).await?;
        ensure!(found[1].as_ref() == Some(&users[0]), "the limit found another token");
        let medians = timer
            .alternate(
                async |call| {
                    let query = &queries[call % queries.len()];
                    black_box(store.find_token(query).await.expect("the store works"));
                },
                async |call| {
                    let user = &users[call % users.len()];
                    black_box(driver.by_user(user).await.expect("the driver works"));
                },
            )
            .await;
        report.add("find_by_user", name, *count, medians);

        let ids: Vec<TokenId> =
            numbers.iter().map(|number| TokenId::from_number(*number as u64)).collect();
        let medians = timer
            .alternate(
                async |call| {
                    let id = &ids[call % ids.len()];
                    black_box(store.find_token_by_id(id).await.expect("the store works"));
                },
                async |call| {
                    let id = ids[call % ids.len()].as_str();
                    black_box(driver.by_id(id).await.expect("the driver works"));
                },
            )
            .await;
        report.add("find_by_id", name, *count, medians);

        if driver.look_up(ids[0].as_str()).await?.is_none() {
            return Ok(());
        }
        let medians = timer
            .alternate(
                async |call| {
                    let query = &queries[call % queries.len()];
                    black_box(store.find_token(query).await.expect("the store works"));
                },
                async |call| {
                    let id = ids[call % ids.len()].as_str();
                    black_box(driver.look_up(id).await.expect("the driver works"));
                },
            )
            .await;
        report.add("find_looked_up", name, *count, medians);
        Ok(())
    }

    async fn finds_at_once(
        &self,
        timer: &Timer,
        numbers: &[usize],
        report: &mut Report,
    ) -> Result<()> {
        let (store, driver) = (Arc::clone(&self.store), self.driver.clone());
        let numbers: Arc<[usize]> = numbers.into();
        let user = move |call: usize| tokens::user(numbers[call % numbers.len()]);
        let other = user.clone();
        let rates = in_turn(
            timer.budget() / ROUNDS,
            move |call| {
                let (store, user) = (Arc::clone(&store), user(call));
                async move {
                    let query = TokenQuery::user(user)?;
                    black_box(store.find_token(&query).await?.context("a token is lost")?);
                    Ok(())
                }
            },
            move |call| {
                let (driver, user) = (driver.clone(), other(call));
                async move {
                    black_box(driver.by_user(&user).await?);
                    Ok(())
                }
            },
        )
        .await?;
        report.add_in(Unit::Rate, "finds_16", self.name, self.count, rates);
        Ok(())
    }

    /// A refreshed token of a known user, beside two limits: one that knows the id already and
    /// writes the whole row, and one that reads and locks the row first, as it has to be.
    async fn saves(&self, timer: &Timer, numbers: &[usize], report: &mut Report) -> Result<()> {
        let Self { name, count, store, driver } = self;
        let number = |call: usize| numbers[call / 2 % numbers.len()];
        let save = async |call| {
            let token = tokens::token(number(call), call).expect("the token is valid");
            black_box(store.save_token(&token).await.expect("the store works"));
        };
        let timer = timer.for_writes();
        let medians = timer
            .alternate(save, async |call| {
                let row = tokens::columns(number(call), call);
                driver.upsert(&row).await.expect("the driver works");
            })
            .await;
        report.add("save", name, *count, medians);
        let medians = timer
            .alternate(save, async |call| {
                let row = tokens::columns(number(call), call);
                driver.decide(&row).await.expect("the driver works");
            })
            .await;
        report.add("save_decided", name, *count, medians);
        Ok(())
    }

    async fn saves_at_once(
        &self,
        timer: &Timer,
        numbers: &[usize],
        report: &mut Report,
    ) -> Result<()> {
        let (store, driver) = (Arc::clone(&self.store), self.driver.clone());
        let numbers: Arc<[usize]> = numbers.into();
        let number = move |call: usize| numbers[call % numbers.len()];
        let other = number.clone();
        let rates = in_turn(
            timer.for_writes().budget() / ROUNDS / 2,
            move |call| {
                let (store, number) = (Arc::clone(&store), number(call));
                async move {
                    black_box(store.save_token(&tokens::token(number, call)?).await?);
                    Ok(())
                }
            },
            move |call| {
                let (driver, number) = (driver.clone(), other(call));
                async move { driver.decide(&tokens::columns(number, call)).await }
            },
        )
        .await?;
        report.add_in(Unit::Rate, "saves_16", self.name, self.count, rates);
        let users = self.store.get_tokens().await?.len();
        ensure!(users == self.count, "{users} tokens after saves of {} known users", self.count);
        Ok(())
    }
}

/// How many a second [`TASKS`] tasks do of `ours` and of `limit`, in turn. Each is called with a
/// number that no other task has at that time.
async fn in_turn<O, L>(
    each: Duration,
    ours: impl Fn(usize) -> O + Clone + Send + Sync + 'static,
    limit: impl Fn(usize) -> L + Clone + Send + Sync + 'static,
) -> Result<Medians>
where
    O: Future<Output = Result<()>> + Send + 'static,
    L: Future<Output = Result<()>> + Send + 'static,
{
    let mut rates = (Vec::new(), Vec::new());
    // The first of each is to warm up.
    for _ in 0..=ROUNDS {
        rates.0.push(rate(each, ours.clone()).await?);
        rates.1.push(rate(each, limit.clone()).await?);
    }
    let median = |rates: Vec<f64>| median(rates.into_iter().skip(1).collect());
    Ok(Medians { ours: median(rates.0), limit: median(rates.1) })
}

/// How many a second [`TASKS`] tasks do of `work` for a time.
async fn rate<W>(
    time: Duration,
    work: impl Fn(usize) -> W + Clone + Send + Sync + 'static,
) -> Result<f64>
where
    W: Future<Output = Result<()>> + Send + 'static,
{
    let begun = now();
    let until = begun + time;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let work = work.clone();
        tasks.spawn(async move { many(task, until, work).await });
    }
    let mut done = 0;
    while let Some(task) = tasks.join_next().await {
        done += task.context("a task panicked")??;
    }
    Ok(done as f64 / begun.elapsed().as_secs_f64())
}

async fn many<W: Future<Output = Result<()>>>(
    task: usize,
    until: Instant,
    work: impl Fn(usize) -> W,
) -> Result<usize> {
    let mut done = 0;
    while now() < until {
        work(task + done * TASKS).await?;
        done += 1;
    }
    Ok(done)
}
