//! `tokenkeep migrate`

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use indicatif::ProgressBar;
use serde::Serialize;
use tokenkeep::{
    StoreUrl,
    migrate::{Migration, MigrationError, Phase, Progress, Report},
};

use crate::{context::Context, error::Failure, exit, output, progress};

const HELP: &str = "\
The source is only read. Every token goes to the target with its ten fields and what is known of it
(data centre, scopes, status), page by page, each page whole or not at all; on AWS, each token. At
the end the target is read back and has to hold exactly what it held and what was moved.

If it is stopped, or killed, run the same command again: it finishes, and makes nothing twice.

  - Ids are kept. Where an id is another token's in the target, or the target cannot hold it, the
    token gets a new one; both are printed, and `--id-map FILE` writes all of them to a file.
  - A token that the target has already is left alone; what is absent there is filled in. If its
    values differ, it is a conflict, and the target's stay: --overwrite takes the source's.
  - Rows that are one token (one user, client and API domain; the SDKs leave such) become one: in
    each field the value of the row that expires last.
  - What cannot be read in the source, and what the target refuses, is listed; the rest is moved.

The exit code is 0 if all that is in the source is in the target now, and 1 if a part is not. Let no
program write to either store meanwhile: stop them, migrate, and start them on the target. What a
program refreshes in the source after its page was read is not moved.

With `--format json` it prints one object: dry_run, read, moved, updated, unchanged, merged (objects
with into and from), renamed (from and to), conflicts (from and to), refused (id and error), damage,
target_damage, states_left, verified (true, false; null in a dry run).

What the official SDKs left is read as it is: their token files (of 9 and 10 columns, of every
language), the SQLite database of the article, and MySQL tables of the v8, v2 and v1 SDKs.

Examples:
  tokenkeep migrate --from file:sdk_tokens.txt --to sqlite:tokens.db --dry-run
  tokenkeep migrate --from sqlite:zohooauth.db --to 'postgres://app@db/tokens?password-env=PGPASS'
  tokenkeep migrate --from mysql://root@localhost/zohooauth --to sqlite:t.db --id-map ids.csv
  tokenkeep migrate --from keyring:my-program --to vault+https://vault:8200/secret/tokens";

/// Moves all tokens from one store to another
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The store to read
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to write
    #[arg(long, value_name = "URL")]
    to: String,
    /// Write nothing; say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Let the source's values replace those in the target that differ
    #[arg(long)]
    overwrite: bool,
    /// Write the ids that could not be kept to this file: CSV, `from,to`
    #[arg(long, value_name = "FILE")]
    id_map: Option<PathBuf>,
    /// How many tokens are read and saved at once [default: what suits the target]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    page_size: Option<usize>,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Moved {
    dry_run: bool,
    read: u64,
    moved: u64,
    updated: u64,
    unchanged: u64,
    merged: Vec<Merge>,
    renamed: Vec<Pair>,
    conflicts: Vec<Pair>,
    refused: Vec<Refusal>,
    damage: Vec<String>,
    target_damage: Vec<String>,
    states_left: u64,
    verified: Option<bool>,
}

#[derive(Serialize)]
struct Merge {
    into: String,
    from: Vec<String>,
}

#[derive(Serialize)]
struct Pair {
    from: String,
    to: Option<String>,
}

#[derive(Serialize)]
struct Refusal {
    id: String,
    error: String,
}

