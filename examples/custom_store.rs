//! A store of one's own under a manager: `cargo run -p tokenkeep-examples --example custom_store`.
//!
//! The store is `src/vec_store.rs`, and `tests/custom_store.rs` runs the conformance suite on it.
#![expect(clippy::print_stdout, reason = "an example for a terminal")]

use anyhow::Result;
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, Login, RefreshToken, TokenManager,
};
use tokenkeep_emulator::Emulator;
use tokenkeep_examples::VecStore;

#[tokio::main]
async fn main() -> Result<()> {
    let emulator = Emulator::start().await?;
    let given = emulator.add_user("alice@example.com", "1000.CLIENT", "test-client-secret");

    // Six methods, and the rest comes with the manager: refresh, one for all, saved before use.
    let manager = TokenManager::builder(VecStore::new()).build()?;
    let client = ClientCredentials::new("1000.CLIENT", ClientSecret::new("test-client-secret")?)?;
    let login = Login::refresh_token(client, RefreshToken::new(given.refresh_token)?)
        .accounts_server(AccountsServer::parse(emulator.url())?);
    manager.log_in(login).await?;

    let live = manager.user("alice@example.com").await?.access_token().await?;
    println!("a token for calls to {}, good until {:?}", live.api_domain(), live.expires_at());

    // What is stored shows no secret, whoever prints it.
    for token in manager.store().get_tokens().await? {
        println!("{token:?}");
    }
    emulator.stop().await;
    Ok(())
}
