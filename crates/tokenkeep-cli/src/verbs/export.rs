//! `tokenkeep export`

use std::path::PathBuf;

use tokenkeep::OAuthToken;
use zeroize::Zeroizing;

use crate::{context::Context, error::Failure, lines, progress, whole};

const HELP: &str = "\
One token a line, as a JSON object with the ten fields of the official SDKs: id, user_name,
client_id, client_secret, refresh_token, access_token, grant_token, expiry_time (ms since 1970, as a
string), redirect_url, api_domain. A field that is absent is null. Without `--include-secrets` the
four secrets are null too, and what is written cannot be imported again.

Examples:
  tokenkeep export
  tokenkeep export --include-secrets --output backup.jsonl";

/// Writes the tokens as JSON lines
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Write the secrets too
    #[arg(long)]
    include_secrets: bool,
    /// Write to this file, readable by you alone, instead of stdout
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let store = context.store_to_read().await?;
    let tokens = store.get_tokens().await?;
    let text = text(&tokens, args.include_secrets);
    match &args.output {
        Some(path) => whole::write(path, text.as_bytes())?,
        None => context.printer.bytes(text.as_bytes(), false)?,
    }
    if !args.include_secrets {
        context.printer.note("secrets were left out; --include-secrets writes them");
    }
    Ok(())
}

fn text(tokens: &[OAuthToken], with_secrets: bool) -> Zeroizing<String> {
    let bar = progress::bar("exporting", tokens.len());
    let mut text = Zeroizing::new(String::new());
    for token in tokens {
        text.push_str(&lines::write(token, with_secrets));
        text.push('\n');
        bar.inc(1);
    }
    bar.finish_and_clear();
    text
}
