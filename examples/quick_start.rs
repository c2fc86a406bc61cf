//! From a login to records, and again after a restart, against the built-in emulator:
//! `cargo run -p tokenkeep-examples --example quick_start`.
#![expect(clippy::print_stdout, reason = "an example for a terminal")]

use anyhow::Result;
use serde_json::json;
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, GrantToken, Login, TokenManager,
    crm::{CrmClient, ListOptions},
    open_store,
};
use tokenkeep_emulator::Emulator;

const ALICE: &str = "alice@example.com";

#[tokio::main]
async fn main() -> Result<()> {
    // The emulator stands for Zoho. It shows what the API console would: a client and a code.
    let emulator = Emulator::start().await?;
    let shown = emulator.add_user(ALICE, "1000.CLIENT", "test-client-secret");

    let directory = tempfile::tempdir()?;
    let url = format!("sqlite:{}", directory.path().join("tokens.db").display());

    // Once: the code of the login becomes a stored token. Who the user is gets found out.
    {
        let manager = TokenManager::builder(open_store(&url).await?).build()?;
        let secret = ClientSecret::new("test-client-secret")?;
        let client = ClientCredentials::new("1000.CLIENT", secret)?;
        let login = Login::grant_token(client, GrantToken::new(shown.grant_token)?)
            .accounts_server(AccountsServer::parse(emulator.url())?);
        let logged_in = manager.log_in(login).await?;
        println!("logged in: {}", logged_in.token.user_name().unwrap_or("unknown"));
    }

    // Ever after, in any process: the user's name is enough.
    let manager = TokenManager::builder(open_store(&url).await?).build()?;
    let crm = CrmClient::new(manager.user(ALICE).await?)?;

    let leads = crm.records("Leads");
    leads.create(&[json!({ "Last_Name": "Lovelace", "Company": "Engines" })]).await?;
    let mut pages = leads.list(ListOptions::new(["Last_Name", "Company"]));
    while let Some(page) = pages.next().await? {
        for lead in &page.records {
            println!("lead: {}, {}", lead["Last_Name"], lead["Company"]);
        }
    }

    println!("asked of the accounts server: {:?}", emulator.stats().token_requests);
    emulator.stop().await;
    Ok(())
}
