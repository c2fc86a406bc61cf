//! `tokenkeep refresh`

use tokenkeep::{OAuthToken, TokenManager};

use crate::{
    context::Context,
    error::Failure,
    outcome::{self, TokenOutcome},
    select::SomeTokens,
    time,
};

const HELP: &str = "\
A program need not do this: `tokenkeep token` refreshes when it is due. The provider issues ten
access tokens in ten minutes per refresh token, and refuses more (exit code 6).

With `--format json` it is an array of objects with id, user_name, result (`refreshed`, `failed`),
expiry_time and error.

Examples:
  tokenkeep refresh 7
  tokenkeep refresh --user alice@example.com
  tokenkeep refresh --all --yes";

/// Gets new access tokens now, due or not
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    tokens: SomeTokens,
}

pub(crate) async fn run(Args { tokens }: Args, context: &Context) -> Result<(), Failure> {
    outcome::of_each(&tokens, context, ["Refresh", "refreshing"], refresh).await
}

async fn refresh(manager: &TokenManager, token: &OAuthToken) -> Result<TokenOutcome, Failure> {
    let handle = manager.handle_by_id(super::id_of(token)?).await?;
    let live = handle.refresh().await?;
    let expires = live.expires_at();
    let detail = format!("expires {}", time::show(expires));
    Ok(TokenOutcome::done(token, "refreshed", detail).with_expiry(expires))
}
