//! `tokenkeep login`

mod device;

use std::{
    io::{self, IsTerminal},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use tokenkeep::{
    AllowedServers, Authorization, AuthorizationRequest, Callback, DataCenter, Login,
    OAuthErrorKind,
};
use tokio::time::timeout;
use url::{Host, Url};

use crate::{
    client::{self, Place},
    context::Context,
    error::Failure,
    loopback::Loopback,
    output::Format,
    secrets::{self, ClientSecretFlags},
};

/// How long to wait for the browser unless said otherwise.
const PATIENCE_S: u64 = 300;

const HELP: &str = "\
A listener on this machine waits for the browser to come back, so the redirect URL that is
registered in the API console must be the one used here: http://127.0.0.1:PORT/callback with
`--redirect-port PORT`, or any other with `--redirect-url`. Without either the port is a free one,
which only a provider that allows any loopback port accepts.

The login is checked: it must bring back the state it was begun with, and the accounts server it
names must be one of Zoho's, or the one given by --accounts-server. With `--format json` it prints
the token as `show` does.

On a machine without a browser, `--device` shows the address of a page and a code instead: whoever
opens the page elsewhere and enters the code there is logged in here. It needs a client of the kind
Non-browser Application, and no redirect URL.

Examples:
  tokenkeep login --client-id 1000.ABC --client-secret-env SECRET --redirect-port 8000
  tokenkeep login --client-id 1000.ABC --client-secret-file s.txt --dc eu --environment sandbox \\
    --redirect-url http://localhost:8000/zoho --scope ZohoCRM.modules.ALL,ZohoCRM.users.READ
  tokenkeep login --client-id 1000.ABC --client-secret-env SECRET --no-browser
  tokenkeep login --client-id 1000.ABC --client-secret-env SECRET --device";

/// Logs a user in with the browser, here or on another device
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The client's id, as the API console shows it
    #[arg(long, value_name = "ID")]
    client_id: String,
    #[command(flatten)]
    client_secret: ClientSecretFlags,
    #[command(flatten)]
    place: Place,
    /// What the token shall be good for
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    #[arg(default_values = [
        "ZohoCRM.modules.ALL", "ZohoCRM.settings.ALL", "ZohoCRM.users.READ", "ZohoCRM.org.READ",
    ])]
    scopes: Vec<String>,
    /// Log in with a browser elsewhere: shows a page's address and a code to enter there
    #[arg(long, conflicts_with_all = ["no_browser", "redirect_port", "redirect_url", "pkce"])]
    device: bool,
    /// Print the URL instead of opening a browser
    #[arg(long)]
    no_browser: bool,
    /// The port to listen on [default: a free one, or the redirect URL's]
    #[arg(long, value_name = "PORT")]
    redirect_port: Option<u16>,
    /// The redirect URL as it is registered [default: http://127.0.0.1:PORT/callback]
    #[arg(long, value_name = "URL")]
    redirect_url: Option<String>,
    /// Use PKCE, which Zoho has for mobile and desktop clients
    #[arg(long)]
    pkce: bool,
    /// How many seconds to wait for the user [default: 300; with --device, as long as the code is
    /// good]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// The user's name; the provider is asked where it is left out
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let server = args.place.accounts_server(context)?;
    let secret = args.client_secret.source();
    let secret = secrets::required(secret, secret.read()?)?;
    let client = client::credentials(&args.client_id, &secret)?;
    if args.device {
        return Box::pin(device::run(args, client, context)).await;
    }
    let (mut loopback, redirect) = args.listen().await?;
    let request = AuthorizationRequest::new(&server, &args.client_id, &redirect, &args.scopes)
        .offline()
        .prompt_consent()
        .pkce(args.pkce);
    let authorization = request.build()?;
    // The store is opened first: a login must not be lost because it cannot be written.
    let manager = context.manager().await?;

    show_url(context, &authorization.url, args.no_browser)?;
    let allowed = AllowedServers::zoho().allow(server.clone());
    let wait = await_redirect(&mut loopback, &redirect, &authorization, &allowed);
    let seconds = args.timeout.unwrap_or(PATIENCE_S);
    let callback = timeout(Duration::from_secs(seconds), wait).await.map_err(|_elapsed| {
        Failure::failed(format!("nobody came back from the login in {seconds} seconds"))
            .hint("begin again; `--timeout SECONDS` waits longer")
    })??;

    let data_center = callback.location.and_then(|code| DataCenter::by_code(&code).ok());
    let mut login = Login::grant_token(client, callback.code)
        .redirect_url(redirect)
        .data_center(data_center.unwrap_or(args.place.data_center()?))
        .accounts_server(callback.accounts_server.unwrap_or(server));
    if let Some(verifier) = authorization.pkce {
        login = login.pkce(verifier);
    }
    client::log_in(context, &manager, login, args.user, &args.place).await
}

