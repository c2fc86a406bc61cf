//! `tokenkeep find`

use tokenkeep::{AccessToken, GrantToken, RefreshToken, TokenQuery};

use crate::{
    context::Context,
    error::Failure,
    secrets::{self, AccessTokenFlags, GrantTokenFlags, RefreshTokenFlags},
    verbs::show,
};

const HELP: &str = "\
A query names exactly one of a user, an access, a grant or a refresh token. A user is matched byte
for byte. Where several tokens match, the answer is an error with their ids, never the first one.

Examples:
  tokenkeep find --user alice@example.com
  tokenkeep find --user alice@example.com --client-id 1000.ABC
  ACCESS_TOKEN=... tokenkeep find --access-token-env ACCESS_TOKEN
  pass zoho/refresh | tokenkeep find --refresh-token-stdin";

/// Finds the token of a user, or with a given access, grant or refresh token
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The user's name, exactly as stored
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only the token of this client, where the user has several
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    #[command(flatten)]
    access_token: AccessTokenFlags,
    #[command(flatten)]
    grant_token: GrantTokenFlags,
    #[command(flatten)]
    refresh_token: RefreshTokenFlags,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let query = args.query()?;
    let store = context.store_to_read().await?;
    match store.find_token(&query).await? {
        Some(token) => show::print(context, &*store, &token).await,
        None => Err(Failure::no_token("no token matches")),
    }
}

impl Args {
    fn query(&self) -> Result<TokenQuery, Failure> {
        let sources =
            [self.access_token.source(), self.grant_token.source(), self.refresh_token.source()];
        secrets::one_stdin(&sources)?;
        let mut queries: Vec<TokenQuery> = Vec::new();
        if let Some(user) = &self.user {
            queries.push(TokenQuery::user(user)?);
        }
        if let Some(secret) = sources[0].read()? {
            queries.push(TokenQuery::access_token(AccessToken::new(secret.as_str())?));
        }
        if let Some(secret) = sources[1].read()? {
            queries.push(TokenQuery::grant_token(GrantToken::new(secret.as_str())?));
        }
        if let Some(secret) = sources[2].read()? {
            queries.push(TokenQuery::refresh_token(RefreshToken::new(secret.as_str())?));
        }
        let (Some(query), true) = (queries.pop(), queries.is_empty()) else {
            return Err(Failure::usage(
                "a query names exactly one of a user, an access, a grant or a refresh token",
            )
            .hint(
                "give `--user NAME`, or one of `--access-token-…`, `--grant-token-…`, \
                   `--refresh-token-…`",
            ));
        };
        match &self.client_id {
            Some(client_id) => Ok(query.with_client_id(client_id)?),
            None => Ok(query),
        }
    }
}
