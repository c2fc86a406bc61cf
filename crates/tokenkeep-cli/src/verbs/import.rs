//! `tokenkeep import`

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use serde::Serialize;
use tokenkeep::{
    Field, FileDialect, OAuthToken, StoreError, StoreErrorKind, StoreUrl, TokenId, TokenStore,
    TokenTable,
};

use crate::{
    context::Context,
    error::Failure,
    incoming::{self, Incoming},
    output::Format,
    progress,
};

const HELP: &str = "\
What is read is known by its content:
  - JSON lines, one token a line, with the fields id, user_name, client_id, client_secret,
    refresh_token, access_token, grant_token, expiry_time (ms since 1970), redirect_url, api_domain;
    all but one of the three tokens may be left out
  - the token file of any official Zoho CRM SDK (CSV)
  - the SQLite file of an official SDK's sample store, or of tokenkeep

A token that the store has already (the same user, client and API domain) is updated: fields that
are left out stay. An id is kept if it is free; where it is another user's, the token gets another
one. All is checked before the first token is written, and to import the same again changes nothing.

With `--format json` it prints {\"read\": N, \"added\": N, \"updated\": N, \"renumbered\": N,
\"ids\": {\"OLD\": \"NEW\"}}: ids has those that are others in the store than in the file.

Examples:
  tokenkeep import tokens.jsonl
  tokenkeep import sdk_tokens.txt --new-ids
  tokenkeep --store sqlite:a.db export --include-secrets | tokenkeep --store sqlite:b.db import -";

/// Reads tokens from a file into the store
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The file; `-` is stdin
    file: PathBuf,
    /// Give new ids instead of keeping those in the file
    #[arg(long)]
    new_ids: bool,
}

#[derive(Default, Serialize)]
struct Counts {
    read: usize,
    added: usize,
    updated: usize,
    /// How many could not keep their id, because it was another token's.
    renumbered: usize,
    /// Ids in the file with those in the store, where they differ. Of several with one id in the
    /// file, the last.
    ids: BTreeMap<String, String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Args { file, new_ids } = args;
    let store_url = context.store_url()?;
    let mut tokens = incoming::read(&file).await?;
    if new_ids {
        for incoming in &mut tokens {
            incoming.token = incoming.token.clone().without_id();
        }
    }
    let store = store_url.open().await?.into_store();
    let stored = store.get_tokens().await?;
    let known = stored.iter().filter_map(|token| token.id().cloned()).collect();
    rehearse(stored, &tokens)?;
    if let StoreUrl::File { dialect, .. } = store_url {
        check_values(dialect, &tokens).await?;
    }
    let counts = write(&*store, known, tokens).await?;
    if context.printer.format() == Format::Table {
        match counts.renumbered {
            0 => {}
            1 => context.printer.note("1 id was taken: imported under a new one"),
            several => {
                context.printer.note(&format!("{several} ids were taken: imported under new ones"));
            }
        }
    }
    context.printer.result(&counts, |Counts { read, added, updated, .. }| {
        format!("Read {read}, added {added}, updated {updated}.")
    })
}

/// The token without its id, if `error` says that it cannot be saved under that one.
fn without_taken_id(token: &OAuthToken, error: &StoreError) -> Option<OAuthToken> {
    let taken = error.kind() == StoreErrorKind::Conflict && token.id().is_some();
    taken.then(|| token.clone().without_id())
}

/// Plays the import on a copy of the store in memory, so that a mistake costs nothing.
fn rehearse(stored: Vec<OAuthToken>, tokens: &[Incoming]) -> Result<(), Failure> {
    let mut table = TokenTable::new();
    for token in stored {
        table.load(token)?;
    }
    let mut mistakes = Vec::new();
    let mut hint = None;
    for Incoming { place, token } in tokens {
        let saved = table.save(token).or_else(|error| match without_taken_id(token, &error) {
            Some(free) => table.save(&free),
            None => Err(error),
        });
        let Err(error) = saved else { continue };
        #[expect(clippy::wildcard_enum_match_arm, reason = "most kinds are about no field")]
        let (field, way_out) = match error.kind() {
            StoreErrorKind::Conflict => (
                Some(Field::Id),
                Some("`--new-ids` gives every token that is new to the store a new id"),
            ),
            StoreErrorKind::Ambiguous => (
                Some(Field::UserName),
                Some("name the client and the API domain in these lines, or the id of the token"),
            ),
            _ => (None, error.hint()),
        };
        hint = way_out.map(str::to_owned).or(hint);
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        mistakes.push(format!("{place}: {field}{error}"));
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(incoming::refused(&mistakes).hint(hint.unwrap_or_default()))
}

/// A token file cannot hold every value: tries those that it may refuse on a file of its own.
async fn check_values(dialect: FileDialect, tokens: &[Incoming]) -> Result<(), Failure> {
    let delicate = |incoming: &&Incoming| {
        let columns = incoming.token.expose_columns();
        columns.iter().flatten().any(|value| {
            value.contains(|c: char| c.is_control() || matches!(c, ',' | '"' | '\\'))
                || value.trim() != value
                || value.eq_ignore_ascii_case(Field::Id.name())
        })
    };
    let dir = tempfile::tempdir()?;
    let url = StoreUrl::File { path: dir.path().join("rehearsal.csv"), dialect };
    let mut mistakes = Vec::new();
    let mut hint = None;
    for Incoming { place, token } in tokens.iter().filter(delicate) {
        let scratch = url.open().await?.into_store();
        if let Err(error) = scratch.save_token(token).await {
            mistakes.push(format!("{place}: {error}"));
            hint = error.hint().map(str::to_owned).or(hint);
        } else {
            scratch.delete_tokens().await?;
        }
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(incoming::refused(&mistakes).hint(hint.unwrap_or_default()))
}

async fn write(
    store: &dyn TokenStore,
    mut known: HashSet<TokenId>,
    tokens: Vec<Incoming>,
) -> Result<Counts, Failure> {
    let mut counts = Counts { read: tokens.len(), ..Counts::default() };
    let bar = progress::bar("importing", tokens.len());
    for (done, Incoming { place, token }) in tokens.iter().enumerate() {
        let mut saved = store.save_token(token).await;
        // Another process may have taken the id since the rehearsal.
        if let Err(error) = &saved
            && let Some(free) = without_taken_id(token, error)
        {
            saved = store.save_token(&free).await;
            counts.renumbered += 1;
        }
        let saved = saved.map_err(|error| {
            bar.abandon();
            let failure = Failure::from(error);
            let message = format!(
                "{place}: {}; {done} of {} tokens are imported",
                failure.message, counts.read
            );
            Failure { message, ..failure }.or_hint("to import the same again changes nothing")
        })?;
        if let (Some(wanted), Some(given)) = (token.id(), saved.id())
            && wanted != given
        {
            counts.ids.insert(wanted.to_string(), given.to_string());
        }
        match saved.id() {
            Some(id) if known.insert(id.clone()) => counts.added += 1,
            _ => counts.updated += 1,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(counts)
}

impl Failure {
    /// With this hint, if there is none.
    fn or_hint(self, hint: &str) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }
}
