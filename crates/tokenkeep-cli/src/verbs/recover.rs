//! `tokenkeep recover`

use serde::Serialize;
use tokenkeep::Recovery;

use crate::{context::Context, error::Failure, output};

const HELP: &str = "\
A command that gets a new token and cannot store it (the disk is full, the database is locked or
read-only) uses it, and puts it into the spool: a private directory, one file a token. The next
command that needs that token stores it by itself; this one stores all that wait.

With `--format json` it is one object with stored, waiting (the store does not take them now),
foreign (of another store, or of a user who has logged in since) and damage (what cannot be read).
If anything waits or is damaged, the exit code is 1.

Examples:
  tokenkeep recover
  tokenkeep --store sqlite:other.db recover
  tokenkeep recover --format json | jq .waiting";

/// Stores the tokens that could not be stored when they were issued
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Recovered {
    stored: u64,
    waiting: u64,
    foreign: u64,
    damage: Vec<String>,
}

pub(crate) async fn run(Args {}: Args, context: &Context) -> Result<(), Failure> {
    let Some(spool) = context.spool()? else {
        return Err(Failure::usage("there is no spool to recover tokens from")
            .hint("leave `--no-spool` out, or name its directory with `--spool DIR`"));
    };
    let directory = spool.directory().display();
    let Recovery { stored, waiting, foreign, damage, .. } =
        context.manager().await?.recover().await?;
    let recovered = Recovered { stored, waiting, foreign, damage };
    context.printer.result(&recovered, table)?;
    if foreign > 0 {
        context.printer.note(&format!(
            "{} of another store, or of a user who has logged in since: `--store` names the store",
            tokens(foreign)
        ));
    }
    for damage in &recovered.damage {
        context.printer.warn(damage);
    }
    if waiting > 0 {
        return Err(Failure::failed(format!(
            "{} not stored yet, and kept in {directory}",
            tokens(waiting)
        ))
        .hint("make the store writable and see that there is room; `tokenkeep doctor` says more"));
    }
    match recovered.damage.len() {
        0 => Ok(()),
        damaged => Err(Failure::failed(format!(
            "what waits in {directory} cannot all be read: {damaged} damaged"
        ))),
    }
}

fn tokens(count: u64) -> String {
    if count == 1 { "1 token is".to_owned() } else { format!("{count} tokens are") }
}

fn table(recovered: &Recovered) -> String {
    let Recovered { stored, waiting, foreign, damage } = recovered;
    if *stored + *waiting + *foreign == 0 && damage.is_empty() {
        return "Nothing waits to be stored.".to_owned();
    }
    output::pairs([
        ("stored", stored.to_string()),
        ("waiting", waiting.to_string()),
        ("foreign", foreign.to_string()),
        ("damaged", damage.len().to_string()),
    ])
}
