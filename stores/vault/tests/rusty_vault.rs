//! A server that is not ours: RustyVault. It has no KV of version 2, so that no token can be kept
//! there; it has what stands before that: logins, tokens that end, a seal.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::{
    env, fs,
    process::{Command, ExitCode},
    time::Duration,
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokenkeep_core::{
    OAuthToken, Outcome, SharedStore, StoreError, StoreErrorKind, TokenId, TokenStore,
};
use tokenkeep_servers::{Address, Kind, Server, Trials};
use tokenkeep_store_vault::{VaultConfig, VaultStore};
use tokio::time::{Instant, timeout};

const PREFIX: &str = "test/store";
const SHORT: Duration = Duration::from_millis(1_500);
/// How long a token of the tests' role lives.
const TTL: Duration = Duration::from_secs(2);

/// The URL that a child process opens.
const URL: &str = "TOKENKEEP_TEST_URL";
const SECRET_ID: &str = "TOKENKEEP_TEST_SECRET_ID";

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "what a parent tells its child")]
    if let Ok(url) = env::var(URL) {
        return child(&url);
    }
    Trials::new()
        .private(Kind::RustyVault, "a_mount_of_version_1_is_refused", |server| async {
            a_mount_of_version_1_is_refused(Vault::of(server)).await;
        })
        .private(Kind::RustyVault, "roles_log_in_by_file_and_variable", |server| async {
            roles_log_in_by_file_and_variable(Vault::of(server)).await;
        })
        .private(Kind::RustyVault, "a_token_that_has_ended_is_got_anew", |server| async {
            a_token_that_has_ended_is_got_anew(Vault::of(server)).await;
        })
        .private(Kind::RustyVault, "a_sealed_vault_goes_on_when_it_is_unsealed", |server| async {
            a_sealed_vault_goes_on_when_it_is_unsealed(Vault::of(server)).await;
        })
        .private(Kind::RustyVault, "what_is_refused_is_told", |server| async {
            what_is_refused_is_told(Vault::of(server)).await;
        })
        .run()
}

/// A server and its root.
struct Vault {
    server: Server,
    root: Address,
    http: Client,
}

struct Role {
    role_id: String,
    secret_id: String,
}

impl Vault {
    fn of(server: Server) -> Self {
        let root = server.nodes()[0].clone();
        Self { server, root, http: Client::builder().no_proxy().build().unwrap() }
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.ask_as(&self.root.admin_password, method, path, body).await
    }

    async fn ask_as(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}/v1/{path}", self.root.url()));
        let request = request.header("X-Vault-Token", token).body(body.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    fn config(&self) -> VaultConfig {
        VaultConfig::new(&self.root.url(), "secret", PREFIX).unwrap()
    }

    async fn open(&self) -> VaultStore {
        self.config().token(self.root.admin_password.clone()).timeout(SHORT).open().await.unwrap()
    }

    async fn role(&self) -> Role {
        self.ask("POST", "sys/auth/approle", json!({"type": "approle"})).await;
        let path = "auth/approle/role/test-role";
        let ttl = TTL.as_secs().to_string();
        self.ask("POST", path, json!({"token_ttl": ttl, "token_max_ttl": "3600"})).await;
        let id = self.ask("GET", &format!("{path}/role-id"), Value::Null).await.1;
        let secret = self.ask("POST", &format!("{path}/secret-id"), json!({})).await.1;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Role {
            role_id: text(&id["data"]["role_id"]),
            secret_id: text(&secret["data"]["secret_id"]),
        }
    }
}

fn token() -> OAuthToken {
    let token = OAuthToken::builder().user_name("alice").access_token("test-access-alice");
    token.build().unwrap()
}

/// What a store does without writing: it reads the index, which is not there.
async fn look(store: &VaultStore) -> Result<(), StoreError> {
    assert_eq!(store.find_token_by_id(&TokenId::from_number(1)).await?, None);
    store.change_mark().await.map(drop)
}

/// Fails unless the error is of this kind, has a hint, and shows nothing secret.
#[track_caller]
fn check<T>(result: Result<T, StoreError>, kind: StoreErrorKind, words: &str) -> StoreError {
    let Err(error) = result else { panic!("it works, and must not: {words}") };
    let shown = format!("{error} {error:?}");
    assert_eq!(error.kind(), kind, "{shown}");
    assert!(shown.contains(words), "{shown}");
    assert!(error.hint().is_some(), "{shown}");
    for secret in ["test-wrong", "test-access"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    error
}

/// It does not tell what its mounts are, so that the first write finds out; that has no secret.
async fn a_mount_of_version_1_is_refused(vault: Vault) {
    let store = vault.open().await;
    let error = check(store.save_token(&token()).await, StoreErrorKind::Unsupported, "version 1");
    assert!(error.hint().unwrap().contains("kv-v2"));
    check(store.save_token(&token()).await, StoreErrorKind::Unsupported, "version 1");
    let (_status, left) =
        vault.ask("GET", &format!("secret/data/{PREFIX}/index"), Value::Null).await;
    assert_eq!(left["data"]["data"]["tokens"], json!({}), "{left}");
    let (_status, below) = vault.ask("LIST", &format!("secret/data/{PREFIX}/"), Value::Null).await;
    assert_eq!(below["data"]["keys"], json!(["index"]), "{below}");

    let opened = vault.config().token(vault.root.admin_password.clone()).open().await;
    check(opened, StoreErrorKind::Unsupported, "version 1");
}

async fn roles_log_in_by_file_and_variable(vault: Vault) {
    let Role { role_id, secret_id } = vault.role().await;
    let given = vault.config().app_role(&role_id, Some(secret_id.clone())).open().await.unwrap();
    look(&given).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret-id");
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    fs::write(&path, format!("{secret_id}\n")).unwrap();
    let by_file = vault.config().app_role_file(&role_id, &path).open().await.unwrap();
    look(&by_file).await.unwrap();

    let url = format!("vault+{}/secret/{PREFIX}?role-id={role_id}", vault.root.url());
    for (source, works) in [
        (format!("secret-id-file={}", path.display()), true),
        (format!("secret-id-env={SECRET_ID}"), true),
        ("secret-id-env=TOKENKEEP_TEST_NOT_SET".to_owned(), false),
    ] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.env(URL, format!("{url}&{source}")).env(SECRET_ID, &secret_id);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), works, "{source}: {said}");
        assert!(!said.contains(&secret_id), "{source}");
    }
}

