//! `tokenkeep demo`: the whole job, played on real parts. The story is [`play`]; read it first.

mod steps;
mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream};
use tempfile::TempDir;
use tokenkeep::{
    GrantToken, Login, ManagerError, ManagerErrorKind, RefreshToken, TokenHandle, TokenManager,
    TokenStore,
    crm::{CrmClient, CrmError, CrmErrorKind, ListOptions},
    open_store,
};

use self::{
    steps::{Steps, Summary},
    world::{MovableClock, Place, World},
};
use crate::{context::Context, error::Failure, signals};

const HELP: &str = "\
Nothing is needed for it and nothing of it stays: no account, no network, no store of yours. Two
emulators play two of Zoho's data centres on loopback, a SQLite database in a temporary directory is
the store, and what each step claims is compared with what the emulators counted.

Examples:
  tokenkeep demo
  tokenkeep demo --keep ./demo       then look: tokenkeep --store sqlite:demo/tokens.db list
  tokenkeep demo --format json       for a program; `held` says whether every step held";

/// Plays the whole job against the built-in emulator: login, save, refresh, use, revoke
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Keep the database in this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.eu";
const CAROL: &str = "carol@example.eu";

/// How many ask at once for the token that has expired.
const CALLERS: usize = 1_000;
/// How many of their requests are on the wire at once, for the sake of file descriptors.
const ON_THE_WIRE: usize = 64;
/// How many records each user creates.
const RECORDS: usize = 3;

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let stopped = signals::told_to_stop()?;
    let dir = Dir::new(args.keep.as_deref())?;
    let database = dir.path().join("tokens.db");
    let mut steps = Steps::new(Arc::clone(&context.clock), context.printer);
    // Whatever happens, this function returns, and the temporary directory goes with it.
    let played = tokio::select! {
        played = play(&database, &mut steps) => played,
        () = stopped => Err(Failure::failed("interrupted")),
    };
    let summary = steps.summary();
    context.printer.result(&summary, Summary::table)?;
    if let Some(kept) = dir.kept() {
        context.printer.note(&format!("the database is {}", kept.join("tokens.db").display()));
    }
    played?;
    if summary.held { Ok(()) } else { Err(Failure::failed("not every step held")) }
}

/// The story.
async fn play(database: &Path, steps: &mut Steps) -> Result<(), Failure> {
    let clock = Arc::new(MovableClock::default());
    let world = World::start(&clock).await?;
    let url = format!("sqlite:{}", database.display());
    let open = async || -> Result<TokenManager, Failure> {
        let store = open_store(&url).await?;
        let clock: Arc<MovableClock> = Arc::clone(&clock);
        Ok(TokenManager::builder(store).clock(clock).build()?)
    };
    let manager = open().await?;

    // Two users in two data centres log in: browser, redirect, code, tokens.
    log_in(&manager, &world.us, ALICE).await?;
    log_in(&manager, &world.eu, BOB).await?;
    steps.check(
        "two users in two data centres log in",
        "codes exchanged: us 1, eu 1",
        format!(
            "codes exchanged: us {}, eu {}",
            world.us.count("authorization_code"),
            world.eu.count("authorization_code")
        ),
    );

    let stored = manager.store().get_tokens().await?;
    let whole = stored.iter().filter(|token| {
        token.refresh_token().is_some() && token.user_name().is_some() && token.id().is_some()
    });
    steps.check(
        "their tokens are saved to SQLite",
        "2 tokens with user and refresh token",
        format!("{} tokens with user and refresh token", whole.count()),
    );

    // They work: each in his own data centre.
    let alices = create_and_read(&manager.user(ALICE).await?).await?;
    let bobs = create_and_read(&manager.user(BOB).await?).await?;
    steps.check(
        "records are created and read",
        format!("leads read: us {RECORDS}, eu {RECORDS}"),
        format!("leads read: us {alices}, eu {bobs}"),
    );

    // An hour passes, everybody asks at once, and the provider takes its time.
    clock.advance(Duration::from_secs(3_600));
    world.us.answer_tokens_after(Duration::from_millis(100));
    let before = world.us.calls();
    let answered = call_at_once(&manager.user(ALICE).await?).await?;
    steps.check(
        "1,000 concurrent calls, token expired",
        format!("{CALLERS} answered, {CALLERS} API requests, 1 refresh"),
        format!(
            "{answered} answered, {} API requests, {} refresh",
            world.us.calls() - before,
            world.us.count("refresh_token")
        ),
    );

    // The program ends and starts again.
    let sum = || world.sum("authorization_code");
    let (logins, refreshes) = (sum(), world.sum("refresh_token"));
    let pages_before = world.pages_shown();
    drop(manager);
    let manager = open().await?;
    let mut working = 0;
    for user in [ALICE, BOB] {
        working += usize::from(works_as(&manager.user(user).await?, user).await?);
    }
    // Alice's token is fresh; Bob's has expired with the hour and is refreshed, once.
    steps.check(
        "the store is closed and opened again",
        "2 users work, 0 logins, 1 refresh",
        format!(
            "{working} users work, {} logins, {} refresh",
            sum() - logins + world.pages_shown() - pages_before,
            world.sum("refresh_token") - refreshes
        ),
    );

    // A third user is taken over from another program by her refresh token.
    let carol = world.eu.add_user(CAROL);
    let login = Login::refresh_token(world::client()?, RefreshToken::new(carol.refresh_token)?)
        .accounts_server(world.eu.server()?);
    let named = manager.log_in(login).await?.token.user_name().map(str::to_owned);
    let works = works_as(&manager.user(CAROL).await?, CAROL).await?;
    steps.check(
        "a third is added by refresh token",
        format!("{CAROL} works: yes, 0 logins"),
        format!("{} works: {}, {} logins", named.unwrap_or_default(), yes(works), sum() - logins),
    );

    // Another program on the same store holds Bob's token in memory while he is revoked here.
    let elsewhere = open().await?;
    let bob_elsewhere = elsewhere.user(BOB).await?;
    works_as(&bob_elsewhere, BOB).await?;
    let bob = manager.user(BOB).await?;
    manager.revoke(bob.id()).await?;
    let refused =
        |error: Option<ManagerErrorKind>| yes(error == Some(ManagerErrorKind::NeedsLogin));
    let here = bob.access_token().await.err().as_ref().map(ManagerError::kind);
    let there = stops_working(&bob_elsewhere).await?;
    steps.check(
        "one is revoked and stops everywhere",
        "1 revocation; must log in here: yes, elsewhere: yes",
        format!(
            "{} revocation; must log in here: {}, elsewhere: {}",
            world.eu.stats().revocations,
            refused(here),
            refused(there)
        ),
    );

    let mut working = 0;
    for user in [ALICE, CAROL] {
        working += usize::from(works_as(&manager.user(user).await?, user).await?);
    }
    let throttled = world.us.stats().throttled + world.eu.stats().throttled;
    steps.check(
        "the others do not notice",
        "2 users work, 0 requests throttled",
        format!("{working} users work, {throttled} requests throttled"),
    );
    Ok(())
}

