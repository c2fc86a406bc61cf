//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
Benchmarks of tokenkeep: each operation beside its limit and a peer.

  cargo xtask bench [--quick] [--tokens N,N...] [--users N] [--only PART] [--no-peer] [--summary FILE]

  --quick         fewer samples
  --tokens N,...  how many tokens the stores hold; 10,1000,10000,100000 if not given, and on
                  servers 1000,100000, or 1000 if it has to be quick
  --users N       how many different users are asked for, all over the store; 100 if not given
  --only PART     manager, stores, servers, or migrate
  --no-peer       without the Python stores
  --summary FILE  where the JSON goes; target/bench/summary.json if not given

The peer runs with the interpreter that TOKENKEEP_SDK_PYTHON names; `cargo xtask bench` makes one.
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) tokens: Vec<usize>,
    /// The same, if it was asked for.
    given_tokens: bool,
    pub(crate) users: usize,
    pub(crate) only: Option<Part>,
    pub(crate) peer: bool,
    pub(crate) summary: PathBuf,
}

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What programs ask for: fresh tokens, refreshes, many waiters, many users.
    Manager,
    /// The stores' operations, and the peer's.
    Stores,
    /// The stores on servers, which are started for it, and the peer's on one of them.
    Servers,
    /// Moving all tokens from one store to another.
    Migrate,
}

impl Options {
    /// Whether `part` is to be measured.
    pub(crate) fn does(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// How many tokens the stores on servers hold.
    pub(crate) fn on_servers(&self) -> Vec<usize> {
        match (self.given_tokens, self.quick) {
            (true, _) => self.tokens.clone(),
            (false, true) => vec![1_000],
            (false, false) => vec![1_000, 100_000],
        }
    }

    /// `None` if help was asked for.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            quick: false,
            tokens: vec![10, 1_000, 10_000, 100_000],
            given_tokens: false,
            users: 100,
            only: None,
            peer: true,
            summary: PathBuf::from("target/bench/summary.json"),
        };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--no-peer" => options.peer = false,
                "--users" => {
                    options.users =
                        value()?.parse().context("--users takes a whole number above zero")?;
                    if options.users == 0 {
                        bail!("--users takes a whole number above zero");
                    }
                }
                "--only" => {
                    options.only = Some(match value()?.as_str() {
                        "manager" => Part::Manager,
                        "stores" => Part::Stores,
                        "servers" => Part::Servers,
                        "migrate" => Part::Migrate,
                        other => {
                            bail!("--only takes manager, stores, servers or migrate, not {other}")
                        }
                    });
                }
                "--summary" => options.summary = value()?.into(),
                "--tokens" => {
                    options.given_tokens = true;
                    options.tokens = value()?
                        .split(',')
                        .map(|number| number.replace('_', "").parse())
                        .collect::<Result<_, _>>()
                        .context("--tokens takes whole numbers with commas between")?;
                    if options.tokens.contains(&0) {
                        bail!("--tokens takes numbers above zero");
                    }
                }
                "--help" | "-h" => return Ok(None),
                other => bail!("unknown option {other}; --help lists them"),
            }
        }
        Ok(Some(options))
    }
}