impl From<&Report> for Moved {
    fn from(report: &Report) -> Self {
        let pair = |from: &tokenkeep::TokenId, to: Option<&tokenkeep::TokenId>| Pair {
            from: from.to_string(),
            to: to.map(ToString::to_string),
        };
        let merge = |merged: &tokenkeep::migrate::Merged| Merge {
            into: merged.into.to_string(),
            from: merged.from.iter().map(ToString::to_string).collect(),
        };
        let refusal = |refused: &tokenkeep::migrate::Refused| Refusal {
            id: refused.id.to_string(),
            error: refused.error.to_string(),
        };
        Self {
            dry_run: report.dry_run,
            read: report.read,
            moved: report.moved,
            updated: report.updated,
            unchanged: report.unchanged,
            merged: report.merged.iter().map(merge).collect(),
            renamed: report.renamed.iter().map(|it| pair(&it.from, it.to.as_ref())).collect(),
            conflicts: report.conflicts.iter().map(|it| pair(&it.from, Some(&it.to))).collect(),
            refused: report.refused.iter().map(refusal).collect(),
            damage: report.damage.clone(),
            target_damage: report.target_damage.clone(),
            states_left: report.states_left,
            verified: report.verification.map(|verification| verification.holds),
        }
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (from, to) = (url("--from", &args.from)?, url("--to", &args.to)?);
    if from == to {
        return Err(Failure::usage("`--from` and `--to` are the same store"));
    }
    if let Some(path) = &args.id_map {
        // Now, and not when everything is done, if it cannot be.
        id_map(path, false).map_err(|error| map_failed(path, &error))?;
    }
    let source = from.open_to_read().await?.into_bulk_store();
    // A dry run makes nothing; of a target that is not there it knows that it is empty.
    let target = match args.dry_run {
        true if !to.is_there().await? => StoreUrl::List.open().await?,
        true => to.open_to_read().await?,
        false => to.open().await?,
    };
    let target = target.into_bulk_store();
    let bars = Bars::default();
    let mut migration = Migration::new(&*source, &*target)
        .dry_run(args.dry_run)
        .overwrite(args.overwrite)
        .on_progress(|progress| bars.show(progress));
    if let Some(tokens) = args.page_size {
        migration = migration.page_size(tokens);
    }
    let report = migration.run().await;
    bars.clear();
    let report = report.map_err(stopped)?;
    if let Some(path) = &args.id_map {
        write_ids(path, &report)?;
    }
    context.printer.result(&Moved::from(&report), |_| table(&report))?;
    note(&report, context);
    verdict(&report)
}

fn url(flag: &str, text: &str) -> Result<StoreUrl, Failure> {
    let url: StoreUrl = text.parse().map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{flag}: {}", failure.message), ..failure }
    })?;
    if url.is_in_memory() {
        return Err(Failure::usage(format!(
            "`{flag}` is a store in memory, gone with this command"
        )));
    }
    Ok(url)
}

/// The file for the ids; what is in it stays, unless it is `emptied`.
fn id_map(path: &Path, emptied: bool) -> io::Result<File> {
    File::options().write(true).create(true).truncate(emptied).open(path)
}

fn write_ids(path: &Path, report: &Report) -> Result<(), Failure> {
    let write = || {
        let mut map = csv::Writer::from_writer(id_map(path, true)?);
        map.write_record(["from", "to"])?;
        for renamed in &report.renamed {
            let to = renamed.to.as_ref().map_or("", |to| to.as_str());
            map.write_record([renamed.from.as_str(), to])?;
        }
        map.flush()
    };
    write().map_err(|error: io::Error| map_failed(path, &error))
}

fn map_failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("--id-map {}: {error}", path.display()))
}

fn stopped(error: MigrationError) -> Failure {
    let (whose, failure) = match error {
        MigrationError::Source(error) => ("the source: ", Failure::from(error)),
        MigrationError::Target(error) => ("the target: ", Failure::from(error)),
        other @ (MigrationError::NoRandomNumbers | _) => ("", Failure::failed(other.to_string())),
    };
    let hint = failure.hint.as_deref().map(|hint| format!("{hint}; then "));
    let hint = format!(
        "{}run the same command again: what is moved stays, and nothing is made twice",
        hint.unwrap_or_default()
    );
    Failure { message: format!("{whose}{}", failure.message), ..failure }.hint(hint)
}

/// A bar for each thing that is done.
#[derive(Default)]
struct Bars(Mutex<Option<(Phase, ProgressBar)>>);

impl Bars {
    fn show(&self, Progress { phase, done, total, .. }: Progress) {
        let Ok(mut shown) = self.0.lock() else { return };
        let bar = match shown.take() {
            Some((shown, bar)) if shown == phase => bar,
            earlier => {
                if let Some((_, bar)) = earlier {
                    bar.finish_and_clear();
                }
                progress::bar(words(phase), 0)
            }
        };
        bar.set_length(total.max(done));
        bar.set_position(done);
        *shown = Some((phase, bar));
    }

