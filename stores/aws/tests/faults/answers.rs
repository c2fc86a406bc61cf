//! A proxy that answers some requests itself, as AWS does when it is busy or refuses.
#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It gets there, and its answer comes.
    Pass,
    /// It gets this code and status, and nothing is done.
    Refuse(&'static str, u16),
    /// It gets there and is done, and the answer is that AWS failed inside.
    DoneButFailed,
    /// It does not get there, or it does, and nobody answers.
    Hang {
        /// Whether it gets there.
        is_done: bool,
    },
}

/// The proxy. It ends when it is dropped.
pub(crate) struct Answers {
    pub(crate) port: u16,
    state: Arc<Shared>,
    serving: AbortHandle,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    /// What becomes of the next requests.
    next: Mutex<VecDeque<Answer>>,
    /// What becomes of all others.
    rest: Mutex<Answer>,
    /// Whether a request hangs.
    hangs: watch::Sender<bool>,
}

impl Answers {
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Shared {
            upstream: format!("http://127.0.0.1:{upstream}/"),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            next: Mutex::default(),
            rest: Mutex::new(Answer::Pass),
            hangs: watch::Sender::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, state, serving: serving.abort_handle() }
    }

    /// Lets the next requests be answered so, and the others pass.
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.next.lock().expect("nobody panics").extend(answers);
    }

    /// Lets what was to be answered pass.
    pub(crate) fn clear(&self) {
        self.state.next.lock().expect("nobody panics").clear();
    }

    /// Lets all requests be answered so.
    pub(crate) fn all(&self, answer: Answer) {
        *self.state.rest.lock().expect("nobody panics") = answer;
    }

    /// Waits until a request hangs.
    pub(crate) async fn hanging(&self) {
        self.state.hangs.subscribe().wait_for(|hangs| *hangs).await.expect("it is there");
    }

    /// Whether all that was to be answered has been.
    pub(crate) fn is_done(&self) -> bool {
        self.state.next.lock().expect("nobody panics").is_empty()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let next = shared.next.lock().expect("nobody panics").pop_front();
    let answer = next.unwrap_or(*shared.rest.lock().expect("nobody panics"));
    if let Answer::Refuse(code, status) = answer {
        return refusal(code, status);
    }
    if let Answer::Hang { is_done: false } = answer {
        shared.hangs.send_replace(true);
        std::future::pending::<()>().await;
    }
    // `x-amz-target` says what is asked for; `host` and the length are the client's own.
    let mut request = shared.client.post(&shared.upstream).body(body);
    for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.clone());
        }
    }
    let upstream = request.send().await.expect("moto answers");
    let status = upstream.status();
    let body = upstream.bytes().await.expect("moto answers");
    match answer {
        Answer::DoneButFailed => refusal("InternalServerError", 500),
        Answer::Hang { .. } => {
            shared.hangs.send_replace(true);
            std::future::pending().await
        }
        Answer::Pass | Answer::Refuse(..) => {
            let mut response = (status, body).into_response();
            let json = HeaderValue::from_static("application/x-amz-json-1.0");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
    }
}

fn refusal(code: &str, status: u16) -> Response {
    // The message has what AWS's own may have: a value.
    let body = format!(r#"{{"__type":"com.amazonaws#{code}","message":"test-access-message"}}"#);
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, body).into_response();
    let json = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
