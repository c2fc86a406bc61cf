//! `tokenkeep token`

use crate::{context::Context, error::Failure, select::OneToken};

const HELP: &str = "\
It prints the token and a newline, and nothing else to stdout. A token that is about to expire is
refreshed first; however many processes ask at the same time, one of them refreshes.

Where the new token cannot be stored, it is printed all the same and kept aside, as stderr says; see
`tokenkeep recover`.

Examples:
  tokenkeep token --user alice@example.com
  curl -H \"Authorization: Zoho-oauthtoken $(tokenkeep token --id 7)\" \\
       https://www.zohoapis.com/crm/v8/org";

/// Prints a valid access token, refreshed if needed
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    token: OneToken,
}

pub(crate) async fn run(Args { token }: Args, context: &Context) -> Result<(), Failure> {
    let manager = context.manager().await?;
    let found = token.find(manager.store()).await?;
    let live = manager.handle_by_id(super::id_of(&found)?).await?.access_token().await?;
    context.uses(&live);
    context.printer.text(live.access_token().expose_secret())
}
