//! The KV secrets engine, versions 1 and 2.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// What is answered: a status and a body.
pub(super) type Answer = (u16, Value);

/// Vault's integrated storage takes no larger entry unless it is told to.
const LARGEST_ENTRY: usize = 1 << 20;

/// An engine that is mounted somewhere.
pub(super) enum Mount {
    V1(BTreeMap<String, Value>),
    V2(Kv2),
}

#[derive(Default)]
pub(super) struct Kv2 {
    keys: BTreeMap<String, Key>,
    max_versions: usize,
    cas_required: bool,
    /// Counts the writes, for times that differ.
    ticks: u64,
}

#[derive(Default)]
struct Key {
    current: u64,
    versions: BTreeMap<u64, Version>,
    max_versions: usize,
    cas_required: bool,
    custom: Value,
}

struct Version {
    /// `None` once it was destroyed.
    data: Option<Value>,
    created: String,
    deleted: String,
}

pub(super) fn errors(status: u16, texts: &[&str]) -> Answer {
    (status, json!({ "errors": texts }))
}

fn nothing() -> Answer {
    errors(404, &[])
}

fn done() -> Answer {
    (204, Value::Null)
}

impl Mount {
    /// Answers a request below the mount. `LIST` may also come as `GET` with `list=true`.
    pub(super) fn answer(
        &mut self,
        method: &str,
        path: &str,
        version: Option<u64>,
        body: &Value,
    ) -> Answer {
        match self {
            Self::V1(secrets) => answer_v1(secrets, method, path, body),
            Self::V2(engine) => engine.answer(method, path, version, body),
        }
    }

    pub(super) fn version(&self) -> &'static str {
        if matches!(self, Self::V1(_)) { "1" } else { "2" }
    }
}

fn answer_v1(
    secrets: &mut BTreeMap<String, Value>,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    match method {
        "GET" => secrets.get(path).map_or_else(nothing, |data| (200, json!({ "data": data }))),
        "LIST" => list(secrets.keys(), path),
        "POST" | "PUT" => {
            secrets.insert(path.to_owned(), body.clone());
            done()
        }
        "DELETE" => {
            secrets.remove(path);
            done()
        }
        _ => errors(405, &["unsupported operation"]),
    }
}

