//! [`Kv`]: the secrets of a store in a KV version 2 engine.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokenkeep_core::{StoreError, StoreErrorKind};

use crate::{
    client::{Reply, Request},
    error::{Fault, version_1},
    session::{Deadline, Session},
};

/// The secrets below a path of a mount.
#[derive(Debug)]
pub(crate) struct Kv {
    pub(crate) session: Arc<Session>,
    pub(crate) mount: Vec<String>,
    pub(crate) prefix: Vec<String>,
}

/// A secret as it was read.
pub(crate) struct Read<T> {
    pub(crate) version: u64,
    pub(crate) data: T,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is this version.
    Version(u64),
    /// The secret is not at the expected version.
    Mismatch,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Secret {
    data: Option<Value>,
    metadata: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Deserialize)]
struct Metadata {
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<String, VersionState>,
}

#[derive(Deserialize)]
struct VersionState {
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

impl Kv {
    /// Sees whether the mount is a KV engine of version 2, as far as Vault tells.
    pub(crate) async fn check_mount(&self, deadline: Deadline) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Mount {
            #[serde(rename = "type")]
            kind: String,
            options: Option<BTreeMap<String, Value>>,
        }
        let mut path = vec!["sys", "internal", "ui", "mounts"];
        path.extend(self.mount.iter().map(String::as_str));
        let request = Request { method: Method::GET, path: &path, version: None, body: None };
        let read = |reply: &Reply| {
            if matches!(reply.status, 400 | 403 | 404) {
                // The first write tells it.
                return Ok(());
            }
            if !reply.is_ok() {
                return Err(Fault::of(reply));
            }
            let mount = reply.json::<Answer<Mount>>()?.data;
            let version = mount.options.unwrap_or_default();
            match (mount.kind.as_str(), version.get("version").and_then(Value::as_str)) {
                ("kv" | "generic", Some("2")) => Ok(()),
                ("kv" | "generic", _) => Err(Fault::final_(version_1())),
                _ => Err(Fault::final_(no_kv())),
            }
        };
        self.session.ask_again(&request, deadline, read).await
    }

    /// A secret's newest version, or the one that is named; `None` if there is none.
    ///
    /// A version that was deleted while its history stays is Corrupt: somebody has done that.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        name: &[&str],
        version: Option<u64>,
        deadline: Deadline,
    ) -> Result<Option<Read<T>>, Fault> {
        let path = self.path("data", name);
        let request = Request { method: Method::GET, path: &path, version, body: None };
        self.session
            .ask_again(&request, deadline, |reply| {
                if reply.status == 404 {
                    return match reply.json::<Answer<Secret>>() {
                        Ok(_deleted) if version.is_some() => Ok(None),
                        Ok(_deleted) => Err(Fault::final_(deleted())),
                        Err(_) => absent(reply),
                    };
                }
                if !reply.is_ok() {
                    return Err(Fault::of(reply));
                }
                let Answer { data: Secret { data, metadata } } =
                    reply.json::<Answer<Secret>>().map_err(|_reason| Fault::final_(version_1()))?;
                let data = serde_json::from_value(data.unwrap_or_default())
                    .map_err(|_may_repeat| Fault::final_(unreadable()))?;
                Ok(Some(Read { version: metadata.version, data }))
            })
            .await
    }

    /// The number of a secret's newest version; `None` if there is no such secret.
    pub(crate) async fn version(
        &self,
        name: &[&str],
        deadline: Deadline,
    ) -> Result<Option<u64>, Fault> {
        let path = self.path("metadata", name);
        let request = Request { method: Method::GET, path: &path, version: None, body: None };
        self.session
            .ask_again(&request, deadline, |reply| {
                if reply.status == 404 {
                    return absent(reply);
                }
                if !reply.is_ok() {
                    return Err(Fault::of(reply));
                }
                let metadata = reply.json::<Answer<Metadata>>()?.data;
                let current = metadata.versions.get(&metadata.current_version.to_string());
                if current.is_some_and(|v| v.destroyed || !v.deletion_time.is_empty()) {
                    return Err(Fault::final_(deleted()));
                }
                Ok(Some(metadata.current_version))
            })
            .await
    }

    /// Writes a secret if its newest version is `expected`, 0 for none. Asks once.
    pub(crate) async fn write(
        &self,
        name: &[&str],
        data: &Value,
        expected: u64,
        deadline: Deadline,
    ) -> Result<Written, Fault> {
        let path = self.path("data", name);
        let body = json!({ "options": { "cas": expected }, "data": data });
        let request =
            Request { method: Method::POST, path: &path, version: None, body: Some(&body) };
        let reply = self.session.ask(&request, deadline).await?;
        if reply.status == 400 && reply.says("check-and-set") {
            return Ok(Written::Mismatch);
        }
        if !reply.is_ok() {
            return Err(Fault::of(&reply));
        }
        if reply.is_empty() {
            return Err(Fault::final_(version_1()));
        }
        Ok(Written::Version(reply.json::<Answer<Version>>()?.data.version))
    }

    /// Removes a secret with all its versions, if it is there.
    pub(crate) async fn remove(&self, name: &[&str], deadline: Deadline) -> Result<(), Fault> {
        let path = self.path("metadata", name);
        let request = Request { method: Method::DELETE, path: &path, version: None, body: None };
        self.session
            .ask_again(&request, deadline, |reply| {
                if reply.is_ok() || reply.status == 404 { Ok(()) } else { Err(Fault::of(reply)) }
            })
            .await
    }

    /// The names of the secrets below a path.
    pub(crate) async fn list(
        &self,
        name: &[&str],
        deadline: Deadline,
    ) -> Result<Vec<String>, Fault> {
        #[derive(Default, Deserialize)]
        struct Keys {
            keys: Vec<String>,
        }
        let path = self.path("metadata", name);
        let method = Method::from_bytes(b"LIST").unwrap_or(Method::GET);
        let request = Request { method, path: &path, version: None, body: None };
        self.session
            .ask_again(&request, deadline, |reply| match reply.status {
                404 => Ok(absent::<Keys>(reply)?.unwrap_or_default().keys),
                200 => Ok(reply.json::<Answer<Keys>>()?.data.keys),
                _ => Err(Fault::of(reply)),
            })
            .await
    }

    fn path<'a>(&'a self, kind: &'a str, name: &[&'a str]) -> Vec<&'a str> {
        let mut path: Vec<&str> = self.mount.iter().map(String::as_str).collect();
        path.push(kind);
        path.extend(self.prefix.iter().map(String::as_str));
        path.extend(name);
        path
    }
}

/// Nothing there is a 404 without a reason; with one, the mount is not there.
fn absent<T>(reply: &Reply) -> Result<Option<T>, Fault> {
    if reply.errors().is_empty() { Ok(None) } else { Err(Fault::of(reply)) }
}

fn no_kv() -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, "the mount is not a KV secrets engine")
        .with_hint("mount one: `vault secrets enable -path=MOUNT kv-v2`")
}

fn deleted() -> StoreError {
    StoreError::new(
        StoreErrorKind::Corrupt,
        "the newest version of a secret of the store was deleted",
    )
    .with_hint("bring it back with `vault kv undelete` or `vault kv rollback`")
}

fn unreadable() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, "a secret of the store cannot be read")
        .with_hint("something else has written it; bring it back with `vault kv rollback`")
}
