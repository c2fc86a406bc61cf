//! [`Inspection`]: what a person should know of a server and of what is stored.

use std::collections::{BTreeMap, HashMap};

use redis::{Cmd, Value};
use tokenkeep_core::{OAuthToken, Operation, StoreError, StoreErrorKind, TokenId, next_id};

use crate::{
    RedisConfig, RedisStore, Tls,
    change::Look,
    config::{Replicas, Topology},
    error::unexpected,
    keys::index_names,
    link::Link,
    rows::text,
};

/// What a person should know of a server and of what is stored: what it is, and what in it may cause
/// trouble.
///
/// It holds no secret. What the server may not be asked for, for lack of permission, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The primary that is written to, as `host:port`.
    pub primary: String,
    /// The server's version.
    pub version: Option<String>,
    /// Whether the connection is protected by TLS.
    pub tls: bool,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// How many tokens there are.
    pub tokens: u64,
    /// The id that the next token gets; `None` if all have been given.
    pub next_id: Option<TokenId>,
    /// Whether writes are appended to a file (`appendonly`).
    pub append_only: Option<bool>,
    /// When that file is brought to the disk (`appendfsync`): `always`, `everysec` or `no`.
    pub append_fsync: Option<String>,
    /// When a snapshot is taken (`save`); empty for never.
    pub snapshots: Option<String>,
    /// How much memory there may be used (`maxmemory`), in bytes; 0 for as much as there is.
    pub memory_limit: Option<u64>,
    /// What is done when it is used up (`maxmemory-policy`).
    pub eviction: Option<String>,
    /// How many replicas follow the primary.
    pub replicas: Option<u64>,
    /// How many have to follow it, or it takes no writes (`min-replicas-to-write`).
    pub min_replicas_to_write: Option<u64>,
    /// What of this setting-up may lose tokens, in words for a person.
    pub concerns: Vec<String>,
    /// Tokens of one user, client and API domain: a query for them is ambiguous.
    pub duplicates: Vec<Vec<TokenId>>,
    /// Tokens that a query for one of their values does not find, because the server has evicted or
    /// somebody has removed what leads to them. Saving them by id mends that.
    pub not_indexed: Vec<TokenId>,
    /// Tokens that are gone though nobody has removed them by tokenkeep and they have not expired:
    /// evicted, or removed by hand.
    pub vanished: u64,
    /// What cannot be read; empty if all can be.
    pub damage: Vec<String>,
}

/// How many tokens are looked at in one script.
const AT_ONCE: usize = 500;

impl RedisStore {
    /// Looks over how the server is set up, and all that is stored.
    ///
    /// # Errors
    ///
    /// What keeps the server from answering. What the user may not ask is no error.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        inspect(&self.link).await.map_err(|error| error.during(Operation::GetTokens))
    }
}

async fn inspect(link: &Link) -> Result<Inspection, StoreError> {
    let config = &link.config;
    let mut found = Inspection {
        tls: config.tls != Tls::Disable,
        prefix: config.prefix.clone(),
        ..Inspection::default()
    };
    settings(link, &mut found).await?;
    let seen = link.look(&Look::default(), &mut link.limit()).await?;
    found.next_id = next_id(seen.last_id).ok();
    contents(link, &mut found).await?;
    found.primary =
        link.primary().map(|node| format!("{}:{}", node.host, node.port)).unwrap_or_default();
    found.concerns = concerns(&found, config);
    Ok(found)
}

/// How the server is set up.
async fn settings(link: &Link, found: &mut Inspection) -> Result<(), StoreError> {
    let info = match permitted(link, &redis::cmd("INFO")).await? {
        Some(answer) => text(answer)?,
        None => String::new(),
    };
    let info: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |name: &str| info.get(name).and_then(|value| value.parse().ok());
    // Valkey says which Redis it is like, too.
    let version = info.get("valkey_version").or_else(|| info.get("redis_version"));
    found.version = version.map(|version| (*version).to_owned());
    found.append_only = info.get("aof_enabled").map(|enabled| *enabled == "1");
    found.memory_limit = number("maxmemory");
    found.eviction = info.get("maxmemory_policy").map(|policy| (*policy).to_owned());
    found.replicas = number("connected_slaves");
    for name in ["appendfsync", "save", "min-replicas-to-write"] {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let Some(Value::Array(pair)) = permitted(link, &command).await? else { continue };
        let Some(value) = pair.into_iter().nth(1).map(text).transpose()? else { continue };
        match name {
            "appendfsync" => found.append_fsync = Some(value),
            "save" => found.snapshots = Some(value),
            _ => found.min_replicas_to_write = value.parse().ok(),
        }
    }
    Ok(())
}

