//! [`Inspection`]: what a person should know of a database.

use std::collections::BTreeMap;

use mysql_async::{Conn, Row, prelude::Queryable};
use tokenkeep_core::{Field, Operation, StoreError, TokenId, next_id};

use crate::{
    error::Fault,
    layout::Layout,
    rows::{self, Stored},
    server::{Decision, Server},
    store::{MysqlStore, largest_number},
};

/// What a person should know of a database: what it is, and what in it may cause trouble.
///
/// It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The server's own words: `10.11.14-MariaDB`.
    pub version: String,
    /// The cipher of this store's connections; `None` if they are not secured.
    pub tls: Option<String>,
    /// The token table.
    pub table: String,
    /// Whose table it is: `v8 SDKs`, or an older generation that is only read.
    pub generation: &'static str,
    /// Whether what has been committed survives the end of the machine: the log is written to disk
    /// at each commit, and so is the binary log if there is one.
    pub is_durable: bool,
    /// When the log is brought to the disk (`innodb_flush_log_at_trx_commit`): 1 for each commit.
    pub flush_log: Option<String>,
    /// After how many commits the binary log is (`sync_binlog`); `None` if there is no such log.
    pub sync_binlog: Option<String>,
    /// How many nodes the cluster has, if the server is one of a Galera cluster.
    pub cluster: Option<u64>,
    /// Whether the server takes writes.
    pub is_read_only: bool,
    /// Whether state and leases can be kept: tokenkeep's own tables are there.
    pub has_state: bool,
    /// Columns without an index, which this user may not make: finding by them reads the whole
    /// table.
    pub missing_indices: Vec<String>,
    /// Columns of another character set than `utf8mb4`: some values are refused.
    pub narrow_columns: Vec<String>,
    /// How many tokens there are.
    pub tokens: u64,
    /// The id that the next token gets; `None` if all have been given.
    pub next_id: Option<TokenId>,
    /// Tokens of one user, client and API domain: a query for them is ambiguous.
    pub duplicates: Vec<Vec<TokenId>>,
    /// Tokens of users with different names that are one name by the table's collation, as `alice`
    /// and `ALICE` are by many: an official SDK that asks for one gets whichever comes first.
    pub look_alikes: Vec<Vec<TokenId>>,
    /// Ids that are not numbers. Some SDKs cannot add a token while there are any.
    pub text_ids: Vec<TokenId>,
    /// Tokens whose expiry time cannot be read and counts as absent.
    pub unreadable_expiry: Vec<TokenId>,
    /// Whether an official SDK that adds a token now fails, or overwrites one, because the id it
    /// would choose, by the largest text, is taken.
    pub sdk_cannot_insert: bool,
    /// State and leases of tokens that somebody else has deleted.
    pub orphans: u64,
    /// Rows that cannot be read, for a person.
    pub damage: Vec<String>,
}

impl MysqlStore {
    /// Looks the server and the whole table over.
    ///
    /// # Errors
    ///
    /// What keeps the store from answering. Rows that cannot be read are part of the answer.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let server = &*self.server;
        server.attempt(Operation::GetTokens, &Decision::default(), || inspect(server)).await
    }
}

async fn inspect(server: &Server) -> Result<Inspection, Fault> {
    let layout = server.layout();
    let mut conn = server.connection().await?;
    let conn = &mut conn;
    let version: Option<String> = conn.query_first("select version()").await?;
    let variables: Vec<(String, String)> = conn
        .query(
            "show variables where variable_name in ('innodb_flush_log_at_trx_commit', 'log_bin', \
             'sync_binlog', 'read_only', 'super_read_only', 'wsrep_on')",
        )
        .await?;
    let status: Vec<(String, String)> = conn
        .query("show status where variable_name in ('Ssl_cipher', 'wsrep_cluster_size')")
        .await?;
    let known: BTreeMap<String, String> = variables
        .into_iter()
        .chain(status)
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let is = |name: &str, value: &str| {
        known.get(name).is_some_and(|known| known.eq_ignore_ascii_case(value))
    };
    let mut inspection = Inspection {
        version: version.unwrap_or_default(),
        tls: known.get("ssl_cipher").filter(|cipher| !cipher.is_empty()).cloned(),
        table: layout.table.clone(),
        generation: layout.generation.name(),
        is_durable: is("innodb_flush_log_at_trx_commit", "1")
            && (!is("log_bin", "on") || is("sync_binlog", "1")),
        flush_log: known.get("innodb_flush_log_at_trx_commit").cloned(),
        sync_binlog: known.get("sync_binlog").filter(|_| is("log_bin", "on")).cloned(),
        cluster: known
            .get("wsrep_cluster_size")
            .filter(|_| is("wsrep_on", "on"))
            .and_then(|size| size.parse().ok()),
        is_read_only: is("read_only", "on") || is("super_read_only", "on"),
        has_state: layout.has_side,
        missing_indices: layout.missing_indices.clone(),
        narrow_columns: layout
            .columns
            .iter()
            .filter(|column| column.foreign.as_ref().is_some_and(|(set, _)| set != "utf8mb4"))
            .map(|column| column.name.to_owned())
            .collect(),
        ..Inspection::default()
    };
    look_at_rows(conn, &layout, &mut inspection).await?;
    inspection.look_alikes = look_alikes(conn, &layout).await?;
    if layout.has_side {
        let meta: Option<(u32, u64)> = conn.query_first(&*layout.sql.meta).await?;
        let last = meta.map_or(0, |(_, last)| last).max(largest_number(conn, &layout).await?);
        inspection.next_id = next_id(last).ok();
        let orphans: Option<u64> = conn.query_first(&*layout.sql.orphans).await?;
        inspection.orphans = orphans.unwrap_or_default();
    }
    Ok(inspection)
}

