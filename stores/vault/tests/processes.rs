//! Several processes on one store, and processes that are killed between their requests. The
//! children are this test program, run again for the test `child`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use support::{PREFIX, open, secrets, token};
use tokenkeep_core::{TokenQuery, TokenStore};
use tokenkeep_store_vault::VaultConfig;
use tokenkeep_testkit::{VaultFault, VaultServer};

const JOB: &str = "TOKENKEEP_TEST_JOB";
const URL: &str = "TOKENKEEP_TEST_URL";

fn spawn(job: &str, server: &VaultServer) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(JOB, job)
        .env(URL, format!("vault+{}/secret/{PREFIX}", server.url()))
        .env("VAULT_TOKEN", VaultServer::ROOT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says with `said`, line by line.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.split_once("said ").map(|(_, text)| text.to_owned()))
}

/// What a child process does; nothing when it is run as a test.
#[tokio::test]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
    let (Ok(job), Ok(url)) = (std::env::var(JOB), std::env::var(URL)) else { return };
    let config = VaultConfig::from_url(&url).unwrap().timeout(Duration::from_secs(60));
    let store = config.open().await.unwrap();
    let (job, argument) = job.split_once(' ').unwrap_or((&job, ""));
    match job {
        "save" => {
            println!("said ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            for number in 0..100 {
                let saved = store.save_token(&token(&format!("{argument}-{number}"), "0")).await;
                println!("said {}", saved.unwrap().id().unwrap());
            }
        }
        "update" => {
            store.save_token(&token("alice", "1")).await.unwrap();
            println!("said saved");
        }
        other => panic!("there is no job {other}"),
    }
}

/// None is lost, and none waits until the others have nothing more to save: who has written last
/// could be first each time, for it knows the index already.
#[tokio::test]
async fn eight_processes_save_eight_hundred_tokens() {
    let server = VaultServer::start().unwrap();
    let mut children: Vec<_> = (0..8).map(|n| spawn(&format!("save user{n}"), &server)).collect();
    let mut said: Vec<_> = children.iter_mut().map(said).collect();
    for said in &mut said {
        assert_eq!(said.next().as_deref(), Some("ready"));
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }
    let mut ids = BTreeSet::new();
    for (mut child, said) in children.into_iter().zip(said) {
        let mut last = 0;
        for id in said.map(|id| id.parse::<u32>().unwrap()) {
            assert!(id - last <= 200, "others have saved {} tokens meanwhile", id - last - 1);
            last = id;
            ids.insert(id);
        }
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(ids.len(), 800);
    let store = open(&server).await;
    assert_eq!(store.get_tokens().await.unwrap().len(), 800);
    let inspection = store.inspect().await.unwrap();
    assert_eq!((inspection.tokens, inspection.left_over), (800, Some(0)));
    assert_eq!(secrets(&server).len(), 800);
}

/// A process is killed before and after each request of a save, opening included.
#[tokio::test]
async fn a_process_killed_at_any_request_loses_nothing() {
    let mut left_over = 0;
    let mut seen = BTreeSet::new();
    for fault in [VaultFault::HangBefore, VaultFault::HangAfter] {
        for request in 0.. {
            let server = VaultServer::start().unwrap();
            let store = open(&server).await;
            store.save_token(&token("alice", "0")).await.unwrap();
            server.fail(request, fault);
            let mut child = spawn("update", &server);
            let words = said(&mut child);
            let (sender, finished) = std::sync::mpsc::channel();
            std::thread::spawn(move || words.for_each(|word| drop(sender.send(word))));
            // Either it reaches the fault, or it is done before.
            let is_done = loop {
                if server.wait_for_fault(Duration::from_millis(20)) {
                    break false;
                }
                if finished.try_recv().is_ok() {
                    break true;
                }
                assert!(child.try_wait().unwrap().is_none(), "the child failed");
            };
            child.kill().unwrap();
            child.wait().unwrap();
            if is_done {
                break;
            }
            // What is found is the old token or the new one, by all it is found by.
            let reader = open(&server).await;
            let query = TokenQuery::user("alice").unwrap();
            let found = reader.find_token(&query).await.unwrap().unwrap();
            assert_eq!(reader.get_tokens().await.unwrap(), std::slice::from_ref(&found));
            let access = found.access_token().unwrap().clone();
            seen.insert(access.expose_secret().to_owned());
            let by_access = reader.find_token(&TokenQuery::access_token(access)).await.unwrap();
            assert_eq!(by_access, Some(found.clone()));
            left_over += secrets(&server).len() - 1;
            // The next save removes what was left.
            let saved = reader.save_token(&token("alice", "2")).await.unwrap();
            assert_eq!(saved.id(), found.id());
            assert_eq!(secrets(&server).len(), 1, "{fault:?} {request}");
        }
    }
    assert!(left_over > 0, "no kill left a secret behind, so that nothing was shown");
    assert_eq!(seen.len(), 2, "{seen:?}");
}
