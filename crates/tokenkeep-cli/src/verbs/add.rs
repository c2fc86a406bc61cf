//! `tokenkeep add`

use tokenkeep::{GrantToken, Login, RefreshToken};

use crate::{
    client::{self, Place},
    context::Context,
    error::Failure,
    secrets::{self, ClientSecretFlags, GrantTokenFlags, RefreshTokenFlags},
};

const HELP: &str = "\
A grant token is the code that the API console makes for a self client (Generate Code); it lives for
a few minutes and works once. A refresh token is one that you have from somewhere else. Either is
turned into an access token at once, and where no user is named, the provider is asked whose it is.

Secrets come from a variable, a file or stdin, never as a plain value, which everybody on the
machine could read. With `--format json` it prints the token as `show` does.

Examples:
  tokenkeep add --client-id 1000.ABC --client-secret-env SECRET --grant-token-stdin --dc eu
  tokenkeep add --client-id 1000.ABC --client-secret-file secret.txt --refresh-token-env REFRESH \\
    --user alice@example.com";

/// Adds a token from a self-client code or a refresh token
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The client's id, as the API console shows it
    #[arg(long, value_name = "ID")]
    client_id: String,
    #[command(flatten)]
    client_secret: ClientSecretFlags,
    #[command(flatten)]
    grant_token: GrantTokenFlags,
    #[command(flatten)]
    refresh_token: RefreshTokenFlags,
    /// The user's name; the provider is asked where it is left out
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The redirect URL that the grant token was asked for with; a self client has none
    #[arg(long, value_name = "URL")]
    redirect_url: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let login = args.login(context)?;
    let manager = context.manager().await?;
    client::log_in(context, &manager, login, args.user, &args.place).await
}

impl Args {
    fn login(&self, context: &Context) -> Result<Login, Failure> {
        let sources =
            [self.client_secret.source(), self.grant_token.source(), self.refresh_token.source()];
        secrets::one_stdin(&sources)?;
        let [client_secret, grant, refresh] = sources;
        let data_center = self.place.data_center()?;
        let server = self.place.accounts_server(context)?;
        let client_secret = secrets::required(client_secret, client_secret.read()?)?;
        let client = client::credentials(&self.client_id, &client_secret)?;
        let mut login = match (grant.read()?, refresh.read()?) {
            (Some(code), None) => Login::grant_token(client, GrantToken::new(code.as_str())?),
            (None, Some(token)) => Login::refresh_token(client, RefreshToken::new(token.as_str())?),
            _ => {
                return Err(Failure::usage("give a grant token or a refresh token, and not both")
                    .hint(
                        "use one of --grant-token-… and --refresh-token-… (-env, -file, -stdin)",
                    ));
            }
        };
        login = login.data_center(data_center).accounts_server(server);
        if let Some(url) = &self.redirect_url {
            login = login.redirect_url(url);
        }
        Ok(login)
    }
}
