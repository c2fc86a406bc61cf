//! What the operations cost, each beside its limit through the same driver and beside what people
//! have today: `cargo xtask bench`.
//!
//! Ours and the limit take turns, sample by sample, so that a noisy machine is noisy for both. The
//! figures are medians; compare them within one run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]
#![expect(clippy::future_not_send, reason = "one thread, so that nothing is measured but the work")]

mod ahead;
mod allocations;
mod cached;
mod contended;
mod file;
mod filled;
mod fleet;
mod fresh;
mod look;
mod migrate;
mod mysql;
mod options;
mod pairs;
mod peer;
mod postgres;
mod provider;
mod redis;
mod refresh;
mod report;
mod servers;
mod sqlite;
mod timer;
mod tokens;
mod waiters;

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    options::{Options, Part},
    report::Report,
    timer::Timer,
};

/// How many tokens are in the stores below the manager that is measured.
const STORED: usize = 1_000;
/// How many tasks wait for one refresh.
const WAITERS: usize = 10_000;
/// How many users' tokens are in memory.
const CACHED: usize = 100_000;

/// How many tokens are moved from one store to another.
const MIGRATED: usize = 200_000;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn manager(timer: &Timer, report: &mut Report) -> Result<()> {
    eprintln!("fresh token");
    fresh::measure(timer, report).await?;
    eprintln!("fresh token on two threads");
    contended::measure(timer, report).await?;
    eprintln!("looks at the store, {STORED} tokens");
    look::measure(timer, STORED, report).await?;
    eprintln!("refreshes, {STORED} tokens");
    refresh::measure(timer, STORED, report).await?;
    eprintln!("{WAITERS} waiters");
    waiters::measure(timer, WAITERS, report).await?;
    eprintln!("{CACHED} users");
    cached::measure(timer, CACHED, report).await
}

async fn stores(timer: &Timer, options: &Options, report: &mut Report) -> Result<()> {
    for count in &options.tokens {
        eprintln!("sqlite, {count} tokens");
        sqlite::measure(timer, *count, options.users, report).await?;
        eprintln!("file, {count} tokens");
        file::measure(timer, *count, options.users, report).await?;
    }
    Ok(())
}

fn run(options: &Options) -> Result<()> {
    let timer = Timer::new(options.quick);
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if options.does(Part::Manager) {
            manager(&timer, &mut report).await?;
        }
        if options.does(Part::Stores) {
            stores(&timer, options, &mut report).await?;
        }
        if options.does(Part::Servers) {
            servers::measure(&timer, options, &mut report).await?;
        }
        if options.does(Part::Migrate) {
            eprintln!("migration, {MIGRATED} tokens");
            migrate::measure(MIGRATED, &mut report).await?;
            eprintln!("migration from each store to each other");
            pairs::measure(options.quick, &mut report).await?;
        }
        anyhow::Ok(())
    })?;
    if options.peer && options.does(Part::Stores) {
        eprintln!("peer");
        peer::measure(options, &mut report)?;
    }
    print!("{}", report.table());
    print!("{}", report.matrix());
    print!("{}", report.targets());
    println!(
        "\nAt most {} different users were asked for at each size. With all of them (--users), finds \
         in a large\nstore cost more, and so do their limits: the caches do not hold the store.",
        options.users
    );
    if options.does(Part::Servers) {
        print!("{}", servers::LIMITS);
    }
    report.write(&options.summary)?;
    println!("\nwritten: {}", options.summary.display());
    Ok(())
}
