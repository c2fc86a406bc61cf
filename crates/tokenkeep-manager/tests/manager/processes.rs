//! Several processes on one expired token: one refresh.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tokenkeep_core::{Clock, OAuthToken, SystemClock, TokenId, TokenStore};
use tokenkeep_emulator::{Config, Emulator};
use tokenkeep_manager::TokenManager;
use tokenkeep_oauth::{AccountsServer, ApiDomain};
use tokenkeep_store_file::FileStore;
use tokenkeep_store_sqlite::SqliteStore;

use crate::scene::{CLIENT_ID, CLIENT_SECRET};

const PROCESSES: usize = 4;
const TASKS: usize = 8;
const CHILD: &str = "TOKENKEEP_TEST_CHILD";

fn open(path: &Path) -> Arc<dyn TokenStore> {
    if path.extension().is_some_and(|extension| extension == "db") {
        Arc::new(SqliteStore::open(path).unwrap())
    } else {
        Arc::new(FileStore::open(path).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_of_eight_tasks_cost_one_refresh() {
    for name in ["tokens.db", "tokens.csv"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let emulator = Emulator::start().await.unwrap();
        let user = emulator.add_user("alice@example.com", CLIENT_ID, CLIENT_SECRET);
        let expired = OAuthToken::builder()
            .user_name("alice@example.com")
            .client(CLIENT_ID, CLIENT_SECRET)
            .refresh_token(user.refresh_token)
            .access_token("test-access-token-expired")
            .expiry_time(SystemClock.now().minus(Duration::from_secs(60)))
            .build()
            .unwrap();
        let stored = open(&path).save_token(&expired).await.unwrap();
        let id = stored.id().unwrap();
        emulator.configure(Config::new().token_latency_ms(200));

        let mut children: Vec<_> =
            (0..PROCESSES).map(|_| spawn(&path, emulator.url(), id)).collect();
        let mut readers: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
            .collect();
        for lines in &mut readers {
            assert!(lines.any(|line| line.unwrap().contains("ready")), "a child did not start");
        }
        for child in &mut children {
            writeln!(child.stdin.as_mut().unwrap(), "go").unwrap();
        }
        for (child, lines) in children.iter_mut().zip(readers) {
            let output: Vec<_> = lines.map(Result::unwrap).collect();
            assert!(child.wait().unwrap().success(), "{name}: {output:#?}");
        }
        assert_eq!(emulator.stats().token_requests_of("refresh_token"), 1, "{name}");
        let now_stored = open(&path).find_token_by_id(id).await.unwrap().unwrap();
        assert_eq!(now_stored.refresh_token(), stored.refresh_token());
        assert_ne!(now_stored.access_token(), stored.access_token());
    }
}

fn spawn(path: &Path, url: &str, id: &TokenId) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::child", "--nocapture"])
        .env(CHILD, format!("{}\n{url}\n{id}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What a child process does; nothing when it is run as a test.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "how a parent test tells its child what to do")]
    let Ok(orders) = std::env::var(CHILD) else { return };
    let [path, url, id] = orders.split('\n').collect::<Vec<_>>()[..] else { panic!("{orders}") };
    let manager = TokenManager::builder(open(Path::new(path)))
        .accounts_server(AccountsServer::parse(url).unwrap())
        .api_domain(ApiDomain::parse(url).unwrap())
        .build()
        .unwrap();
    let handle = manager.handle_by_id(&TokenId::new(id).unwrap()).await.unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.access_token().await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().is_saved());
    }
}
