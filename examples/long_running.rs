//! A program that runs for long: it loses no token, keeps them fresh, and says what happens.
//! `cargo run -p tokenkeep-examples --example long_running`.
#![expect(clippy::print_stdout, reason = "an example for a terminal")]

use anyhow::{Context, Result};
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, EventKind, FileSpool, Login, RefreshToken,
    TokenManager, open_store,
};
use tokenkeep_emulator::{Config, Emulator};

#[tokio::main]
async fn main() -> Result<()> {
    // The emulator stands for Zoho, with tokens that live for twenty seconds.
    let emulator = Emulator::start().await?;
    emulator.configure(Config::new().access_token_lifetime_s(20));
    let given = emulator.add_user("alice@example.com", "1000.CLIENT", "test-client-secret");

    let home = tempfile::tempdir()?;
    let store = open_store(&format!("sqlite:{}", home.path().join("tokens.db").display())).await?;
    let manager = TokenManager::builder(store)
        // Where a new token waits that cannot be stored. It is readable by this user alone.
        .spool(FileSpool::in_directory(home.path().join("spool"))?)
        // Called for all that happens: for an alert, say.
        .on_event(|event| {
            if matches!(event.kind, EventKind::NeedsLogin) {
                println!("the user of token {} has to log in again", event.token_id);
            }
        })
        .build()?;

    // What an earlier run could not store is stored first.
    let recovery = manager.recover().await?;
    println!("recovered: {}, still waiting: {}", recovery.stored, recovery.waiting);

    let client = ClientCredentials::new("1000.CLIENT", ClientSecret::new("test-client-secret")?)?;
    let login = Login::refresh_token(client, RefreshToken::new(given.refresh_token)?)
        .accounts_server(AccountsServer::parse(emulator.url())?);
    let alice = manager.log_in(login).await?.handle;

    // From here on nobody waits for a refresh: the keeper is earlier.
    let mut events = manager.events();
    let keeper = manager.keeper().start()?;
    println!("the token is renewed when half of its life is over: in ten seconds");
    let event = events.next().await.context("the manager is gone")??;
    println!("token {}: {:?}", event.token_id, event.kind);
    println!("in memory: {}", alice.cached().is_some());

    // It ends what it has begun, so that nothing is lost.
    keeper.stop().await;
    emulator.stop().await;
    Ok(())
}