/// A login as a program with a web page does it; the browser is [`Place::browse`].
async fn log_in(manager: &TokenManager, place: &Place, user: &str) -> Result<(), Failure> {
    let authorization = place.authorization()?;
    let callback = place.browse(&authorization, user).await?;
    let code: GrantToken = callback.code;
    let server = callback.accounts_server.map_or_else(|| place.server(), Ok)?;
    let login = Login::grant_token(world::client()?, code)
        .redirect_url(world::REDIRECT)
        .accounts_server(server);
    manager.log_in(login).await?;
    Ok(())
}

/// Creates leads and says how many of them can be read.
async fn create_and_read(handle: &TokenHandle) -> Result<usize, Failure> {
    let leads = CrmClient::new(handle.clone())?.records("Leads");
    for number in 1..=RECORDS {
        let lead = serde_json::json!({ "Last_Name": format!("Lead {number}"), "Company": "Demo" });
        leads.create(&[lead]).await?;
    }
    let mut read = 0;
    let mut pages = leads.list(ListOptions::new(["Last_Name"]));
    while let Some(page) = pages.next().await? {
        read += page.records.len();
    }
    Ok(read)
}

/// All callers ask for the token at the same time, and each makes a call with what he gets. Says
/// how many calls were answered.
async fn call_at_once(handle: &TokenHandle) -> Result<usize, Failure> {
    let waiting = (0..CALLERS).map(|_| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.access_token().await.map(drop) })
    });
    for asked in join_all(waiting).await {
        asked.map_err(|_panicked| Failure::failed("a caller stopped in a panic"))??;
    }
    let crm = CrmClient::new(handle.clone())?;
    let calls = stream::iter(0..CALLERS).map(|_| crm.current_user()).buffer_unordered(ON_THE_WIRE);
    let answers: Vec<_> = calls.collect().await;
    Ok(answers.into_iter().collect::<Result<Vec<_>, CrmError>>()?.len())
}

/// Whether the CRM answers, and knows the user by this name.
async fn works_as(handle: &TokenHandle, user: &str) -> Result<bool, Failure> {
    Ok(CrmClient::new(handle.clone())?.current_user().await?.email == user)
}

/// Why a call with this handle fails.
async fn stops_working(handle: &TokenHandle) -> Result<Option<ManagerErrorKind>, Failure> {
    match CrmClient::new(handle.clone())?.current_user().await {
        Err(error) if error.kind() == CrmErrorKind::Token => {
            Ok(error.manager_error().map(ManagerError::kind))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(None),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Where the database is: a directory that goes with this value, or one that the user named.
enum Dir {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Dir {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        match keep {
            Some(dir) => {
                fs::create_dir_all(dir).map_err(|error| {
                    Failure::failed(format!("cannot make {}: {error}", dir.display()))
                })?;
                if dir.join("tokens.db").exists() {
                    return Err(Failure::failed(format!(
                        "there is a tokens.db in {} already",
                        dir.display()
                    ))
                    .hint("choose another directory, or remove it"));
                }
                Ok(Self::Kept(dir.to_owned()))
            }
            None => Ok(Self::Temporary(tempfile::Builder::new().prefix("tokenkeep-").tempdir()?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Kept(dir) => dir,
        }
    }

    fn kept(&self) -> Option<&Path> {
        match self {
            Self::Temporary(_) => None,
            Self::Kept(dir) => Some(dir),
        }
    }
}