impl Kv2 {
    fn answer(&mut self, method: &str, path: &str, version: Option<u64>, body: &Value) -> Answer {
        let (kind, name) = path.split_once('/').unwrap_or((path, ""));
        match (kind, method) {
            ("config", "GET") => {
                let (max_versions, cas_required) = (self.max_versions, self.cas_required);
                (200, json!({"data": {"max_versions": max_versions, "cas_required": cas_required}}))
            }
            ("config", "POST" | "PUT") => {
                self.max_versions = count(body, "max_versions").unwrap_or(self.max_versions);
                self.cas_required = body["cas_required"].as_bool().unwrap_or(self.cas_required);
                done()
            }
            ("data", "GET") => self.read(name, version),
            ("data", "POST" | "PUT") => self.write(name, body),
            ("data", "DELETE") => {
                if let Some(key) = self.keys.get_mut(name) {
                    let current = key.current;
                    key.delete(&[current], &time(self.ticks));
                }
                done()
            }
            ("delete" | "undelete" | "destroy", "POST" | "PUT") => {
                let versions = body["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
                let versions: Vec<u64> = versions.iter().filter_map(Value::as_u64).collect();
                if let Some(key) = self.keys.get_mut(name) {
                    match kind {
                        "delete" => key.delete(&versions, &time(self.ticks)),
                        "undelete" => key.delete(&versions, ""),
                        _ => key.destroy(&versions),
                    }
                }
                done()
            }
            ("metadata", "LIST") => list(self.keys.keys(), name),
            ("metadata", "GET") => self.keys.get(name).map_or_else(nothing, Key::metadata),
            ("metadata", "POST" | "PUT") => {
                let key = self.keys.entry(name.to_owned()).or_default();
                key.max_versions = count(body, "max_versions").unwrap_or(key.max_versions);
                key.cas_required = body["cas_required"].as_bool().unwrap_or(key.cas_required);
                if let Some(custom) = body.get("custom_metadata") {
                    key.custom = custom.clone();
                }
                done()
            }
            ("metadata", "DELETE") => {
                self.keys.remove(name);
                done()
            }
            ("config" | "data" | "metadata" | "delete" | "undelete" | "destroy", _) => {
                errors(405, &["unsupported operation"])
            }
            _ => nothing(),
        }
    }

    fn read(&self, name: &str, version: Option<u64>) -> Answer {
        let Some(key) = self.keys.get(name) else { return nothing() };
        let number = version.filter(|version| *version > 0).unwrap_or(key.current);
        let Some(version) = key.versions.get(&number) else { return nothing() };
        let metadata = version.metadata(number, &key.custom);
        let data = version.data.as_ref().filter(|_data| version.deleted.is_empty());
        let status = if data.is_some() { 200 } else { 404 };
        (status, json!({ "data": { "data": data, "metadata": metadata } }))
    }

    fn write(&mut self, name: &str, body: &Value) -> Answer {
        let Some(data) = body.get("data").filter(|data| data.is_object()) else {
            return errors(400, &["no data provided"]);
        };
        let size = data.to_string().len();
        if size > LARGEST_ENTRY {
            let text = "put failed due to value being too large";
            return errors(413, &[&format!("{text}; got {size} bytes, max: {LARGEST_ENTRY}")]);
        }
        let key = self.keys.get(name);
        let current = key.map_or(0, |key| key.current);
        let cas_required = self.cas_required || key.is_some_and(|key| key.cas_required);
        match body["options"].get("cas").map(Value::as_u64) {
            Some(Some(cas)) if cas != current => {
                let text = "check-and-set parameter did not match the current version";
                return errors(400, &[text]);
            }
            Some(None) => return errors(400, &["error parsing check-and-set parameter"]),
            None if cas_required => {
                return errors(400, &["check-and-set parameter required for this call"]);
            }
            Some(Some(_)) | None => {}
        }
        self.ticks += 1;
        let key = self.keys.entry(name.to_owned()).or_default();
        key.current += 1;
        let created = time(self.ticks);
        let version = Version { data: Some(data.clone()), created, deleted: String::new() };
        let metadata = version.metadata(key.current, &key.custom);
        key.versions.insert(key.current, version);
        let limit = [key.max_versions, self.max_versions, 10].into_iter().find(|n| *n > 0);
        while key.versions.len() > limit.unwrap_or(10) {
            key.versions.pop_first();
        }
        (200, json!({ "data": metadata }))
    }
}

impl Key {
    fn delete(&mut self, versions: &[u64], time: &str) {
        for version in versions {
            if let Some(version) = self.versions.get_mut(version) {
                time.clone_into(&mut version.deleted);
            }
        }
    }

    fn destroy(&mut self, versions: &[u64]) {
        for version in versions {
            if let Some(version) = self.versions.get_mut(version) {
                version.data = None;
            }
        }
    }

