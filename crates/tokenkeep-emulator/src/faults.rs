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
    config::{DropWhen, Fault},
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
    match fault.drop {
        Some(DropWhen::Before) => hang_up(connection),
        Some(DropWhen::After) => {
            next.run(request).await;
            hang_up(connection)
        }
        None => answer(fault),
    }
}

/// Cuts the connection, so that whatever is answered here never arrives.
fn hang_up(connection: Option<ConnectInfo<Connection>>) -> Response {
    if let Some(ConnectInfo(connection)) = connection {
        connection.cut();
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

fn answer(fault: Fault) -> Response {
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
