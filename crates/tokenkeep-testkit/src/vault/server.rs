use std::{
    collections::VecDeque,
    fmt, io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use futures_util::stream;
use serde_json::Value;
use tokio::{net::TcpListener, sync::oneshot};

use super::api::{Call, Token, Vault};

/// What happens to a request instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultFault {
    /// The connection is cut, and nothing was done.
    CutBefore,
    /// It is done, and the connection is cut.
    CutAfter,
    /// Nothing is done, and nothing comes.
    HangBefore,
    /// It is done, and nothing comes.
    HangAfter,
    /// It is refused with this status.
    Status(u16),
    /// The client is sent elsewhere.
    Redirect,
}

/// A server on loopback that speaks as HashiCorp Vault does; gone when it is dropped.
///
/// It has a KV version 2 engine at `secret` and the token [`ROOT`](Self::ROOT). `fail` arms a fault
/// for one of the next requests. It runs on a thread of its own.
pub struct VaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    vault: Mutex<Vault>,
    plan: Mutex<Plan>,
    happened: Condvar,
}

#[derive(Default)]
struct Plan {
    requests: Vec<String>,
    /// After how many more requests, and what.
    faults: VecDeque<(usize, VaultFault)>,
    hits: usize,
}

impl VaultServer {
    /// A token that may do everything and does not end.
    pub const ROOT: &'static str = "test-root-token";

    /// Starts one.
    ///
    /// # Errors
    ///
    /// What keeps it from listening.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        {
            let mut vault = lock(&shared.vault);
            vault.mount("", "secret", 2);
            vault.tokens.insert(Self::ROOT.to_owned(), Token::new(None, &[""]));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    served = axum::serve(listener, router) => drop(served),
                    _stop = stopped => {}
                }
            });
        });
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it is: `127.0.0.1` and a port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Mounts a KV engine of version 1 or 2 in a namespace, the root one being `""`.
    pub fn mount(&self, namespace: &str, path: &str, version: u8) {
        lock(&self.shared.vault).mount(namespace, path, version);
    }

    /// Makes a token that lives for `ttl`, and may use the paths that begin with one of `paths`.
    pub fn add_token(&self, token: &str, ttl: Option<Duration>, paths: &[&str]) {
        lock(&self.shared.vault).tokens.insert(token.to_owned(), Token::new(ttl, paths));
    }

    /// Ends all tokens but those that do not end.
    pub fn revoke_tokens(&self) {
        lock(&self.shared.vault).tokens.retain(|_name, token| token.end.is_none());
    }

    /// Makes a role that gets tokens of this life for its secret id.
    pub fn add_role(&self, role_id: &str, secret_id: &str, ttl: Duration) {
        let role = (secret_id.to_owned(), ttl);
        lock(&self.shared.vault).roles.insert(role_id.to_owned(), role);
    }

    /// Seals or unseals it.
    pub fn seal(&self, is_sealed: bool) {
        lock(&self.shared.vault).is_sealed = is_sealed;
    }

    /// Asks as the root would, not over the network: method, path below `/v1/`, body.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = Self::ROOT;
        let call = Call { method, path, version: None, token, namespace: "", body };
        lock(&self.shared.vault).answer(&call)
    }

    /// Arms a fault for a request: the next one is 0.
    pub fn fail(&self, request: usize, fault: VaultFault) {
        let mut plan = lock(&self.shared.plan);
        plan.faults.push_back((request, fault));
        plan.hits = 0;
    }

    /// Forgets the faults that have not happened; says how many have since the last was armed.
    #[must_use]
    pub fn disarm(&self) -> usize {
        let mut plan = lock(&self.shared.plan);
        plan.faults.clear();
        plan.hits
    }

    /// Waits until a fault has happened; `false` if none does in time.
    #[must_use]
    pub fn wait_for_fault(&self, limit: Duration) -> bool {
        let plan = lock(&self.shared.plan);
        let waited = self.shared.happened.wait_timeout_while(plan, limit, |plan| plan.hits == 0);
        let (plan, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        plan.hits > 0
    }

    /// The requests since the last time this was asked: `GET secret/data/…`.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.plan).requests)
    }
}

impl Drop for VaultServer {
    fn drop(&mut self) {
        // A thread that has ended already needs no word, and its panic was printed.
        self.stop.take().map(|stop| stop.send(()).is_ok());
        self.thread.take().map(|thread| thread.join().is_ok());
    }
}

impl fmt::Debug for VaultServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    /// The fault that this request is due.
    fn fault(&self, request: String) -> Option<VaultFault> {
        let mut plan = lock(&self.plan);
        plan.requests.push(request);
        let due = plan.faults.iter().position(|(left, _fault)| *left == 0);
        let fault = due.and_then(|at| plan.faults.remove(at)).map(|(_left, fault)| fault);
        for (left, _fault) in &mut plan.faults {
            *left = left.saturating_sub(1);
        }
        fault
    }

    fn hit(&self) {
        lock(&self.plan).hits += 1;
        self.happened.notify_all();
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = decoded(uri.path().trim_start_matches("/v1/"));
    let query = uri.query().unwrap_or_default();
    let is_list = method == "GET" && query.split('&').any(|part| part == "list=true");
    let method = if is_list { "LIST" } else { method.as_str() };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let fault = shared.fault(format!("{method} {path}"));
    let act = || {
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let version = query.split('&').find_map(|part| part.strip_prefix("version="));
        lock(&shared.vault).answer(&Call {
            method,
            path: &path,
            version: version.and_then(|text| text.parse().ok()),
            token: header("x-vault-token"),
            namespace: header("x-vault-namespace"),
            body: &body,
        })
    };
    let Some(fault) = fault else {
        let (status, body) = act();
        return reply(status, &body);
    };
    if matches!(fault, VaultFault::CutAfter | VaultFault::HangAfter) {
        act();
    }
    shared.hit();
    match fault {
        VaultFault::CutBefore | VaultFault::CutAfter => cut(),
        VaultFault::HangBefore | VaultFault::HangAfter => std::future::pending().await,
        VaultFault::Status(status) => reply(status, &serde_json::json!({"errors": ["a fault"]})),
        VaultFault::Redirect => {
            let mut response = reply(307, &Value::Null);
            let elsewhere = header::HeaderValue::from_static("http://127.0.0.2:1/v1/");
            response.headers_mut().insert(header::LOCATION, elsewhere);
            response
        }
    }
}

fn reply(status: u16, body: &Value) -> Response {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An answer whose body breaks off ends the connection.
fn cut() -> Response {
    let broken = async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) };
    Response::new(Body::from_stream(stream::once(broken)))
}

/// A path with its percent signs resolved.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
