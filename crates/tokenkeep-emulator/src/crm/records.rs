//! Writing records: create, update, upsert, delete. Each record of a request has its own result.

use axum::http::StatusCode;
use jiff::{Timestamp, civil::Date};
use serde_json::{Value, json};

use super::{
    Call, Crm, INVALID_ID, Record,
    criteria::text_of,
    invalid_param, iso, missing_param,
    schema::{self, Field, Kind, Module},
    user_reference,
};
use crate::{
    reply::{Reply, crm_error_body},
    state::State,
};

/// Records in one request.
const MAX_RECORDS: usize = 100;

impl State {
    pub(super) fn create(&mut self, call: &Call, module: &'static Module) -> Result<Reply, Reply> {
        let (records, _) = data(call)?;
        let results = records
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let result = self.crm.insert(call, module, input, i).map(|id| (id, None));
                self.crm.result(module, result, "record added", Value::Null)
            })
            .collect();
        Ok(answer(results, StatusCode::CREATED))
    }

    pub(super) fn update(
        &mut self,
        call: &Call,
        module: &'static Module,
        id: Option<&str>,
    ) -> Result<Reply, Reply> {
        let (records, _) = data(call)?;
        if id.is_some() && records.len() != 1 {
            return Err(invalid_body("data", "jsonarray", "one record is expected"));
        }
        let unmodified_since = call.moment("if-unmodified-since").map(iso);
        let mut results = Vec::new();
        for (i, input) in records.iter().enumerate() {
            let id = id.map_or_else(|| text_of(input.get("id")), ToOwned::to_owned);
            let found = id
                .parse::<u64>()
                .ok()
                .and_then(|id| Some((id, self.crm.table(module).records.get(&id)?)));
            let result = match found {
                None if id == text_of(None) => Err(missing_field("id", i)),
                None => Err(no_such_record(i)),
                Some((id, record)) => {
                    let modified = text_of(record.get("Modified_Time"));
                    if unmodified_since.as_ref().is_some_and(|since| modified > *since) {
                        return Err(Reply::crm_error(
                            StatusCode::PRECONDITION_FAILED,
                            "RECORD_MODIFIED",
                            "the record was modified",
                            json!({ "id": id.to_string() }),
                        ));
                    }
                    self.crm.change(call, module, id, input, i).map(|()| (id, None))
                }
            };
            results.push(self.crm.result(module, result, "record updated", Value::Null));
        }
        Ok(answer(results, StatusCode::OK))
    }

    pub(super) fn upsert(&mut self, call: &Call, module: &'static Module) -> Result<Reply, Reply> {
        let (records, body) = data(call)?;
        let mut checks: Vec<String> = match body.get("duplicate_check_fields") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            Some(_) => {
                return Err(invalid_body("duplicate_check_fields", "jsonarray", "invalid data"));
            }
        };
        if let Some(unknown) = checks.iter().find(|name| module.field(name).is_none()) {
            return Err(invalid_body(unknown, "fieldname", "invalid duplicate check field"));
        }
        if checks.is_empty() {
            checks.push(module.duplicate_check.to_owned());
        }
        let mut results = Vec::new();
        for (i, input) in records.iter().enumerate() {
            let found = self.crm.duplicate(module, input, &checks);
            let (result, message) = match found {
                Some((id, field)) => (
                    self.crm.change(call, module, id, input, i).map(|()| (id, Some(field))),
                    "record updated",
                ),
                None => {
                    (self.crm.insert(call, module, input, i).map(|id| (id, None)), "record added")
                }
            };
            let action = if message == "record added" { "insert" } else { "update" };
            results.push(self.crm.result(module, result, message, action.into()));
        }
        Ok(answer(results, StatusCode::OK))
    }

    pub(super) fn delete(
        &mut self,
        call: &Call,
        module: &'static Module,
        id: Option<&str>,
    ) -> Result<Reply, Reply> {
        let ids: Vec<&str> = match id {
            Some(id) => vec![id],
            None => {
                let ids = call.params.get("ids").ok_or_else(|| missing_param("ids"))?;
                ids.split(',').map(str::trim).collect()
            }
        };
        if ids.len() > MAX_RECORDS {
            return Err(invalid_param("ids", "no more than 100 records"));
        }
        let mut results = Vec::new();
        for (i, id) in ids.iter().enumerate() {
            let table = self.crm.table(module);
            let record = id.parse().ok().and_then(|id: u64| table.records.remove(&id));
            results.push(match record {
                None => Err(no_such_record(i)),
                Some(record) => {
                    let mut deleted = Record::new();
                    let name = text_of(record.get(module.display));
                    deleted.insert("id".to_owned(), (*id).into());
                    deleted.insert("display_name".to_owned(), name.into());
                    deleted.insert("type".to_owned(), "recycle".into());
                    deleted.insert("deleted_time".to_owned(), iso(call.now).into());
                    deleted.insert("deleted_by".to_owned(), user_reference(&call.user));
                    table.deleted.push(deleted);
                    Ok(json!({
                        "code": "SUCCESS", "details": { "id": id },
                        "message": "record deleted", "status": "success",
                    }))
                }
            });
        }
        Ok(answer(results, StatusCode::OK))
    }
}

