//! A small Zoho CRM v8: four modules, the users, the organisation, and what describes them.

mod admin;
mod criteria;
mod read;
mod records;
mod schema;

use std::collections::{BTreeMap, HashMap};

use axum::{
    Router,
    body::Bytes,
    extract::State as Extract,
    http::{HeaderMap, Method, StatusCode, Uri, header::AUTHORIZATION},
    routing::any,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::{read::PageToken, schema::Module};
use crate::{
    clients::User,
    params::Params,
    reply::Reply,
    scopes::{Operation, Scopes},
    state::{Shared, State},
};

type Record = Map<String, Value>;

/// The records of all modules.
pub(crate) struct Crm {
    next_id: u64,
    tables: BTreeMap<&'static str, Table>,
    page_tokens: HashMap<String, PageToken>,
}

/// The records of one module by id.
#[derive(Default)]
struct Table {
    records: BTreeMap<u64, Record>,
    deleted: Vec<Record>,
}

impl Crm {
    pub(crate) fn new(zgid: &str) -> Self {
        // Ids look like Zoho's: the organisation in front, a number behind, 19 digits.
        let organisation: u64 = zgid.parse().unwrap_or(0);
        Self {
            next_id: (5_000 + organisation % 1_000) * 1_000_000_000_000_000 + 300_000,
            tables: schema::MODULES.iter().map(|it| (it.api_name, Table::default())).collect(),
            page_tokens: HashMap::new(),
        }
    }

    /// An id that was not given before.
    pub(crate) fn next_id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    fn table(&mut self, module: &'static Module) -> &mut Table {
        self.tables.entry(module.api_name).or_default()
    }
}

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/crm/{version}/{*path}", any(answer))
}

async fn answer(
    Extract(shared): Extract<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let now = shared.now();
    let mut state = shared.lock();
    state.stats.api_requests += 1;
    let reply = match state.authorise(now, &headers) {
        Ok((user, scopes)) => {
            let path = uri.path().trim_end_matches('/');
            let params = Params::of_query(uri.query());
            let call = Call { now, method, params, headers, body, user, scopes };
            // "", "crm", "v8", and what is asked for.
            let segments: Vec<&str> = path.split('/').skip(3).collect();
            state.route(&call, &segments)
        }
        Err(reply) => reply,
    };
    if reply.status == StatusCode::UNAUTHORIZED {
        state.stats.api_unauthorized += 1;
    }
    reply
}

/// A request of somebody who may make it.
struct Call {
    now: i64,
    method: Method,
    params: Params,
    headers: HeaderMap,
    body: Bytes,
    user: User,
    scopes: Scopes,
}

impl Call {
    /// `Err` with the CRM's answer where the token's scopes do not cover this.
    fn need(&self, group: &str, part: Option<&str>, operation: Operation) -> Result<(), Reply> {
        if self.scopes.allow(group, part, operation) {
            return Ok(());
        }
        Err(Reply::crm_error(
            StatusCode::UNAUTHORIZED,
            "OAUTH_SCOPE_MISMATCH",
            "invalid oauth scope to access this URL",
            json!({}),
        ))
    }

    /// The moment a conditional header names.
    fn moment(&self, header: &str) -> Option<i64> {
        let text = self.headers.get(header)?.to_str().ok()?;
        text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
    }
}

