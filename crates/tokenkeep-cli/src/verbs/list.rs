//! `tokenkeep list`

use crate::{
    context::Context,
    error::Failure,
    exit,
    view::{self, Row},
};

const HELP: &str = "\
With `--format json` it is an array of objects with id, user_name, client_id, api_domain,
data_center, environment, expiry_time (ms since 1970, as a string), status, has_access_token,
has_refresh_token, has_grant_token and sealed.

environment is `production` where nothing says otherwise; data_center is null where it is not known.
Rows that cannot be read are said on stderr, and the exit code is 1 then.

status is `valid`, `expired` (the next use refreshes it), `needs_login` or `revoked`.

Examples:
  tokenkeep list
  tokenkeep --store file:sdk_tokens.txt list
  tokenkeep list --format json | jq -r '.[] | select(.status == \"needs_login\") | .user_name'";

/// Lists the tokens, without their secrets
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {}

pub(crate) async fn run(Args {}: Args, context: &Context) -> Result<(), Failure> {
    let store = context.store_to_read().await?;
    let contents = view::contents(&*store).await?;
    for damage in &contents.damage {
        context.printer.warn(damage);
    }
    let now = context.clock.now();
    let rows: Vec<Row> = contents.tokens.iter().map(|meta| Row::of(meta, now)).collect();
    context.printer.result(&rows[..], view::table)?;
    match contents.damage.len() {
        0 => Ok(()),
        damaged => Err(Failure::new(
            exit::FAILED,
            format!("{damaged} of the store's rows cannot be read; the others are listed"),
        )
        .hint("repair or remove these rows; `tokenkeep doctor` says more")),
    }
}
