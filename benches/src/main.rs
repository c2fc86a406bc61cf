//! What the operations cost, each beside its limit through the same driver and beside what people
//! have today: `cargo xtask bench`.
//!
//! Ours and the limit take turns, sample by sample, so that a noisy machine is noisy for both. The
//! figures are medians; compare them within one run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]
#![expect(clippy::future_not_send, reason = "one thread, so that nothing is measured but the work")]

mod allocations;
mod file;
mod fresh;
mod options;
mod peer;
mod report;
mod sqlite;
mod timer;
mod tokens;

use std::process::ExitCode;

use anyhow::Result;

use crate::{options::Options, report::Report, timer::Timer};

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

fn run(options: &Options) -> Result<()> {
    let timer = Timer::new(options.quick);
    let mut report = Report::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        eprintln!("fresh token");
        fresh::measure(&timer, &mut report).await?;
        for count in &options.tokens {
            eprintln!("sqlite, {count} tokens");
            sqlite::measure(&timer, *count, options.users, &mut report).await?;
            eprintln!("file, {count} tokens");
            file::measure(&timer, *count, options.users, &mut report).await?;
        }
        anyhow::Ok(())
    })?;
    if options.peer {
        eprintln!("peer");
        peer::measure(options, &mut report)?;
    }
    print!("{}", report.table());
    print!("{}", report.targets());
    println!(
        "\nAt most {} different users were asked for at each size. With all of them (--users), finds \
         in a large\nstore cost more, and so do their limits: the caches do not hold the store.",
        options.users
    );
    report.write(&options.summary)?;
    println!("\nwritten: {}", options.summary.display());
    Ok(())
}