/// Reads each row, one after the other.
async fn look_at_rows(
    conn: &mut Conn,
    layout: &Layout,
    inspection: &mut Inspection,
) -> Result<(), Fault> {
    let rows: Vec<Row> = conn.query(&*layout.sql.all).await?;
    let mut groups: BTreeMap<[Option<String>; 3], Vec<TokenId>> = BTreeMap::new();
    let mut largest_text: Option<String> = None;
    let mut ids = Vec::new();
    for row in rows {
        inspection.tokens += 1;
        let stored = match Stored::of(&mut row.unwrap().into_iter()) {
            Ok(stored) => stored,
            Err(fault) => {
                inspection.damage.push(fault.into_error().to_string());
                continue;
            }
        };
        let Some(id) = stored.token.id().cloned() else {
            inspection.damage.push("a row without an id".to_owned());
            continue;
        };
        let text = stored.columns[Field::ExpiryTime as usize].as_deref().unwrap_or_default();
        if !text.is_empty() && rows::expiry(text).is_none() {
            inspection.unreadable_expiry.push(id.clone());
        }
        if id.number().is_none() {
            inspection.text_ids.push(id.clone());
        }
        if let Some(user) = stored.token.user_name() {
            let domain = stored
                .token
                .api_domain()
                .map(|domain| domain.trim_end_matches('/').to_ascii_lowercase());
            let client = stored.token.client_id().map(str::to_owned);
            groups.entry([Some(user.to_owned()), client, domain]).or_default().push(id.clone());
        }
        if largest_text.as_deref().is_none_or(|largest| id.as_str() > largest) {
            largest_text = Some(id.to_string());
        }
        ids.push(id);
    }
    // They take the largest text for a number, and add one.
    let chosen = largest_text.map(|text| text.parse::<u64>().map(|number| number + 1));
    inspection.sdk_cannot_insert = match chosen {
        Some(Ok(number)) => ids.contains(&TokenId::from_number(number)),
        Some(Err(_)) => true,
        None => false,
    };
    inspection.duplicates = groups.into_values().filter(|ids| ids.len() > 1).collect();
    for ids in &mut inspection.duplicates {
        ids.sort();
    }
    inspection.text_ids.sort();
    inspection.unreadable_expiry.sort();
    Ok(())
}

/// Tokens of users whose names only the bytes tell apart.
async fn look_alikes(conn: &mut Conn, layout: &Layout) -> Result<Vec<Vec<TokenId>>, Fault> {
    let source = layout.generation.source(&layout.table);
    let sql = format!(
        "select t.id, x.one from {source} t join (select s.user_name, min(s.id) as one \
         from {source} s where s.user_name <> '' group by s.user_name \
         having count(distinct cast(s.user_name as binary)) > 1) x on t.user_name = x.user_name"
    );
    let rows: Vec<(Vec<u8>, Vec<u8>)> = conn.query(sql).await?;
    let mut groups: BTreeMap<Vec<u8>, Vec<TokenId>> = BTreeMap::new();
    for (id, one) in rows {
        // One that is none is damage, which is told elsewhere.
        let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok());
        groups.entry(one).or_default().extend(id);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    for ids in &mut groups {
        ids.sort();
    }
    groups.sort();
    Ok(groups)
}