/// Opens a store as its URL says.
#[expect(clippy::print_stderr, reason = "for the parent")]
fn child(url: &str) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let looked = runtime.block_on(async { look(&VaultStore::open(url).await?).await });
    looked.map_or_else(
        |error| {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A role's token lives for two seconds here, and cannot be renewed.
async fn a_token_that_has_ended_is_got_anew(vault: Vault) {
    let Role { role_id, secret_id } = vault.role().await;
    let store = vault.config().app_role(&role_id, Some(secret_id.clone())).open().await.unwrap();
    let body = json!({"role_id": role_id, "secret_id": secret_id});
    let (_status, login) = vault.ask_as("", "POST", "auth/approle/login", body).await;
    let other = login["auth"]["client_token"].as_str().unwrap().to_owned();
    let lives = || async {
        vault.ask_as(&other, "GET", "auth/token/lookup-self", Value::Null).await.0 == 200
    };
    assert!(lives().await);
    let began = Instant::now();
    // As long as no request finds it ended, it is the background that gets the next one.
    while began.elapsed() < TTL * 3 {
        look(&store).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!lives().await, "a token of the same age has not ended");
}

async fn a_sealed_vault_goes_on_when_it_is_unsealed(mut vault: Vault) {
    let store = vault.open().await;
    look(&store).await.unwrap();
    assert_eq!(vault.ask("PUT", "sys/seal", json!({})).await.0, 204);
    let error = check(look(&store).await, StoreErrorKind::Unavailable, "sealed");
    assert!(error.hint().unwrap().contains("unseal"));
    let error = check(store.save_token(&token()).await, StoreErrorKind::Unavailable, "sealed");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    let root = vault.root.admin_password.clone();
    let opened = vault.config().token(root).timeout(SHORT).open().await;
    check(opened, StoreErrorKind::Unavailable, "sealed");
    let role = vault.config().app_role("test-role", None).timeout(SHORT).open().await;
    check(role, StoreErrorKind::Unavailable, "sealed");

    // Unsealed while an operation waits for it.
    let waits = vault.config().token(vault.root.admin_password.clone());
    let opening = tokio::spawn(waits.timeout(Duration::from_secs(30)).open());
    vault.server.wait(0).unwrap();
    look(&timeout(Duration::from_secs(30), opening).await.unwrap().unwrap().unwrap())
        .await
        .unwrap();
    look(&store).await.unwrap();

    vault.server.kill(0);
    check(look(&store).await, StoreErrorKind::Unavailable, "see whether");
    vault.server.restart(0).unwrap();
    look(&store).await.unwrap();
}

async fn what_is_refused_is_told(vault: Vault) {
    use StoreErrorKind as Kind;

    let Role { role_id, secret_id } = vault.role().await;
    let config = || vault.config().timeout(SHORT);
    check(config().token("test-wrong").open().await, Kind::PermissionDenied, "denies");
    let wrong = config().app_role(&role_id, Some("test-wrong".to_owned()));
    check(wrong.open().await, Kind::PermissionDenied, "secret id");
    let wrong = config().app_role("test-wrong", Some(secret_id));
    check(wrong.open().await, Kind::PermissionDenied, "role id");
    let elsewhere = VaultConfig::new(&vault.root.url(), "nowhere", PREFIX).unwrap();
    let elsewhere = elsewhere.token(vault.root.admin_password.clone()).timeout(SHORT);
    check(elsewhere.open().await, Kind::Unavailable, "no secrets engine");
}
