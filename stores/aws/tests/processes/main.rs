//! Several processes on one store in Secrets Manager. The children are this test program, run again
//! with a job.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "../faults/answers.rs"]
mod answers;
mod kills;
mod races;
mod refreshing;

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokenkeep_core::{OAuthToken, TokenStore as _};
use tokenkeep_servers::{Kind, Trials};
use tokenkeep_store_aws::{
    AwsAccess,
    secretsmanager::{SecretsManagerConfig, SecretsManagerStore},
};

const JOB: &str = "TOKENKEEP_TEST_JOB";

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
    if let Ok(job) = env::var(JOB) {
        return child(&job);
    }
    Trials::new()
        .needs(Kind::Moto, "eight_processes_save_eight_hundred_tokens", |moto| {
            eight_hundred(moto[0].port)
        })
        .needs(Kind::Moto, "eight_processes_on_one_expired_token_cost_one_refresh", |moto| {
            refreshing::one_refresh(moto[0].port)
        })
        .needs(Kind::Moto, "a_process_killed_at_any_request_loses_nothing", |moto| {
            kills::at_any_request(moto[0].port)
        })
        .needs(Kind::Moto, "what_is_written_while_a_token_moves_is_kept", |moto| {
            races::moves(moto[0].port)
        })
        .needs(Kind::Moto, "a_login_stored_with_and_without_its_user_is_one_token", |moto| {
            races::folds(moto[0].port)
        })
        .run()
}

/// The last words of a job are the port and the prefix of its store.
#[expect(clippy::print_stdout, reason = "what a child tells its parent")]
fn child(job: &str) -> ExitCode {
    let words: Vec<&str> = job.split(' ').collect();
    let [job, argument, port, prefix] = words[..] else { panic!("there is no job {job}") };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let store = open(prefix, port.parse().unwrap()).await;
        match job {
            "save" => {
                for number in 0..100 {
                    let saved =
                        store.save_token(&token(&format!("{argument}-{number}"), "0")).await;
                    println!("{}", saved.unwrap().id().unwrap());
                }
            }
            "name" => {
                store.save_token(&kills::named()).await.unwrap();
                println!("saved");
            }
            "refresh" => refreshing::ask(store, argument).await,
            _ => panic!("there is no job {job}"),
        }
    });
    ExitCode::SUCCESS
}

/// Starts a process with this job and argument.
fn spawn(job: &str, port: u16, prefix: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .env(JOB, format!("{job} {port} {prefix}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a child says until it ends.
fn said(mut child: Child) -> Vec<String> {
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    said
}

/// A prefix that no other test has.
fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-process-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn open(prefix: &str, port: u16) -> SecretsManagerStore {
    let access = AwsAccess::new().region("eu-central-1").keys("test-key-id", "test-secret-key");
    let access = access.endpoint(format!("http://127.0.0.1:{port}"));
    // moto takes one request at a time, and many tests run on it.
    let config = SecretsManagerConfig::new(prefix).access(access).timeout(Duration::from_secs(90));
    config.open().await.unwrap()
}

fn token(user: &str, access: &str) -> OAuthToken {
    let token = OAuthToken::builder().user_name(user).client("test-client", "test-client-secret");
    let token = token.refresh_token(format!("test-refresh-{user}"));
    token.access_token(format!("test-access-{user}-{access}")).build().unwrap()
}

/// All at once, also when the store is made.
async fn eight_hundred(moto: u16) {
    let prefix = prefix();
    let children: [Child; 8] =
        std::array::from_fn(|n| spawn(&format!("save user{n}"), moto, &prefix));
    let ids: BTreeSet<String> = children.into_iter().flat_map(said).collect();
    assert_eq!(ids.len(), 800);
    let store = open(&prefix, moto).await;
    let tokens = store.get_tokens().await.unwrap();
    assert_eq!(tokens.len(), 800);
    let users: BTreeSet<_> = tokens.iter().filter_map(OAuthToken::user_name).collect();
    assert_eq!(users.len(), 800);
    // As many pages as there are.
    let (mut listed, mut after) = (0, None);
    loop {
        let page = store.shared().unwrap().page(after.as_ref(), 150).await.unwrap();
        listed += page.tokens.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, 800);
    // Nobody was killed, so nothing is left over, and all of what there is is listed.
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(store.delete_secrets(None).await.unwrap(), 802);
}
