//! Replies, before they become HTTP.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// What is answered: a status and a JSON body, or a status alone.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Option<Value>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body: Some(body) }
    }

    pub(crate) fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body: Some(body) }
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, body: None }
    }

    /// An error of the accounts server: HTTP 200, the word in the body.
    pub(crate) fn oauth_error(word: &str) -> Self {
        Self::ok(json!({ "error": word }))
    }

    /// The throttle of the accounts server.
    pub(crate) fn throttled() -> Self {
        Self::ok(json!({
            "error": "Access Denied",
            "error_description":
                "You have made too many requests continuously. Please try again after some time.",
            "status": "failure",
        }))
    }

    /// An error of the CRM.
    pub(crate) fn crm_error(status: StatusCode, code: &str, message: &str, details: Value) -> Self {
        Self::new(status, crm_error_body(code, message, details))
    }
}

/// The envelope of the CRM's errors, for a whole answer or for one record of it.
pub(crate) fn crm_error_body(code: &str, message: &str, details: Value) -> Value {
    let mut body = json!({ "code": code, "message": message, "status": "error" });
    body["details"] = details;
    body
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self.body {
            None => self.status.into_response(),
            Some(body) => (
                self.status,
                [(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json;charset=UTF-8"),
                )],
                body.to_string(),
            )
                .into_response(),
        }
    }
}
