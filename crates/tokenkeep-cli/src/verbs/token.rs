//! `tokenkeep token`

use crate::{context::Context, error::Failure, select::OneToken};

const HELP: &str = "\
It prints the token and a newline, and nothing else to stdout. A token that is about to expire is
refreshed first; however many processes ask at the same time, one of them refreshes.

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
    if !live.is_saved() {
        context.printer.warn("the new token could not be saved and is known here only");
    }
    context.printer.text(live.access_token().expose_secret())
}
