//! `/emulator/…`: what tests and scripts ask of the emulator itself.

use axum::{
    Router,
    body::Bytes,
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    routing::{get, post},
};
use serde_json::{Map, Value, json};

use crate::{
    clients::Registration,
    config::{BadInput, Config, object, text},
    params::Params,
    reply::Reply,
    state::Shared,
};

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/emulator/stats", get(stats))
        .route("/emulator/users", post(users))
        .route("/emulator/config", post(configure))
        .route("/emulator/expire", post(expire))
        .route("/emulator/reset", post(reset))
        .route("/emulator/device/accept", post(device))
}

async fn stats(Extract(shared): Extract<Shared>) -> Reply {
    serialized(&shared.lock().stats)
}

async fn users(Extract(shared): Extract<Shared>, body: Bytes) -> Reply {
    match read(&body).and_then(registration) {
        Ok(registration) => serialized(&shared.lock().register(shared.now(), registration)),
        Err(problem) => bad(&problem),
    }
}

async fn configure(Extract(shared): Extract<Shared>, body: Bytes) -> Reply {
    match read(&body).and_then(|object| Config::try_from(Value::Object(object))) {
        Ok(config) => {
            shared.lock().configure(config);
            done()
        }
        Err(problem) => bad(&problem),
    }
}

async fn expire(Extract(shared): Extract<Shared>) -> Reply {
    shared.lock().expire_access_tokens();
    done()
}

async fn reset(Extract(shared): Extract<Shared>) -> Reply {
    shared.lock().reset();
    done()
}

/// Takes the form of the device page as well as JSON.
async fn device(Extract(shared): Extract<Shared>, headers: HeaderMap, body: Bytes) -> Reply {
    let is_form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let object = if is_form {
        let params = Params::of_request(None, &headers, &body);
        let email = params.get("other_email").or_else(|| params.get("email"));
        let mut object = Map::new();
        for (name, value) in [
            ("user_code", params.get("user_code")),
            ("email", email),
            ("decision", params.get("decision")),
        ] {
            if let Some(value) = value {
                object.insert(name.to_owned(), value.into());
            }
        }
        Ok(object)
    } else {
        read(&body)
    };
    match object.and_then(|object| decide_device(&shared, &object)) {
        Ok(()) => done(),
        Err(problem) => bad(&problem),
    }
}

fn decide_device(shared: &Shared, object: &Map<String, Value>) -> Result<(), BadInput> {
    known(object, &["user_code", "email", "decision"])?;
    let user_code = required(object, "user_code")?;
    let email = match object.get("decision").and_then(Value::as_str) {
        Some("refuse") => None,
        None | Some("accept") => Some(required(object, "email")?),
        Some(_) => return Err(BadInput::new("decision", "must be \"accept\" or \"refuse\"")),
    };
    if shared.lock().decide_device(shared.now(), &user_code, email.as_deref()) {
        Ok(())
    } else {
        Err(BadInput::new("user_code", "is not known or no longer valid"))
    }
}

fn registration(object: Map<String, Value>) -> Result<Registration, BadInput> {
    known(&object, &["email", "client_id", "client_secret", "scope", "redirect_uris"])?;
    let mut redirect_uris = Vec::new();
    match object.get("redirect_uris") {
        None | Some(Value::Null) => {}
        Some(Value::Array(uris)) => {
            for (i, uri) in uris.iter().enumerate() {
                redirect_uris.push(text(&format!("redirect_uris[{i}]"), uri)?);
            }
        }
        Some(_) => return Err(BadInput::new("redirect_uris", "must be a list of strings")),
    }
    let scope = match object.get("scope") {
        None | Some(Value::Null) => None,
        Some(scope) => Some(text("scope", scope)?),
    };
    Ok(Registration {
        email: required(&object, "email")?,
        client_id: required(&object, "client_id")?,
        client_secret: required(&object, "client_secret")?,
        scope,
        redirect_uris,
    })
}

fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), BadInput> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(BadInput::new(name, "is not known")),
        None => Ok(()),
    }
}

fn required(object: &Map<String, Value>, name: &str) -> Result<String, BadInput> {
    match object.get(name) {
        None => Err(BadInput::new(name, "is missing")),
        Some(value) => text(name, value),
    }
}

/// A JSON object. What is wrong with it is said without quoting it: it may hold a secret.
fn read(body: &[u8]) -> Result<Map<String, Value>, BadInput> {
    match serde_json::from_slice(body) {
        Ok(value) => object("body", value),
        Err(error) => Err(BadInput::new(
            "body",
            format!("is not JSON: line {}, column {}", error.line(), error.column()),
        )),
    }
}

fn serialized(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::ok(value),
        Err(_) => Reply::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn done() -> Reply {
    Reply::ok(json!({ "status": "success" }))
}

fn bad(problem: &BadInput) -> Reply {
    Reply::new(
        StatusCode::BAD_REQUEST,
        json!({ "error": "bad_request", "field": problem.field, "message": problem.to_string() }),
    )
}