/// The answer to a command; `None` if the user may not ask.
async fn permitted(link: &Link, command: &Cmd) -> Result<Option<Value>, StoreError> {
    match link.ask(command, &mut link.limit()).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if matches!(
                error.kind(),
                StoreErrorKind::PermissionDenied | StoreErrorKind::Unsupported
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// All that is stored, page by page.
async fn contents(link: &Link, found: &mut Inspection) -> Result<(), StoreError> {
    let mut alike: BTreeMap<Vec<Option<String>>, Vec<TokenId>> = BTreeMap::new();
    let mut place = None;
    let (mut empty, mut expired) = (0, 0);
    loop {
        let page = link.list(place.as_deref(), Some(AT_ONCE)).await?;
        let is_last = page.places < AT_ONCE;
        empty += (page.places - page.rows.len()) as u64;
        expired = page.mark.1.max(expired);
        place = page.last_place;
        let mut tokens = Vec::new();
        for (_id, row) in page.rows {
            let (token, _state, damage) = crate::shared::readable(row);
            tokens.extend(token);
            found.damage.extend(damage);
        }
        for token in &tokens {
            if let (Some(identity), Some(id)) = (identity(token), token.id()) {
                alike.entry(identity).or_default().push(id.clone());
            }
        }
        found.tokens += tokens.len() as u64;
        found.not_indexed.extend(not_indexed(link, &tokens).await?);
        if is_last {
            break;
        }
    }
    found.duplicates = alike.into_values().filter(|ids| ids.len() > 1).collect();
    found.vanished = empty.saturating_sub(expired);
    Ok(())
}

/// What makes a user's token the same as another one.
fn identity(token: &OAuthToken) -> Option<Vec<Option<String>>> {
    let domain = token.api_domain().map(|domain| domain.trim_end_matches('/').to_ascii_lowercase());
    let user = token.user_name()?.to_owned();
    Some(vec![Some(user), token.client_id().map(str::to_owned), domain])
}

/// Those that do not stand under all names that they have in the index.
async fn not_indexed(link: &Link, tokens: &[OAuthToken]) -> Result<Vec<TokenId>, StoreError> {
    let names: Vec<(&TokenId, String)> = tokens
        .iter()
        .filter_map(|token| Some((token.id()?, index_names(token))))
        .flat_map(|(id, names)| names.into_iter().map(move |name| (id, name)))
        .collect();
    let look =
        Look { names: names.iter().map(|(_, name)| name.clone()).collect(), ids: Vec::new() };
    let seen = link.look(&look, &mut link.limit()).await?;
    if seen.members.len() != names.len() {
        return Err(unexpected());
    }
    let mut missing: Vec<TokenId> = names
        .iter()
        .zip(&seen.members)
        .filter(|((id, _), members)| !members.iter().any(|member| member == id.as_str()))
        .map(|((id, _), _)| (*id).clone())
        .collect();
    missing.dedup();
    Ok(missing)
}

/// What of the server's setting-up may lose tokens.
fn concerns(found: &Inspection, config: &RedisConfig) -> Vec<String> {
    let mut concerns = Vec::new();
    let mut say = |words: &str| concerns.push(words.to_owned());
    let snapshots = found.snapshots.as_deref().is_some_and(|save| !save.is_empty());
    match (found.append_only, found.append_fsync.as_deref()) {
        (Some(false), _) if snapshots => {
            say(
                "only snapshots are kept on disk: a crash loses what was saved since the last one; set appendonly yes",
            );
        }
        (Some(false), _) => {
            say("nothing is kept on disk: a restart loses all tokens; set appendonly yes");
        }
        (Some(true), Some("everysec")) => {
            say(
                "a crash of the machine loses about the last second; set appendfsync always if no save may be lost",
            );
        }
        (Some(true), Some("no")) => {
            say("the system decides when saves reach the disk; set appendfsync always");
        }
        _ => {}
    }
    if found.memory_limit != Some(0)
        && let Some(policy) = found.eviction.as_deref()
    {
        if policy.starts_with("allkeys-") {
            say("tokens are removed when memory is used up (maxmemory-policy); set noeviction");
        } else if policy.starts_with("volatile-") && config.lifetime.is_some() {
            say(
                "tokens that expire are removed early when memory is used up (maxmemory-policy); set noeviction",
            );
        }
    }
    let has_followers = found.replicas.is_some_and(|replicas| replicas > 0);
    let waits = config.replicas.map_or(0, |Replicas { number, .. }| number);
    if config.topology != Topology::Single && found.replicas == Some(0) {
        say("no replica follows the primary: nothing takes its place");
    } else if has_followers && waits == 0 {
        say(
            "a save is not waited for on any replica: a fail-over may lose the last ones; use wait-replicas",
        );
    }
    if found.replicas.is_some_and(|replicas| replicas < u64::from(waits)) {
        say(
            "fewer replicas follow than each save waits for: every save fails with an unknown outcome",
        );
    }
    if config.topology != Topology::Single && found.min_replicas_to_write == Some(0) {
        say(
            "a primary that is cut off goes on taking saves, which are lost; set min-replicas-to-write 1",
        );
    }
    concerns
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sound() -> Inspection {
        Inspection {
            append_only: Some(true),
            append_fsync: Some("always".to_owned()),
            snapshots: Some(String::new()),
            memory_limit: Some(1),
            eviction: Some("noeviction".to_owned()),
            replicas: Some(1),
            min_replicas_to_write: Some(1),
            ..Inspection::default()
        }
    }

    #[test]
    fn each_way_to_lose_tokens_is_told() {
        let config = RedisConfig::cluster("a").wait_replicas(1, Duration::from_secs(1));
        assert_eq!(concerns(&sound(), &config), Vec::<String>::new());
        let single = RedisConfig::new("a");
        let text = |text: &str| Some(text.to_owned());
        for (words, found, config) in [
            ("all tokens", Inspection { append_only: Some(false), ..sound() }, &config),
            (
                "only snapshots",
                Inspection { append_only: Some(false), snapshots: text("60 1"), ..sound() },
                &config,
            ),
            ("last second", Inspection { append_fsync: text("everysec"), ..sound() }, &config),
            ("system decides", Inspection { append_fsync: text("no"), ..sound() }, &config),
            ("removed when", Inspection { eviction: text("allkeys-lru"), ..sound() }, &config),
            ("fewer replicas", Inspection { replicas: Some(0), ..sound() }, &config),
            ("cut off", Inspection { min_replicas_to_write: Some(0), ..sound() }, &config),
            ("not waited for", sound(), &single),
            (
                "removed early",
                Inspection { eviction: text("volatile-ttl"), ..sound() },
                &config.clone().expire_after(Duration::from_secs(1)),
            ),
        ] {
            let told = concerns(&found, config).join("\n");
            assert!(told.contains(words), "{words}: {told}");
        }
    }
}
