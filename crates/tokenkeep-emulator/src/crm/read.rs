//! Reading records: one, pages of them, searches, counts.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    Call, INVALID_ID, Record,
    criteria::{Criteria, text_of},
    invalid_param, iso, missing_param,
    schema::Module,
};
use crate::{reply::Reply, rules, state::State};

const MAX_PER_PAGE: u64 = 200;
const MAX_FIELDS: usize = 50;
/// Records that may be reached by page number.
const DISCRETE: u64 = 2_000;

/// Where a page begins that is not reached by its number.
pub(super) struct PageToken {
    /// The user and the query it is for.
    query: String,
    /// What the page before it ends with; `None` for the first page.
    after: Option<Key>,
    page: u64,
    previous: Option<String>,
    expires_at: i64,
}

/// What records are sorted by; the id decides between equals.
type Key = (String, u64);

/// What a list asks for, beside which page of it.
struct Order {
    by: &'static str,
    descending: bool,
}

impl Order {
    fn parse(call: &Call) -> Result<Self, Reply> {
        let by = match call.params.get("sort_by") {
            None | Some("id") => "id",
            Some("Created_Time") => "Created_Time",
            Some("Modified_Time") => "Modified_Time",
            Some(_) => return Err(invalid_param("sort_by", "cannot be sorted by")),
        };
        let descending = match call.params.get("sort_order") {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(invalid_param("sort_order", "must be asc or desc")),
        };
        Ok(Self { by, descending })
    }

    fn key(&self, id: u64, record: &Record) -> Key {
        let text = if self.by == "id" { String::new() } else { text_of(record.get(self.by)) };
        (text, id)
    }

    fn name(&self) -> &'static str {
        if self.descending { "desc" } else { "asc" }
    }
}

fn number(call: &Call, name: &str, default: u64, max: u64) -> Result<u64, Reply> {
    match call.params.get(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| (1..=max).contains(number))
            .ok_or_else(|| invalid_param(name, &format!("must be a number from 1 to {max}"))),
    }
}

fn names(call: &Call) -> Result<Option<Vec<&str>>, Reply> {
    let Some(text) = call.params.get("fields") else { return Ok(None) };
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MAX_FIELDS {
        return Err(invalid_param("fields", "no more than 50 fields"));
    }
    Ok(Some(names))
}

/// The record with the fields that were asked for, or with all.
fn project(record: &Record, fields: Option<&[&str]>) -> Value {
    let Some(fields) = fields else { return Value::Object(record.clone()) };
    let mut chosen = Record::new();
    chosen.insert("id".to_owned(), record.get("id").cloned().unwrap_or_default());
    for &name in fields {
        chosen.insert(name.to_owned(), record.get(name).cloned().unwrap_or_default());
    }
    Value::Object(chosen)
}

fn too_far() -> Reply {
    Reply::crm_error(
        StatusCode::BAD_REQUEST,
        "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
        "You can only get the first 2000 records without using page_token param",
        json!({ "param_name": "page" }),
    )
}

impl State {
    pub(super) fn one(
        &mut self,
        call: &Call,
        module: &'static Module,
        id: &str,
    ) -> Result<Reply, Reply> {
        let Ok(id) = id.parse::<u64>() else {
            return Err(Reply::crm_error(
                StatusCode::BAD_REQUEST,
                "INVALID_DATA",
                INVALID_ID,
                json!({ "resource_path_index": 1 }),
            ));
        };
        let fields = names(call)?;
        match self.crm.table(module).records.get(&id) {
            Some(record) => Ok(Reply::ok(json!({ "data": [project(record, fields.as_deref())] }))),
            None => Ok(Reply::empty(StatusCode::NO_CONTENT)),
        }
    }

