//! `tokenkeep doctor`

mod common;
mod databases;
mod layout;
mod secrets;
mod servers;
mod spool;
mod tokens;

use std::{path::Path, sync::Arc};

use serde::Serialize;
use tokenkeep::{OpenedStore, StoreError, StoreUrl, TokenStore, stores::sqlite::SqliteConfig};

use crate::{context::Context, error::Failure, exit, output, view};

const HELP: &str = "\
It looks at the store and changes nothing in it: whether it opens and all of it can be read, who
else can read it, how its server keeps what is saved, what an official SDK that shares it would trip
over, tokens that are there twice or look misplaced, users who must log in again, new tokens that
could not be stored and wait in the spool, and whether this machine's clock agrees with the accounts
servers of the tokens (one request to each, without a token).

A `warning` is worth a look. A `failed` check ends the command with exit code 1, a store that does
not open with 5. With `--format json` it is an array of objects with check, result (`ok`, `warning`,
`failed`, `skipped`), detail and hint.

Examples:
  tokenkeep doctor
  tokenkeep --store file:sdk_tokens.txt doctor --offline
  tokenkeep --store 'mysql://app@db/zohooauth?password-env=DB_PASSWORD' doctor";

/// Checks the store, the tokens in it and the clock
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Ask no server
    #[arg(long)]
    offline: bool,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One check: what was looked at, what was found, and what to do about it.
#[derive(Clone, Debug, Serialize)]
struct Check {
    check: &'static str,
    result: Verdict,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn new(check: &'static str, result: Verdict, detail: impl Into<String>) -> Self {
        Self { check, result, detail: detail.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    context.check_servers()?;
    let url = context.store_url()?;
    let mut checks = Vec::new();
    let (code, store) = examine(args, context, &url, &mut checks).await?;
    spool::examine(context.spool()?, store.as_deref(), &mut checks).await;
    context.printer.result(&checks[..], table)?;
    let failed = checks.iter().filter(|check| check.result == Verdict::Failed).count();
    match (failed, code) {
        (0, _) => Ok(()),
        (_, code) => Err(Failure::new(code, format!("{failed} of {} checks failed", checks.len()))),
    }
}

/// Fills `checks`; says what exit code a failed one means, and gives the store if it opens.
async fn examine(
    args: Args,
    context: &Context,
    url: &StoreUrl,
    checks: &mut Vec<Check>,
) -> Result<(u8, Option<Arc<dyn TokenStore>>), Failure> {
    // A store of which nothing is there yet is not made by looking at it.
    if let StoreUrl::Sqlite(path) | StoreUrl::File { path, .. } = url
        && !path.exists()
        && path.parent().is_some_and(|dir| dir.as_os_str().is_empty() || dir.is_dir())
    {
        checks.push(Check::new(
            "store",
            Verdict::Ok,
            format!("{} is not there yet; the first login makes it", path.display()),
        ));
        return Ok((exit::FAILED, None));
    }
    let opened = match open_to_look(url).await {
        Ok(opened) => opened,
        Err(error) => {
            checks.push(failed("store", error.into()));
            return Ok((exit::STORE, None));
        }
    };
    let store = opened.clone().into_store();
    let contents = match view::contents(&*store).await {
        Ok(contents) => contents,
        Err(error) => {
            checks.push(failed("store", error.into()));
            return Ok((exit::STORE, None));
        }
    };
    let count = contents.tokens.len();
    checks.push(Check::new("store", Verdict::Ok, format!("{url} opens; tokens in it: {count}")));
    if let StoreUrl::Sqlite(path) | StoreUrl::File { path, .. } = url {
        checks.push(permissions(path));
    }
    layout::examine(&opened, &contents.damage, checks).await;
    tokens::examine(&*store, &contents.tokens, context.clock.now(), checks).await;
    if args.offline {
        checks.push(Check::new("clock", Verdict::Skipped, "--offline"));
    } else {
        servers::examine(context, &contents.tokens, checks).await?;
    }
    Ok((exit::FAILED, Some(store)))
}

/// Opens the store so that nothing is changed in it by that alone.
async fn open_to_look(url: &StoreUrl) -> Result<OpenedStore, StoreError> {
    if let StoreUrl::Sqlite(path) = url {
        let opened = SqliteConfig::new(path).read_only(true).open();
        return opened.map(Arc::new).map(OpenedStore::Sqlite);
    }
    url.open().await
}

fn failed(check: &'static str, failure: Failure) -> Check {
    Check { hint: failure.hint, ..Check::new(check, Verdict::Failed, failure.message) }
}

/// Whether others can get at the secrets.
#[cfg(unix)]
fn permissions(path: &Path) -> Check {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 == 0 => {
            Check::new("permissions", Verdict::Ok, format!("{mode:03o}: for its owner alone"))
        }
        Ok(mode) => Check::new(
            "permissions",
            Verdict::Warning,
            format!("{mode:03o}: others can get at the secrets in it"),
        )
        .hint(format!("chmod 600 {}", path.display())),
        Err(error) => Check::new("permissions", Verdict::Skipped, error.to_string()),
    }
}

#[cfg(not(unix))]
fn permissions(_path: &Path) -> Check {
    Check::new("permissions", Verdict::Skipped, "this system has no permission bits")
}

fn table(checks: &[Check]) -> String {
    let table = output::columns(
        ["CHECK", "RESULT", "DETAIL"],
        checks.iter().map(|check| {
            [check.check.to_owned(), check.result.name().to_owned(), check.detail.clone()]
        }),
    );
    let hints = checks.iter().filter_map(|check| {
        let hint = check.hint.as_deref()?;
        Some(format!("{}: {hint}", check.check))
    });
    let hints: Vec<String> = hints.collect();
    if hints.is_empty() { table } else { format!("{table}\n\n{}", hints.join("\n")) }
}

/// All of a store's tokens, secrets included, where it can give them.
async fn all_tokens(store: &dyn TokenStore) -> Vec<tokenkeep::OAuthToken> {
    // A store that holds something it cannot read has said so in the layout check.
    store.get_tokens().await.unwrap_or_default()
}
