//! Several processes, and a server that is killed.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokenkeep_core::TokenStore;
use tokenkeep_servers::{Address, Server};
use tokenkeep_store_redis::RedisConfig;

use crate::scene::{Admin, config, prefix, token, until, user};

const JOB: &str = "TOKENKEEP_TEST_JOB";

/// What this process was started for, if it is a child: `name url`.
pub(crate) fn job() -> Option<String> {
    env::var_os(JOB)?.into_string().ok()
}

/// Saves a hundred users of its own when it is told to go, and says their ids.
#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
pub(crate) fn child(job: &str) -> ExitCode {
    let (name, url) = job.split_once(' ').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = RedisConfig::from_url(url).unwrap().open().await.unwrap();
        println!("ready");
        assert_eq!(std::io::stdin().lock().read(&mut [0]).unwrap(), 0);
        for number in 0..100 {
            let saved = store.save_token(&token(&format!("{name}-{number}"), "0")).await.unwrap();
            println!("{}", saved.id().unwrap());
        }
    });
    ExitCode::SUCCESS
}

pub(crate) async fn eight_processes(nodes: Vec<Address>) {
    let (node, prefix) = (&nodes[0], prefix());
    let url = format!("{}?prefix={prefix}", node.url());
    let ids = tokio::task::spawn_blocking(move || {
        let mut children: Vec<_> = (0..8)
            .map(|number| {
                let mut command = Command::new(env::current_exe().unwrap());
                command.env(JOB, format!("user{number} {url}"));
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut child = command.spawn().unwrap();
                let lines = BufReader::new(child.stdout.take().unwrap()).lines();
                (child, lines)
            })
            .collect();
        for (_, lines) in &mut children {
            assert_eq!(lines.next().unwrap().unwrap(), "ready");
        }
        for (child, _) in &mut children {
            drop(child.stdin.take());
        }
        let mut ids = BTreeSet::new();
        for (mut child, lines) in children {
            ids.extend(lines.map(Result::unwrap));
            assert!(child.wait().unwrap().success());
        }
        ids
    })
    .await
    .unwrap();
    assert_eq!(ids.len(), 800);
    let inspection = config(node, &prefix).open().await.unwrap().inspect().await.unwrap();
    assert_eq!((inspection.tokens, inspection.duplicates.len()), (800, 0));
    assert_eq!(inspection.next_id.unwrap().as_str(), "801");
}

pub(crate) async fn killed_server(mut server: Server) {
    let node = server.nodes()[0].clone();
    let prefix = prefix();
    let admin = Admin::of(&node).await;
    let _done: String = admin.ask(&["CONFIG", "SET", "appendfsync", "always"]).await;
    let store = config(&node, &prefix).open().await.unwrap();
    let (saved, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (store, saved, done) = (store.clone(), Arc::clone(&saved), Arc::clone(&done));
        tasks.spawn(async move {
            for number in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let name = format!("user{task}-{number}");
                if store.save_token(&token(&name, "0")).await.is_ok() {
                    saved.lock().unwrap().push(name);
                }
            }
        });
    }
    let count = || saved.lock().unwrap().len();
    let mut enough = 0;
    for _ in 0..3 {
        enough = count() + 300;
        until("some are saved", || async { count() > enough }).await;
        server.kill(0);
        server.restart(0).unwrap();
    }
    enough += 300;
    until("some are saved after the last restart", || async { count() > enough }).await;
    done.store(true, Ordering::SeqCst);
    tasks.join_all().await;
    let store = config(&node, &prefix).open().await.unwrap();
    let names = saved.lock().unwrap().clone();
    for name in &names {
        assert!(store.find_token(&user(name)).await.unwrap().is_some(), "{name} is lost");
    }
    let inspection = store.inspect().await.unwrap();
    assert_eq!((inspection.duplicates, inspection.not_indexed), (vec![], vec![]));
    assert!(inspection.tokens >= count() as u64);
}
