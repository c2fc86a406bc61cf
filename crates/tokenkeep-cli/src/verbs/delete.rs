//! `tokenkeep delete`

use serde::Serialize;
use tokenkeep::{Fingerprint, Spool};

use crate::{context::Context, error::Failure, select::SomeTokens};

const HELP: &str = "\
It is removed here only: at the provider the grant lives on. `tokenkeep revoke` ends it there too.
With `--format json` it prints {\"deleted\": N}.

Examples:
  tokenkeep delete 7
  tokenkeep delete --user alice@example.com
  tokenkeep delete --all --yes";

/// Removes tokens from the store
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    tokens: SomeTokens,
}

#[derive(Serialize)]
struct Deleted {
    deleted: u64,
}

pub(crate) async fn run(Args { tokens }: Args, context: &Context) -> Result<(), Failure> {
    let store = context.store().await?;
    let found = tokens.find(&*store, "Delete", context.printer).await?;
    let deleted = if tokens.all() {
        store.delete_tokens().await?
    } else {
        let mut deleted = 0;
        for id in found.iter().filter_map(|token| token.id()) {
            deleted += u64::from(store.delete_token(id).await?);
        }
        deleted
    };
    // What was issued in a token's place and waits to be stored is of no use any more.
    if let Some(spool) = context.spool()? {
        for token in &found {
            if let (Some(id), Some(grant)) = (token.id(), Fingerprint::of_grant(token)) {
                spool.remove(id, &grant).await?;
            }
        }
    }
    context.printer.result(&Deleted { deleted }, |Deleted { deleted }| match deleted {
        1 => "Deleted 1 token.".to_owned(),
        _ => format!("Deleted {deleted} tokens."),
    })
}
