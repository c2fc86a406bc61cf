//! `tokenkeep revoke`

use tokenkeep::{OAuthToken, Revoked, TokenManager};

use crate::{
    context::Context,
    error::Failure,
    outcome::{self, TokenOutcome},
    select::SomeTokens,
};

const HELP: &str = "\
The refresh token and all its access tokens end at the provider, for every program that has them.
Here the token stays in the list as `revoked`, without its secrets, until it is deleted or the user
logs in again. If the provider cannot be reached, nothing is changed.

With `--format json` it is an array of objects with id, user_name, result (`revoked`, `failed`) and
error.

Examples:
  tokenkeep revoke 7
  tokenkeep revoke --user alice@example.com
  tokenkeep revoke --all --yes";

/// Ends tokens at the provider and here
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    tokens: SomeTokens,
}

pub(crate) async fn run(Args { tokens }: Args, context: &Context) -> Result<(), Failure> {
    outcome::of_each(&tokens, context, ["Revoke", "revoking"], revoke).await
}

async fn revoke(manager: &TokenManager, token: &OAuthToken) -> Result<TokenOutcome, Failure> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is what was asked for")]
    let detail = match manager.revoke(super::id_of(token)?).await? {
        Revoked::Already => "the provider had ended it already",
        Revoked::HereOnly => "here; there was no refresh token to end at the provider",
        _ => "at the provider and here",
    };
    Ok(TokenOutcome::done(token, "revoked", detail.to_owned()))
}
