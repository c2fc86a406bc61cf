//! Development tasks: `cargo xtask --help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for a terminal")]

mod bench;
mod ci;
mod mutants;
mod node;
mod process;
mod python;
mod servers;
mod soak;
mod test;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const HELP: &str = "\
Development tasks of tokenkeep.

  cargo xtask test              build and run every test: Rust tests, doctests, conformance suites,
                                and the official SDKs for Python and Node, in environments made
                                under target/interop; servers that are missing here are fetched, and
                                run for as long as the tests do
  cargo xtask test -- NAME      only tests whose name contains NAME
  cargo xtask ci                everything that is checked on a change
  cargo xtask ci PART...        only these parts:
                                  format    rustfmt
                                  clippy    each crate by itself, with no, default and all features
                                  features  each feature by itself compiles
                                  docs      documentation without a warning
                                  arrows    who may depend on whom; minimum Rust versions; hygiene of the
                                            repository
                                  deny      licences and bans (where cargo-deny is installed)
                                  tests     cargo xtask test; whatever cannot run is a failure
  cargo xtask soak              the long forms of tests that have one; a table of what ran
  cargo xtask soak PART...      only these parts:
                                  processes  200 rounds of 8 processes, one killed in each
                                  faults     200,000 seeds of the fault harness
                                  keeper     a simulated day of 1,000,000 tokens
                                  fleet      a day of 1, 4 and 16 nodes that die; TOKENKEEP_FLEET_TOKENS
                                  fleet-servers  processes on Galera, Redis Cluster and PostgreSQL,
                                             whose servers die for two minutes each
                                  flight     1,000,000 schedules of callers of one refresh
                                  model      the big runs of the model of the protocol
                                  mutants    cargo xtask mutants
  cargo xtask mutants           breaks each rule of the protocol in a copy of HEAD under
                                target/mutants, and fails if no test sees it
  cargo xtask mutants NAME...   only the patches of xtask/mutants whose names contain NAME
  cargo xtask servers up        start the servers that tests share, where they do not run; they stay
  cargo xtask servers up KIND...  only these: mariadb, postgres, redis, redis-cluster, moto,
                                secret-service; also galera, postgres-pair, redis-sentinel, rusty-vault,
                                which tests start by themselves
  cargo xtask servers status    which run
  cargo xtask servers down      end them and remove what they wrote
  cargo xtask servers fetch     unpack packages that are missing here under target/servers, and build
                                RustyVault there; needs no root and installs nothing
  cargo xtask bench             benchmarks beside their limits and a peer: a table, and
                                target/bench/summary.json
  cargo xtask bench --quick     fewer samples; `cargo xtask bench --help` has all options

Environment:
  TOKENKEEP_REQUIRE=all         a test that cannot run here (no Python, say) is a failure, not a skip
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    let asks_for_help = rest.iter().any(|argument| argument == "--help" || argument == "-h");
    match task.as_str() {
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        "ci" | "mutants" | "servers" | "soak" | "test" if asks_for_help => {
            print!("{HELP}");
            Ok(())
        }
        "ci" => ci::run(rest),
        "mutants" => mutants::run(rest),
        "servers" => servers::run(rest),
        "soak" => soak::run(rest),
        "test" => {
            let rest = rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest);
            test::run(rest, false)
        }
        other => bail!("there is no task {other:?}; `cargo xtask --help` lists them"),
    }
}