    fn metadata(&self) -> Answer {
        let versions: Map<String, Value> = self
            .versions
            .iter()
            .map(|(number, version)| {
                let (created, deleted) = (&version.created, &version.deleted);
                let destroyed = version.data.is_none();
                let state = json!({
                    "created_time": created, "deletion_time": deleted, "destroyed": destroyed,
                });
                (number.to_string(), state)
            })
            .collect();
        let oldest = self.versions.keys().next().copied().unwrap_or_default();
        let data = json!({
            "cas_required": self.cas_required,
            "current_version": self.current,
            "custom_metadata": self.custom,
            "delete_version_after": "0s",
            "max_versions": self.max_versions,
            "oldest_version": oldest,
            "versions": versions,
        });
        (200, json!({ "data": data }))
    }
}

impl Version {
    fn metadata(&self, number: u64, custom: &Value) -> Value {
        json!({
            "created_time": self.created,
            "custom_metadata": custom,
            "deletion_time": self.deleted,
            "destroyed": self.data.is_none(),
            "version": number,
        })
    }
}

/// The names right below a path; those that have something below them end with a slash.
fn list<'a>(names: impl Iterator<Item = &'a String>, path: &str) -> Answer {
    let path = path.trim_end_matches('/');
    let below = if path.is_empty() { String::new() } else { format!("{path}/") };
    let keys: BTreeSet<String> = names
        .filter_map(|name| name.strip_prefix(&below))
        .map(|rest| match rest.split_once('/') {
            Some((directory, _rest)) => format!("{directory}/"),
            None => rest.to_owned(),
        })
        .collect();
    if keys.is_empty() { nothing() } else { (200, json!({ "data": { "keys": keys } })) }
}

fn count(body: &Value, name: &str) -> Option<usize> {
    body[name].as_u64().and_then(|number| usize::try_from(number).ok())
}

fn time(ticks: u64) -> String {
    format!("2025-11-24T16:00:00.{ticks:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine() -> Mount {
        Mount::V2(Kv2::default())
    }

    fn write(engine: &mut Mount, body: &Value) -> Answer {
        engine.answer("POST", "data/a/b", None, body)
    }

    #[test]
    fn check_and_set_lets_the_first_of_two_writers_pass() {
        let mut engine = engine();
        let body = |cas: u64| json!({"options": {"cas": cas}, "data": {"k": cas}});
        let (status, answer) = write(&mut engine, &body(0));
        assert_eq!((status, &answer["data"]["version"]), (200, &json!(1)));
        let (status, answer) = write(&mut engine, &body(0));
        assert_eq!(status, 400);
        let text = "check-and-set parameter did not match the current version";
        assert_eq!(answer, json!({ "errors": [text] }));
        assert_eq!(write(&mut engine, &body(1)).1["data"]["version"], 2);
        let read = engine.answer("GET", "data/a/b", Some(1), &Value::Null).1;
        assert_eq!(read["data"]["data"], json!({"k": 0}));
        engine.answer("POST", "config", None, &json!({"cas_required": true}));
        assert_eq!(write(&mut engine, &json!({"data": {}})).0, 400);
    }

    #[test]
    fn deleted_versions_come_back_and_destroyed_ones_do_not() {
        let mut engine = engine();
        for _ in 0..12 {
            write(&mut engine, &json!({"data": {"k": 1}}));
        }
        let mut call = |method, path, body| engine.answer(method, path, None, &body);
        let metadata = call("GET", "metadata/a/b", Value::Null).1;
        assert_eq!(metadata["data"]["current_version"], 12);
        assert_eq!(metadata["data"]["oldest_version"], 3);
        assert_eq!(call("DELETE", "data/a/b", Value::Null).0, 204);
        let (status, read) = call("GET", "data/a/b", Value::Null);
        assert_eq!((status, &read["data"]["data"]), (404, &Value::Null));
        assert_ne!(read["data"]["metadata"]["deletion_time"], "");
        call("POST", "undelete/a/b", json!({"versions": [12]}));
        assert_eq!(call("GET", "data/a/b", Value::Null).0, 200);
        call("POST", "destroy/a/b", json!({"versions": [12]}));
        call("POST", "undelete/a/b", json!({"versions": [12]}));
        assert_eq!(call("GET", "data/a/b", Value::Null).0, 404);
        assert_eq!(call("LIST", "metadata/", Value::Null).1["data"]["keys"], json!(["a/"]));
        assert_eq!(call("DELETE", "metadata/a/b", Value::Null).0, 204);
        assert_eq!(call("LIST", "metadata/", Value::Null), nothing());
        assert_eq!(call("GET", "data/a/b", Value::Null), nothing());
    }
}