impl State {
    fn authorise(&mut self, now: i64, headers: &HeaderMap) -> Result<(User, Scopes), Reply> {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
            let known = ["zoho-oauthtoken", "bearer"];
            known.iter().any(|it| scheme.eq_ignore_ascii_case(it)).then(|| token.trim())
        });
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(unauthorised("AUTHENTICATION_FAILURE", "Authentication failed"));
        };
        let Some(found) = self.access_token(now, token) else {
            return Err(unauthorised("INVALID_TOKEN", "invalid oauth token"));
        };
        let (email, scopes) = (found.email.clone(), found.scopes.clone());
        tracing::debug!(client_id = found.client_id, "API request");
        Ok((self.user(now, &email), scopes))
    }

    fn route(&mut self, call: &Call, segments: &[&str]) -> Reply {
        match self.try_route(call, segments) {
            Ok(reply) | Err(reply) => reply,
        }
    }

    fn try_route(&mut self, call: &Call, segments: &[&str]) -> Result<Reply, Reply> {
        let get = call.method == Method::GET;
        match segments {
            ["users"] if get => self.list_users(call),
            ["users", id] if get => self.one_user(call, id),
            ["org"] if get => self.org(call),
            ["settings", "fields"] if get => admin::fields(call),
            ["settings", "modules"] if get => admin::modules(call),
            ["settings", "modules", name] if get => admin::one_module(call, name),
            ["settings", "related_lists" | "layouts"] if get => {
                call.need("settings", Some("related_lists"), Operation::Read)?;
                Ok(Reply::empty(StatusCode::NO_CONTENT))
            }
            ["users" | "org" | "settings", ..] => Err(no_such_url()),
            [module, rest @ ..] => {
                let Some(module) = schema::module(module) else {
                    return Err(Reply::crm_error(
                        StatusCode::BAD_REQUEST,
                        "INVALID_MODULE",
                        "the module name given seems to be invalid",
                        json!({ "resource_path_index": 0 }),
                    ));
                };
                self.route_records(call, module, rest)
            }
            [] => Err(no_such_url()),
        }
    }

    fn route_records(
        &mut self,
        call: &Call,
        module: &'static Module,
        rest: &[&str],
    ) -> Result<Reply, Reply> {
        let part = module.api_name.to_lowercase();
        let need = |operation| call.need("modules", Some(&part), operation);
        match (call.method.as_str(), rest) {
            ("GET", []) => need(Operation::Read).and_then(|()| self.list(call, module)),
            ("GET", ["search"]) => need(Operation::Read).and_then(|()| self.search(call, module)),
            ("GET", ["deleted"]) => {
                need(Operation::Read).and_then(|()| self.list_deleted(call, module))
            }
            ("GET", ["actions", "count"]) => {
                need(Operation::Read).and_then(|()| self.count(call, module))
            }
            ("GET", [id]) => need(Operation::Read).and_then(|()| self.one(call, module, id)),
            ("POST", []) => need(Operation::Create).and_then(|()| self.create(call, module)),
            ("POST", ["upsert"]) => {
                need(Operation::Create)?;
                need(Operation::Update)?;
                self.upsert(call, module)
            }
            ("PUT", []) => need(Operation::Update).and_then(|()| self.update(call, module, None)),
            ("PUT", [id]) => {
                need(Operation::Update).and_then(|()| self.update(call, module, Some(id)))
            }
            ("DELETE", []) => {
                need(Operation::Delete).and_then(|()| self.delete(call, module, None))
            }
            ("DELETE", [id]) => {
                need(Operation::Delete).and_then(|()| self.delete(call, module, Some(id)))
            }
            _ => Err(no_such_url()),
        }
    }
}

fn unauthorised(code: &str, message: &str) -> Reply {
    Reply::crm_error(StatusCode::UNAUTHORIZED, code, message, json!({}))
}

fn no_such_url() -> Reply {
    Reply::crm_error(
        StatusCode::NOT_FOUND,
        "INVALID_URL_PATTERN",
        "Please check if the URL trying to access is a correct one",
        json!({}),
    )
}

/// A parameter that is missing.
fn missing_param(name: &str) -> Reply {
    Reply::crm_error(
        StatusCode::BAD_REQUEST,
        "REQUIRED_PARAM_MISSING",
        "One of the expected parameter is missing",
        json!({ "param_name": name }),
    )
}

/// A parameter that does not fit.
fn invalid_param(name: &str, message: &str) -> Reply {
    Reply::crm_error(
        StatusCode::BAD_REQUEST,
        "INVALID_DATA",
        message,
        json!({ "param_name": name }),
    )
}

/// An id in the path or in a record that names nothing.
const INVALID_ID: &str = "the id given seems to be invalid";

/// `2025-01-31T09:30:00+00:00`.
fn iso(millis: i64) -> String {
    let moment = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The user as records name him.
fn user_reference(user: &User) -> Value {
    json!({ "name": display_name(&user.email), "id": user.id, "email": user.email })
}

/// `ada` for `ada@example.com`.
fn display_name(email: &str) -> &str {
    email.split_once('@').map_or(email, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_decimals_and_grow() {
        let mut crm = Crm::new("612345678");
        let (first, second) = (crm.next_id(), crm.next_id());
        assert_eq!(first.len(), 19);
        assert!(first < second);
    }

    #[test]
    fn times_are_written_with_an_offset() {
        assert_eq!(iso(1_738_315_800_123), "2025-01-31T09:30:00+00:00");
    }
}