impl Args {
    /// Listens, and says with which redirect URL.
    async fn listen(&self) -> Result<(Loopback, String), Failure> {
        let wanted = self.redirect_url.as_deref().map(parse_redirect).transpose()?;
        let ip = match wanted.as_ref().and_then(Url::host) {
            Some(Host::Ipv6(ip)) if ip.is_loopback() => IpAddr::V6(ip),
            Some(Host::Ipv4(ip)) if ip.is_loopback() => IpAddr::V4(ip),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let port = match (self.redirect_port, &wanted) {
            (Some(port), _) => port,
            (None, None) => 0,
            (None, Some(url)) if is_loopback(url) => url.port_or_known_default().unwrap_or(80),
            (None, Some(_)) => {
                return Err(Failure::usage("the redirect URL does not lead to this machine")
                    .hint("say with `--redirect-port` where the login is forwarded to"));
            }
        };
        let loopback = Loopback::bind(SocketAddr::new(ip, port)).await.map_err(|error| {
            Failure::failed(format!("cannot listen on {ip} port {port}: {error}"))
                .hint("choose another port with `--redirect-port`, and register its redirect URL")
        })?;
        let redirect = match &self.redirect_url {
            // Word for word: it is compared with the registered one as text.
            Some(url) => url.clone(),
            None => format!("http://127.0.0.1:{}/callback", loopback.port()),
        };
        Ok((loopback, redirect))
    }
}

fn parse_redirect(text: &str) -> Result<Url, Failure> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            Failure::usage("`--redirect-url` must be an http or https URL")
                .hint("it must be exactly the one registered in the API console")
        })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Waits for the redirect that belongs to this login; what does not is turned away.
async fn await_redirect(
    loopback: &mut Loopback,
    redirect: &str,
    authorization: &Authorization,
    allowed: &AllowedServers,
) -> Result<Callback, Failure> {
    let path = Url::parse(redirect).map(|url| url.path().to_owned()).unwrap_or_default();
    while let Some(request) = loopback.next().await {
        if request.path() != path {
            request.answer("404 Not Found", "Not here", "There is nothing at this address.").await;
            continue;
        }
        match Callback::parse(&request.target, &authorization.state, allowed) {
            Ok(callback) => {
                let text = "You can close this window. The terminal says how it went on.";
                request.answer("200 OK", "You are back", text).await;
                return Ok(callback);
            }
            Err(error) if error.kind() == OAuthErrorKind::StateMismatch => {
                tracing::warn!("a redirect that does not belong to this login was turned away");
                let text = "This address was not asked for by the login that waits here.";
                request.answer("400 Bad Request", "Not this login", text).await;
            }
            Err(error) => {
                let text = "The login did not go through. The terminal says why.";
                request.answer("400 Bad Request", "Not logged in", text).await;
                let untrusted = error.kind() == OAuthErrorKind::UntrustedServer;
                let failure = Failure::from(error);
                return Err(if untrusted {
                    failure.hint(
                        "do not go on with this login unless you know why; a server of your own \
                         is named with `--accounts-server`",
                    )
                } else {
                    failure
                });
            }
        }
    }
    Err(Failure::failed("the listener for the login has failed"))
}

/// Shows where to log in. With `--no-browser` the URL is the output; otherwise a browser is opened
/// and the URL is for the case that none appears.
fn show_url(context: &Context, url: &Url, no_browser: bool) -> Result<(), Failure> {
    let printer = context.printer;
    if no_browser && printer.format() == Format::Table {
        printer.text(url.as_str())?;
        if io::stdout().is_terminal() {
            printer.prompt("Open this URL in a browser and log in.");
        } else {
            printer.prompt(&format!("Open this URL in a browser and log in:\n{url}"));
        }
    } else if no_browser || !open_browser(url) {
        printer.prompt(&format!("Open this URL in a browser and log in:\n{url}"));
    } else {
        printer.prompt(&format!("A browser opens for the login. If none does, open:\n{url}"));
    }
    Ok(())
}

/// Whether a program that opens browsers could be started.
fn open_browser(url: &Url) -> bool {
    let programs: &[&str] = if cfg!(target_os = "macos") { &["open"] } else { &["xdg-open"] };
    programs.iter().any(|program| {
        Command::new(program)
            .arg(url.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    })
}
