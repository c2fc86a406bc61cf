//! Two users in two data centres at once, in one process: nothing is global.
//! `cargo run -p tokenkeep-examples --example two_users`.
#![expect(clippy::print_stdout, reason = "an example for a terminal")]

use anyhow::Result;
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, ListStore, Login, RefreshToken, TokenManager,
    crm::{CrmClient, Org, User},
};
use tokenkeep_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<()> {
    let us = Emulator::builder().location("us").start().await?;
    let eu = Emulator::builder().location("eu").start().await?;
    let manager = TokenManager::builder(ListStore::new()).build()?;

    // Each brings a refresh token, and with it the accounts server that will honour it. That is
    // remembered with the token.
    for (emulator, user) in [(&us, "alice@example.com"), (&eu, "bob@example.eu")] {
        let given = emulator.add_user(user, "1000.CLIENT", "test-client-secret");
        let secret = ClientSecret::new("test-client-secret")?;
        let client = ClientCredentials::new("1000.CLIENT", secret)?;
        let login = Login::refresh_token(client, RefreshToken::new(given.refresh_token)?)
            .accounts_server(AccountsServer::parse(emulator.url())?);
        manager.log_in(login).await?;
    }

    // Both work at the same time, each in the right place.
    let alice = CrmClient::new(manager.user("alice@example.com").await?)?;
    let bob = alice.for_user(manager.user("bob@example.eu").await?);
    let ((alice, her_org), (bob, his_org)) = tokio::try_join!(who(&alice), who(&bob))?;
    println!("{} works in {}", alice.email, her_org.company_name);
    println!("{} works in {}", bob.email, his_org.company_name);

    println!(
        "requests in the us: {}, in the eu: {}",
        us.stats().api_requests,
        eu.stats().api_requests
    );
    us.stop().await;
    eu.stop().await;
    Ok(())
}

async fn who(crm: &CrmClient) -> Result<(User, Org)> {
    Ok((crm.current_user().await?, crm.org().await?))
}
