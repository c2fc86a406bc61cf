//! `tokenkeep refresh`

use tokenkeep::{LiveToken, OAuthToken, TokenManager};

use crate::{
    context::Context,
    error::Failure,
    outcome::{self, TokenOutcome},
    select::SomeTokens,
    time,
};

const HELP: &str = "\
A program need not do this: `tokenkeep token` refreshes when it is due. The provider issues ten
access tokens in ten minutes per refresh token, and refuses more: before it would, it is not asked
(exit code 6, with the time when it can be).

A new token that cannot be stored is kept aside, as stderr says; see `tokenkeep recover`.

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
    let refresh = async |manager: &TokenManager, token: &OAuthToken| {
        let handle = manager.handle_by_id(super::id_of(token)?).await?;
        let live = handle.refresh().await?;
        context.uses(&live);
        Ok(outcome(token, &live))
    };
    outcome::of_each(&tokens, context, ["Refresh", "refreshing"], refresh).await
}

fn outcome(token: &OAuthToken, live: &LiveToken) -> TokenOutcome {
    let expires = live.expires_at();
    let detail = format!("expires {}", time::show(expires));
    TokenOutcome::done(token, "refreshed", detail).with_expiry(expires)
}