impl Crm {
    /// A new record, or what is wrong with it.
    fn insert(
        &mut self,
        call: &Call,
        module: &'static Module,
        input: &Record,
        index: usize,
    ) -> Result<u64, Value> {
        for field in module.fields().filter(|field| field.mandatory) {
            if input.get(field.api_name).is_none_or(|value| value.is_null() || value == "") {
                return Err(missing_field(field.api_name, index));
            }
        }
        let fields = self.check(module, input, index)?;
        let id = self.next_id();
        let now = iso(call.now);
        let user = user_reference(&call.user);
        let mut record = Record::new();
        for field in module.fields() {
            record.insert(field.api_name.to_owned(), Value::Null);
        }
        record.insert("id".to_owned(), id.clone().into());
        for name in ["Owner", "Created_By", "Modified_By"] {
            record.insert(name.to_owned(), user.clone());
        }
        for name in ["Created_Time", "Modified_Time"] {
            record.insert(name.to_owned(), now.clone().into());
        }
        record.extend(fields);
        name_in_full(&mut record);
        let id = id.parse().map_err(|_not_a_number| invalid_field("id", "bigint", index))?;
        self.table(module).records.insert(id, record);
        Ok(id)
    }

    fn change(
        &mut self,
        call: &Call,
        module: &'static Module,
        id: u64,
        input: &Record,
        index: usize,
    ) -> Result<(), Value> {
        for field in module.fields().filter(|field| field.mandatory) {
            if input.get(field.api_name).is_some_and(|value| value.is_null() || value == "") {
                return Err(invalid_field(field.api_name, field.kind.data_type(), index));
            }
        }
        let fields = self.check(module, input, index)?;
        let record =
            self.table(module).records.get_mut(&id).ok_or_else(|| no_such_record(index))?;
        record.extend(fields);
        record.insert("Modified_Time".to_owned(), iso(call.now).into());
        record.insert("Modified_By".to_owned(), user_reference(&call.user));
        name_in_full(record);
        Ok(())
    }

    /// The fields that are known and may be written, each of the right kind.
    fn check(&self, module: &Module, input: &Record, index: usize) -> Result<Record, Value> {
        let mut checked = Record::new();
        for (name, value) in input {
            let Some(field) = module.field(name).filter(|field| !field.read_only) else {
                continue;
            };
            checked.insert(name.clone(), self.check_value(field, value, index)?);
        }
        Ok(checked)
    }

    fn check_value(&self, field: &Field, value: &Value, index: usize) -> Result<Value, Value> {
        let text = value.as_str();
        let fits = match field.kind {
            _ if value.is_null() => true,
            Kind::Boolean => value.is_boolean(),
            Kind::Currency => value.is_number(),
            Kind::Integer => value.is_i64() || value.is_u64(),
            Kind::Date => text.is_some_and(|text| text.parse::<Date>().is_ok()),
            Kind::DateTime => text.is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            Kind::Email => text.is_some_and(|text| text.contains('@')),
            Kind::Owner => value.is_object() || text.is_some(),
            Kind::Lookup(target) => {
                let id = value.get("id").unwrap_or(value);
                let id = id.as_str().and_then(|id| id.parse::<u64>().ok());
                let table = self.tables.get(target);
                let found = id.and_then(|id| table?.records.get(&id));
                let Some(found) = found else {
                    return Err(invalid_field(field.api_name, "lookup", index));
                };
                let display = schema::module(target).map_or("id", |module| module.display);
                let name = found.get(display);
                return Ok(json!({ "name": name, "id": found.get("id") }));
            }
            Kind::Phone | Kind::Picklist(_) | Kind::Text | Kind::TextArea | Kind::Website => {
                text.is_some()
            }
        };
        if !fits {
            return Err(invalid_field(field.api_name, field.kind.data_type(), index));
        }
        if text.is_some_and(|text| text.chars().count() > field.kind.length()) {
            let mut error = invalid_field(field.api_name, field.kind.data_type(), index);
            error["details"]["maximum_length"] = field.kind.length().into();
            return Err(error);
        }
        Ok(value.clone())
    }

