//! Managers in several processes, and one token that has expired.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Child,
    time::Duration,
};

use tokenkeep_core::{Clock as _, OAuthToken, SystemClock, TokenStore as _};
use tokenkeep_emulator::{Config, Emulator};
use tokenkeep_manager::TokenManager;
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokenkeep_store_aws::secretsmanager::SecretsManagerStore;

use crate::{open, prefix, said, spawn};

const USER: &str = "alice@example.com";
const CLIENT: (&str, &str) = ("test-client-id", "test-client-secret");
const PROCESSES: usize = 8;
const TASKS: usize = 8;

/// All have a handle of the token, then all ask at once.
pub(crate) async fn one_refresh(moto: u16) {
    let prefix = prefix();
    let emulator = Emulator::builder().start().await.unwrap();
    emulator.configure(Config::new().token_latency_ms(300));
    let user = emulator.add_user(USER, CLIENT.0, CLIENT.1);
    let token = OAuthToken::builder()
        .user_name(USER)
        .client(CLIENT.0, CLIENT.1)
        .refresh_token(user.refresh_token)
        .access_token("test-access-token-expired")
        .expiry_time(SystemClock.now())
        .build()
        .unwrap();
    let store = open(&prefix, moto).await;
    store.save_token(&token).await.unwrap();

    let job = format!("refresh {}", emulator.url());
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| spawn(&job, moto, &prefix)).collect();
    for child in &mut children {
        let mut line = Vec::new();
        // Byte by byte, so that nothing of what comes later is taken with it.
        let mut output = BufReader::with_capacity(1, child.stdout.as_mut().unwrap());
        output.read_until(b'\n', &mut line).unwrap();
        assert_eq!(line, b"ready\n");
    }
    for child in &mut children {
        writeln!(child.stdin.as_mut().unwrap()).unwrap();
    }
    let got: Vec<String> = children.into_iter().flat_map(said).collect();

    assert_eq!(got, vec!["stored".to_owned(); PROCESSES * TASKS]);
    assert_eq!(emulator.stats().token_requests_of("refresh_token"), 1);
    let stored = store.get_tokens().await.unwrap();
    assert_eq!(stored.len(), 1);
    let access_token = stored[0].access_token().unwrap();
    assert!(emulator.is_live_access_token(access_token.expose_secret()));
}

/// What a child does: its tasks ask for the token when the parent says so, and each says whether it
/// got the one that is stored.
#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
pub(crate) async fn ask(store: SecretsManagerStore, server: &str) {
    let manager = TokenManager::builder(store.clone())
        .accounts_server(AccountsServer::parse(server).unwrap())
        .api_domain(ApiDomain::parse(server).unwrap())
        .deadline(Duration::from_secs(120))
        .lease(Duration::from_secs(60))
        .build()
        .unwrap();
    let handle = manager.user(USER).await.unwrap();
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.access_token().await.unwrap() })
        })
        .collect();
    for task in tasks {
        let live = task.await.unwrap();
        let stored = store.get_tokens().await.unwrap().remove(0);
        let is_stored = live.is_saved() && Some(live.access_token()) == stored.access_token();
        println!("{}", if is_stored { "stored" } else { "another one" });
    }
}