    pub(super) fn list(&mut self, call: &Call, module: &'static Module) -> Result<Reply, Reply> {
        let fields = names(call)?.ok_or_else(|| missing_param("fields"))?;
        let per_page = number(call, "per_page", MAX_PER_PAGE, MAX_PER_PAGE)?;
        let order = Order::parse(call)?;
        let query = query_of(call, module);
        let given = call.params.get("page_token");
        let mut page = number(call, "page", 1, u64::MAX)?;
        let mut after: Option<Key> = None;
        let mut previous: Option<String> = None;
        if let Some(text) = given {
            if call.params.get("page").is_some() {
                return Err(Reply::crm_error(
                    StatusCode::BAD_REQUEST,
                    "AMBIGUITY_DURING_PROCESSING",
                    "page and page_token cannot be given together",
                    json!({ "ambiguity_due_to": [
                        { "param_name": "page" }, { "param_name": "page_token" }
                    ] }),
                ));
            }
            let token = self.crm.page_tokens.get(text).filter(|token| token.query == query);
            let token =
                token.ok_or_else(|| invalid_param("page_token", "Invalid value specified"))?;
            if token.expires_at <= call.now {
                return Err(Reply::crm_error(
                    StatusCode::BAD_REQUEST,
                    "EXPIRED_VALUE",
                    "the page_token is expired",
                    json!({ "param_name": "page_token" }),
                ));
            }
            (page, after, previous) = (token.page, token.after.clone(), token.previous.clone());
        } else if page.saturating_mul(per_page) > DISCRETE {
            return Err(too_far());
        }

        let ids = ids_of(call)?;
        let since = call.moment("if-modified-since").map(iso);
        let mut rows: Vec<(Key, &Record)> = self
            .crm
            .table(module)
            .records
            .iter()
            .filter(|(id, _)| ids.as_ref().is_none_or(|ids| ids.contains(id)))
            .filter(|(_, record)| {
                since.as_ref().is_none_or(|since| text_of(record.get("Modified_Time")) > *since)
            })
            .map(|(&id, record)| (order.key(id, record), record))
            .collect();
        if rows.is_empty() && since.is_some() {
            return Ok(Reply::empty(StatusCode::NOT_MODIFIED));
        }
        if order.descending {
            rows.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        } else {
            rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        let start = match (&after, given) {
            (Some(after), _) => {
                rows.partition_point(
                    |(key, _)| {
                        if order.descending { key >= after } else { key <= after }
                    },
                )
            }
            (None, Some(_)) => 0,
            (None, None) => usize::try_from((page - 1) * per_page).unwrap_or(usize::MAX),
        };
        let size = usize::try_from(per_page).unwrap_or(usize::MAX);
        let end = start.saturating_add(size).min(rows.len());
        let chosen = rows.get(start..end).unwrap_or_default();
        if chosen.is_empty() {
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        let data: Vec<Value> =
            chosen.iter().map(|(_, record)| project(record, Some(&fields))).collect();
        let more = end < rows.len();
        let last = chosen.last().map(|(key, _)| key.clone());
        let before = start.checked_sub(1).and_then(|at| rows.get(at)).map(|(key, _)| key.clone());

        let mut next = None;
        let expires_at = call.now.saturating_add(rules::PAGE_TOKEN_LIFETIME);
        if more {
            let own = match given {
                Some(text) => text.to_owned(),
                None => self.page_token(PageToken {
                    query: query.clone(),
                    after: before,
                    page,
                    previous: None,
                    expires_at,
                }),
            };
            next = Some(self.page_token(PageToken {
                query,
                after: last,
                page: page + 1,
                previous: Some(own),
                expires_at,
            }));
        }
        let info = json!({
            "per_page": per_page,
            "count": data.len(),
            "page": page,
            "more_records": more,
            "next_page_token": next,
            "previous_page_token": previous,
            "page_token_expiry": more.then(|| iso(expires_at)),
            "sort_by": order.by,
            "sort_order": order.name(),
        });
        Ok(Reply::ok(json!({ "data": data, "info": info })))
    }

    fn page_token(&mut self, token: PageToken) -> String {
        // What expired a day ago may be forgotten; until then it answers that it expired.
        let horizon = token.expires_at.saturating_sub(2 * rules::PAGE_TOKEN_LIFETIME);
        self.crm.page_tokens.retain(|_, token| token.expires_at > horizon);
        let text = self.new_hex();
        self.crm.page_tokens.insert(text.clone(), token);
        text
    }

    pub(super) fn search(&mut self, call: &Call, module: &'static Module) -> Result<Reply, Reply> {
        let fields = names(call)?;
        let per_page = number(call, "per_page", MAX_PER_PAGE, MAX_PER_PAGE)?;
        let page = number(call, "page", 1, u64::MAX)?;
        if page.saturating_mul(per_page) > DISCRETE {
            return Err(too_far());
        }
        let wanted = Wanted::parse(call)?.ok_or_else(|| missing_param("criteria"))?;
        let rows: Vec<&Record> = self
            .crm
            .table(module)
            .records
            .values()
            .rev()
            .filter(|record| wanted.matches(record))
            .collect();
        let size = usize::try_from(per_page).unwrap_or(usize::MAX);
        let start = usize::try_from((page - 1) * per_page).unwrap_or(usize::MAX);
        let end = start.saturating_add(size).min(rows.len());
        let data: Vec<Value> = rows
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .map(|record| project(record, fields.as_deref()))
            .collect();
        if data.is_empty() {
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        let info = json!({
            "per_page": per_page, "count": data.len(), "page": page,
            "more_records": end < rows.len(),
        });
        Ok(Reply::ok(json!({ "data": data, "info": info })))
    }

    pub(super) fn count(&mut self, call: &Call, module: &'static Module) -> Result<Reply, Reply> {
        let wanted = Wanted::parse(call)?;
        let matches = |record: &&Record| wanted.as_ref().is_none_or(|it| it.matches(record));
        let count = self.crm.table(module).records.values().filter(matches).count();
        Ok(Reply::ok(json!({ "count": count })))
    }

    pub(super) fn list_deleted(
        &mut self,
        call: &Call,
        module: &'static Module,
    ) -> Result<Reply, Reply> {
        let per_page = number(call, "per_page", MAX_PER_PAGE, MAX_PER_PAGE)?;
        let page = number(call, "page", 1, u64::MAX)?;
        let size = usize::try_from(per_page).unwrap_or(usize::MAX);
        let start = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
        let deleted = &self.crm.table(module).deleted;
        let end = start.saturating_add(size).min(deleted.len());
        let data = deleted.get(start..end).unwrap_or_default();
        if data.is_empty() {
            return Ok(Reply::empty(StatusCode::NO_CONTENT));
        }
        let info = json!({
            "per_page": per_page, "count": data.len(), "page": page,
            "more_records": end < deleted.len(),
        });
        Ok(Reply::ok(json!({ "data": data, "info": info })))
    }
}

/// What a page token is tied to: all of the request but the page.
fn query_of(call: &Call, module: &Module) -> String {
    let mut parts: Vec<String> = call
        .params
        .iter()
        .filter(|(name, _)| !matches!(*name, "page" | "page_token"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.sort_unstable();
    format!("{}?{}#{}", module.api_name, parts.join("&"), call.user.id)
}

fn ids_of(call: &Call) -> Result<Option<Vec<u64>>, Reply> {
    let Some(text) = call.params.get("ids") else { return Ok(None) };
    let ids: Result<Vec<u64>, _> = text.split(',').map(|id| id.trim().parse()).collect();
    ids.map(Some).map_err(|_not_a_number| invalid_param("ids", INVALID_ID))
}

/// What a search or a count is for.
enum Wanted {
    Criteria(Criteria),
    /// A value of a field whose name contains the word.
    Field(&'static str, String),
    /// A word anywhere.
    Word(String),
}

impl Wanted {
    fn parse(call: &Call) -> Result<Option<Self>, Reply> {
        if let Some(text) = call.params.get("criteria") {
            let criteria = Criteria::parse(text)
                .ok_or_else(|| invalid_param("criteria", "Invalid query formed"))?;
            return Ok(Some(Self::Criteria(criteria)));
        }
        if let Some(email) = call.params.get("email") {
            return Ok(Some(Self::Field("Email", email.to_lowercase())));
        }
        if let Some(phone) = call.params.get("phone") {
            return Ok(Some(Self::Field("Phone", phone.to_lowercase())));
        }
        match call.params.get("word") {
            Some(word) if word.chars().count() < 2 => {
                Err(invalid_param("word", "must have at least two characters"))
            }
            word => Ok(word.map(|word| Self::Word(word.to_lowercase()))),
        }
    }

    fn matches(&self, record: &Record) -> bool {
        match self {
            Self::Criteria(criteria) => criteria.matches(record),
            Self::Field(name, text) => record.iter().any(|(field, value)| {
                field.contains(name) && value.as_str().is_some_and(|it| it.to_lowercase() == *text)
            }),
            Self::Word(word) => record.iter().any(|(field, value)| {
                !field.ends_with("_Time")
                    && value.as_str().is_some_and(|it| it.to_lowercase().contains(word))
            }),
        }
    }
}
