//! `tokenkeep api`

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use tokenkeep::crm::{CrmClient, Method};

use crate::{context::Context, error::Failure, select::OneToken};

const HELP: &str = "\
The call goes to the token's API domain and nowhere else. What comes back is printed as it is. An
answer of 400 and above is printed too and ends with exit code 1.

Examples:
  tokenkeep api GET /crm/v8/org --user alice@example.com
  tokenkeep api GET '/crm/v8/Leads?fields=Last_Name,Email' --id 7 | jq .data
  tokenkeep api POST /crm/v8/Leads --user alice@example.com --body leads.json
  echo '{\"data\":[{\"Last_Name\":\"Lovelace\"}]}' | tokenkeep api POST /crm/v8/Leads --id 7 --body -";

/// Makes an authenticated CRM call and prints the answer's body
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// GET, POST, PUT, PATCH or DELETE
    method: String,
    /// The path with its query, for example /crm/v8/org
    path: String,
    #[command(flatten)]
    token: OneToken,
    /// Send this file as JSON; `-` is stdin
    #[arg(long, value_name = "FILE", help_heading = None)]
    body: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let Args { method, path, token, body } = args;
    let method = parse_method(&method)?;
    if !path.starts_with('/') {
        return Err(Failure::usage("PATH must begin with `/`")
            .hint("the host is the token's API domain; write for example /crm/v8/org"));
    }
    let body = body.as_deref().map(read_body).transpose()?;
    let manager = context.manager().await?;
    let found = token.find(manager.store()).await?;
    let handle = manager.handle_by_id(super::id_of(&found)?).await?;
    let crm = CrmClient::builder(handle).timeout(context.deadline()).build()?;
    let mut request = crm.request(method, &path);
    if let Some(body) = body {
        request = request.body(body);
    }
    let sent = request.send().await;
    if let Some(live) = crm.handle().cached() {
        context.uses(&live);
    }
    match sent {
        Ok(response) => context.printer.bytes(response.body(), true),
        Err(error) => {
            if let Some(response) = error.response() {
                context.printer.bytes(response.body(), true)?;
            }
            Err(error.into())
        }
    }
}

fn parse_method(text: &str) -> Result<Method, Failure> {
    let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    known
        .into_iter()
        .find(|method| method.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| Failure::usage("METHOD must be GET, POST, PUT, PATCH or DELETE"))
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let body = if path == Path::new("-") {
        let mut body = Vec::new();
        std::io::stdin().lock().read_to_end(&mut body).map(|_bytes| body)
    } else {
        fs::read(path)
    };
    body.map_err(|error| {
        Failure::usage(format!("cannot read the body from {}: {error}", path.display()))
    })
}