    /// The record that an upsert means, and the field that says so.
    fn duplicate(
        &mut self,
        module: &'static Module,
        input: &Record,
        checks: &[String],
    ) -> Option<(u64, String)> {
        let records = &self.table(module).records;
        if let Some(id) = input.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok())
            && records.contains_key(&id)
        {
            return Some((id, "id".to_owned()));
        }
        checks.iter().find_map(|name| {
            let wanted = text_of(Some(input.get(name).filter(|value| !value.is_null())?));
            let same = |record: &Record| text_of(record.get(name)).eq_ignore_ascii_case(&wanted);
            let (&id, _) = records.iter().find(|(_, record)| same(record))?;
            Some((id, name.clone()))
        })
    }

    /// What is answered for one record.
    fn result(
        &mut self,
        module: &'static Module,
        result: Result<(u64, Option<String>), Value>,
        message: &str,
        action: Value,
    ) -> Result<Value, Value> {
        let (id, duplicate_field) = result?;
        let empty = Record::new();
        let record = self.table(module).records.get(&id).unwrap_or(&empty);
        let mut body = json!({
            "code": "SUCCESS",
            "details": {
                "id": record.get("id"),
                "Created_Time": record.get("Created_Time"),
                "Modified_Time": record.get("Modified_Time"),
                "Created_By": named(record.get("Created_By")),
                "Modified_By": named(record.get("Modified_By")),
            },
            "message": message,
            "status": "success",
        });
        if !action.is_null() {
            body["action"] = action;
            body["duplicate_field"] = duplicate_field.into();
        }
        Ok(body)
    }
}

/// The records of a request, and all of its body.
fn data(call: &Call) -> Result<(Vec<Record>, Record), Reply> {
    let Ok(Value::Object(body)) = serde_json::from_slice(&call.body) else {
        return Err(invalid_body("body", "jsonobject", "body"));
    };
    let Some(Value::Array(items)) = body.get("data") else {
        return Err(invalid_body("data", "jsonarray", "body"));
    };
    if items.is_empty() || items.len() > MAX_RECORDS {
        return Err(Reply::crm_error(
            StatusCode::BAD_REQUEST,
            "INVALID_DATA",
            "1 to 100 records are expected",
            json!({ "api_name": "data", "maximum_length": MAX_RECORDS }),
        ));
    }
    let records: Option<Vec<Record>> = items.iter().map(|item| item.as_object().cloned()).collect();
    let records = records.ok_or_else(|| invalid_body("data", "jsonobject", "body"))?;
    Ok((records, body))
}

/// All went well: `good`. Some did: 207. None did: 400.
fn answer(results: Vec<Result<Value, Value>>, good: StatusCode) -> Reply {
    let failed = results.iter().filter(|result| result.is_err()).count();
    let status = match failed {
        0 => good,
        _ if failed == results.len() => StatusCode::BAD_REQUEST,
        _ => StatusCode::MULTI_STATUS,
    };
    let data: Vec<Value> =
        results.into_iter().map(|result| result.unwrap_or_else(|error| error)).collect();
    Reply::new(status, json!({ "data": data }))
}

fn name_in_full(record: &mut Record) {
    if !record.contains_key("Last_Name") {
        return;
    }
    let parts: Vec<&str> =
        ["First_Name", "Last_Name"].iter().filter_map(|name| record.get(*name)?.as_str()).collect();
    let full = parts.join(" ");
    record.insert("Full_Name".to_owned(), full.into());
}

fn named(user: Option<&Value>) -> Value {
    let part = |name| user.and_then(|user| user.get(name)).cloned().unwrap_or_default();
    json!({ "name": part("name"), "id": part("id") })
}

fn missing_field(name: &str, index: usize) -> Value {
    crm_error_body(
        "MANDATORY_NOT_FOUND",
        "required field not found",
        json!({ "api_name": name, "json_path": format!("$.data[{index}].{name}") }),
    )
}

fn invalid_field(name: &str, expected: &str, index: usize) -> Value {
    crm_error_body(
        "INVALID_DATA",
        "invalid data",
        json!({
            "api_name": name,
            "expected_data_type": expected,
            "json_path": format!("$.data[{index}].{name}"),
        }),
    )
}

fn no_such_record(index: usize) -> Value {
    crm_error_body(
        "INVALID_DATA",
        INVALID_ID,
        json!({ "api_name": "id", "json_path": format!("$.data[{index}].id") }),
    )
}

fn invalid_body(name: &str, expected: &str, message: &str) -> Reply {
    Reply::crm_error(
        StatusCode::BAD_REQUEST,
        "INVALID_DATA",
        message,
        json!({ "api_name": name, "expected_data_type": expected }),
    )
}
