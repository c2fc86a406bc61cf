//! `tokenkeep show`

use tokenkeep::{OAuthToken, TokenStore};

use crate::{context::Context, error::Failure, select, view::Detail};

const HELP: &str = "\
Secrets are shown as a mask where there is one, so one sees what is there and never its value.
With `--format json` it is one object: the fields of `list`, the masks, redirect_url,
accounts_server, org_id, scopes, refreshed_at, throttled_until, in_flight_since (a refresh was begun
and its answer is not stored), refused_at and refused_by (the provider refuses the grant), and
asked_at (the refreshes of the last ten minutes, of which the provider allows ten).

`tokenkeep find --user NAME` shows the same for a user.

Examples:
  tokenkeep show 1
  tokenkeep show 1 --format json";

/// Shows one token, its secrets as masks
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The token's id, as `list` shows it
    id: String,
}

pub(crate) async fn run(Args { id }: Args, context: &Context) -> Result<(), Failure> {
    let store = context.store_to_read().await?;
    let token = select::by_id(&*store, &id).await?;
    print(context, &*store, &token).await
}

/// Prints one token with masks.
pub(crate) async fn print(
    context: &Context,
    store: &dyn TokenStore,
    token: &OAuthToken,
) -> Result<(), Failure> {
    let detail = Detail::load(store, token, context.clock.now())
        .await?
        .ok_or_else(|| Failure::failed("the store gave a token without an id"))?;
    context.printer.result(&detail, Detail::table)
}
