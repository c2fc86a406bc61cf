//! Requests that fail on purpose.

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State as Extract},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    accounts::wait,
    config::{DropWhen, Fault},
    in_process::ConnectionDropped,
    listener::Connection,
    state::{Shared, State},
};

impl State {
    /// The first fault that fits this path. It is played once.
    fn take_fault(&mut self, path: &str) -> Option<Fault> {
        let at = self.faults.iter().position(|fault| fault.fits(path))?;
        let fault = self.faults.remove(at);
        self.stats.faults += 1;
        fault
    }
}

/// Plays the next fault that fits, or lets the request through.
pub(crate) async fn play(
    Extract(shared): Extract<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if path.starts_with("/emulator/") {
        return next.run(request).await;
    }
    let Some(fault) = shared.lock().take_fault(path) else { return next.run(request).await };
    tracing::debug!(path, ?fault.status, ?fault.drop, "playing a fault");
    let connection = request.extensions().get::<ConnectInfo<Connection>>().cloned();
    let (before, after) = (fault.delay_before_ms, fault.delay_after_ms.unwrap_or(0));
    wait(before.unwrap_or(0)).await;
    let takes_effect = match fault.drop {
        Some(DropWhen::Before) => false,
        Some(DropWhen::After) => true,
        None => fault.effect || fault.only_delays(),
    };
    let reply = if takes_effect { Some(next.run(request).await) } else { None };
    wait(after).await;
    match (fault.drop, reply) {
        (Some(when), _) => hang_up(connection, when),
        (None, Some(reply)) if fault.only_delays() => reply,
        (None, _) => answer(fault),
    }
}

/// Cuts the connection, so that whatever is answered here never arrives.
fn hang_up(connection: Option<ConnectInfo<Connection>>, when: DropWhen) -> Response {
    if let Some(ConnectInfo(connection)) = connection {
        connection.cut();
    }
    let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response();
    // Where there is no connection, this says so.
    response.extensions_mut().insert(ConnectionDropped { when });
    response
}

fn answer(fault: Fault) -> Response {
    let retry_after = fault.retry_after_s;
    let mut response = without_retry_after(fault);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn without_retry_after(fault: Fault) -> Response {
    let default =
        if fault.body.is_some() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let status =
        fault.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(default);
    let (kind, text) = match fault.body {
        None => return status.into_response(),
        Some(Value::String(text)) if text.trim_start().starts_with(['{', '[']) => {
            ("application/json;charset=UTF-8", text)
        }
        Some(Value::String(text)) => ("text/html;charset=UTF-8", text),
        Some(value) => ("application/json;charset=UTF-8", value.to_string()),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
