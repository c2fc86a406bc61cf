//! The command line, and the way from it to a verb.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::{
    context::Context,
    error::Failure,
    exit, logging,
    output::{Format, Printer},
    secrets, verbs,
};

const EXAMPLES: &str = "\
Examples:
  tokenkeep demo                                   see the whole job done, no account needed
  tokenkeep login --client-id ID --client-secret-env SECRET --dc eu
  tokenkeep list
  curl -H \"Authorization: Zoho-oauthtoken $(tokenkeep token --user alice@example.com)\" ...
  tokenkeep api GET /crm/v8/org --user alice@example.com
  tokenkeep --store file:sdk_tokens.txt doctor     look at an official SDK's token file";

/// Keeps OAuth tokens alive and safe for programs that call Zoho CRM.
///
/// Data goes to stdout, everything else to stderr. No secret is printed unless the verb is for
/// that. Secrets come in by `--...-env VAR`, `--...-file PATH` or `--...-stdin`.
#[derive(Parser)]
#[command(name = "tokenkeep", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", exit::TABLE), arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Which store: sqlite:PATH, sqlite::memory:, file:PATH, mysql://…, postgres://…, redis://…,
    /// rediss://…, dynamodb:TABLE, aws-secretsmanager:NAME, vault+https://…, keyring:SERVICE or list:
    /// [default: sqlite: in the user's data directory]
    #[arg(long, global = true, value_name = "URL")]
    #[arg(env = "TOKENKEEP_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,

    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, hide_possible_values = true)]
    #[arg(value_name = "table|json")]
    format: Format,

    /// Another accounts server than Zoho's; http on loopback only
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) accounts_server: Option<String>,

    /// Another API domain than the token's; http on loopback only
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) api_domain: Option<String>,

    /// How many seconds a token is waited for at most, and an answer of the CRM
    /// [default: 60; a server that is down is asked for 3]
    #[arg(long, global = true, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) deadline: Option<u64>,

    /// Where a new token waits that cannot be stored
    /// [default: tokenkeep/spool in the user's state directory]
    #[arg(long, global = true, value_name = "DIR")]
    #[arg(env = "TOKENKEEP_SPOOL", hide_env_values = true)]
    pub(crate) spool: Option<PathBuf>,

    /// Keep a token that cannot be stored nowhere else
    #[arg(long, global = true)]
    pub(crate) no_spool: bool,

    /// Encrypt what waits there with the key in this file: 32 bytes as hex or Base64
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(env = "TOKENKEEP_SPOOL_KEY_FILE", hide_env_values = true)]
    pub(crate) spool_key_file: Option<PathBuf>,

    /// More logs on stderr: -v what, -vv why, -vvv everything; TOKENKEEP_LOG=tokenkeep_oauth=debug
    /// for one part
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Only errors and warnings on stderr
    #[arg(short, long, global = true)]
    quiet: bool,

    /// What to log, as `tracing` directives
    #[arg(long, global = true, hide = true, env = "TOKENKEEP_LOG", hide_env_values = true)]
    log: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    Demo(verbs::demo::Args),
    Login(verbs::login::Args),
    Add(verbs::add::Args),
    List(verbs::list::Args),
    Show(verbs::show::Args),
    Find(verbs::find::Args),
    Token(verbs::token::Args),
    Api(verbs::api::Args),
    Refresh(verbs::refresh::Args),
    Keep(verbs::keep::Args),
    Recover(verbs::recover::Args),
    Revoke(verbs::revoke::Args),
    Delete(verbs::delete::Args),
    Import(verbs::import::Args),
    Export(verbs::export::Args),
    Migrate(verbs::migrate::Args),
    Doctor(verbs::doctor::Args),
    Emulator(verbs::emulator::Args),
    Completions(verbs::completions::Args),
}

/// The command as `clap` knows it.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command and says how it ended.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if let Err(failure) = secrets::refuse_plain(&arguments) {
        Printer::new(Format::Table, false).failure(&failure);
        return failure.code.into();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no failure; `clap` knows which is which.
            let code = if error.use_stderr() { exit::USAGE } else { exit::DONE };
            drop(error.print());
            return code.into();
        }
    };
    let Global { format, verbose, quiet, ref log, .. } = cli.global;
    logging::start(log.as_deref(), verbose, quiet);
    let printer = Printer::new(format, quiet);
    let code = match in_runtime(cli, printer) {
        Ok(()) => exit::DONE,
        Err(failure) => {
            printer.failure(&failure);
            failure.code
        }
    };
    code.into()
}

fn in_runtime(cli: Cli, printer: Printer) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let context = Context::new(cli.global, printer);
        let done = dispatch(cli.verb, &context).await;
        context.tell_what_is_unsaved();
        done
    })
}

async fn dispatch(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Demo(args) => Box::pin(verbs::demo::run(args, context)).await,
        Verb::Login(args) => Box::pin(verbs::login::run(args, context)).await,
        Verb::Add(args) => Box::pin(verbs::add::run(args, context)).await,
        Verb::List(args) => Box::pin(verbs::list::run(args, context)).await,
        Verb::Show(args) => Box::pin(verbs::show::run(args, context)).await,
        Verb::Find(args) => Box::pin(verbs::find::run(args, context)).await,
        Verb::Token(args) => Box::pin(verbs::token::run(args, context)).await,
        Verb::Api(args) => Box::pin(verbs::api::run(args, context)).await,
        Verb::Refresh(args) => Box::pin(verbs::refresh::run(args, context)).await,
        Verb::Keep(args) => Box::pin(verbs::keep::run(args, context)).await,
        Verb::Recover(args) => Box::pin(verbs::recover::run(args, context)).await,
        Verb::Revoke(args) => Box::pin(verbs::revoke::run(args, context)).await,
        Verb::Delete(args) => Box::pin(verbs::delete::run(args, context)).await,
        Verb::Import(args) => Box::pin(verbs::import::run(args, context)).await,
        Verb::Export(args) => Box::pin(verbs::export::run(args, context)).await,
        Verb::Migrate(args) => Box::pin(verbs::migrate::run(args, context)).await,
        Verb::Doctor(args) => Box::pin(verbs::doctor::run(args, context)).await,
        Verb::Emulator(args) => Box::pin(verbs::emulator::run(args, context)).await,
        Verb::Completions(args) => verbs::completions::run(args, context),
    }
}