    fn clear(&self) {
        if let Ok(Some((_, bar))) = self.0.lock().map(|mut shown| shown.take()) {
            bar.finish_and_clear();
        }
    }
}

fn words(phase: Phase) -> &'static str {
    match phase {
        Phase::Survey => "looking",
        Phase::Verify => "verifying",
        Phase::Move | _ => "moving",
    }
}

fn table(report: &Report) -> String {
    let merged: usize = report.merged.iter().map(|merged| merged.from.len()).sum();
    let counts = [
        ("read", report.read),
        (if report.dry_run { "to move" } else { "moved" }, report.moved),
        (if report.dry_run { "to update" } else { "updated" }, report.updated),
        ("unchanged", report.unchanged),
        ("merged", merged as u64),
        ("conflicts", report.conflicts.len() as u64),
        ("refused", report.refused.len() as u64),
        ("damaged", report.damage.len() as u64),
    ];
    let verified = report.verification.map(|it| match it.holds {
        true => ("verified", format!("yes, {} tokens", it.found)),
        false => ("verified", format!("NO: {} tokens, not {}", it.found, it.expected)),
    });
    let rows = counts.into_iter().map(|(name, count)| (name, count.to_string()));
    output::pairs(rows.chain(verified))
}

/// At most this many are listed of one kind.
const LISTED: usize = 10;

fn note(report: &Report, context: &Context) {
    let printer = &context.printer;
    if report.read == 0 && report.damage.is_empty() {
        printer.note("the source holds no tokens; see whether it is the one that is meant");
    }
    let list = |what: &str, lines: Vec<String>| {
        for line in lines.iter().take(LISTED) {
            printer.note(&format!("{what}: {line}"));
        }
        if lines.len() > LISTED {
            let more = lines.len() - LISTED;
            printer.note(&format!("{what}: and {more} more; `--format json` lists all"));
        }
    };
    let into = |from: &str, to: &str| format!("{} as {}", output::shown(from), output::shown(to));
    list(
        "merged",
        report
            .merged
            .iter()
            .map(|it| {
                let from: Vec<&str> = it.from.iter().map(tokenkeep::TokenId::as_str).collect();
                format!("{} into {}", output::shown(&from.join(", ")), it.into)
            })
            .collect(),
    );
    let renamed: BTreeMap<_, _> = report.ids();
    list("new id", renamed.iter().map(|(from, to)| into(from.as_str(), to.as_str())).collect());
    let conflicts = report.conflicts.iter();
    list("conflict", conflicts.map(|it| into(it.from.as_str(), it.to.as_str())).collect());
    let refused = report.refused.iter();
    list(
        "refused",
        refused.map(|it| format!("{}: {}", output::shown(it.id.as_str()), it.error)).collect(),
    );
    list("damage", report.damage.clone());
    list("damage in the target", report.target_damage.clone());
    if report.states_left > 0 {
        printer.warn(&format!(
            "the target keeps the ten fields only: what else was known of {} tokens is left behind",
            report.states_left
        ));
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.is_complete() {
        return Ok(());
    }
    if let Some(it) = report.verification.filter(|it| !it.holds) {
        return Err(Failure::new(
            exit::FAILED,
            format!(
                "the target does not hold what it has to: {} tokens, of {}",
                it.found, it.expected
            ),
        )
        .hint("if another program writes to it, stop that; then run the same command again"));
    }
    let mut parts = Vec::new();
    let mut add = |count: usize, words: &str| {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    };
    add(report.conflicts.len(), "differ in the target and stay as they are there");
    add(report.refused.len(), "refused by the target");
    add(report.damage.len(), "damaged");
    let verb = if report.dry_run { "would be moved" } else { "moved" };
    let failure = Failure::failed(format!("{verb} in part: {}", parts.join(", ")));
    Err(match report.conflicts.len() {
        0 => failure,
        _ => failure.hint("`--overwrite` takes the source's values where the target's differ"),
    })
}
