//! [`Inspection`]: what a person should know of a database.

use std::collections::BTreeMap;

use tokenkeep_core::{Field, Operation, StoreError, TokenId};
use tokio_postgres::Row;

use crate::{
    connection::Connection,
    error::Fault,
    notify,
    pool::Attempts,
    rows::{self, value},
    store::PostgresStore,
};

/// What a person should know of a database: what it is, and what in it may cause trouble.
///
/// It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The server's version, as it says it: `15.18`.
    pub version: String,
    /// Whether it is a replica, which cannot be written to.
    pub is_replica: bool,
    /// Whether the connection is encrypted; the protocol, where it is.
    pub tls: Option<String>,
    /// When a commit is answered: `on` waits for the disk, and for the synchronous replicas if there
    /// are any.
    pub synchronous_commit: String,
    /// The replicas that a commit waits for.
    pub synchronous_replicas: String,
    /// Whether what is committed is on the disk when the machine fails.
    pub fsync: bool,
    /// Whether a page that was half written then can be mended.
    pub full_page_writes: bool,
    /// The schema of the tables.
    pub schema: String,
    /// The token table.
    pub table: String,
    /// Whether the server tells of changes. Where it does not, each write to any of its databases
    /// makes a manager read tokens again.
    pub tells_of_changes: bool,
    /// What the user may not do with which table, for example `update on tokenkeep_state`.
    pub missing_grants: Vec<String>,
    /// Indices of ours that are not there: finding is slower without.
    pub missing_indices: Vec<String>,
    /// How many tokens there are.
    pub tokens: u64,
    /// Tokens of one user, client and API domain: a query for them is ambiguous.
    pub duplicates: Vec<Vec<TokenId>>,
    /// Ids that are not numbers. The SDKs in Python and Java cannot add a token while there are any.
    pub text_ids: Vec<TokenId>,
    /// Tokens whose expiry time cannot be read and counts as absent.
    pub unreadable_expiry: Vec<TokenId>,
    /// State and leases of tokens that somebody else has deleted.
    pub orphans: u64,
    /// Rows that cannot be read, in words; no secrets.
    pub damage: Vec<String>,
}

impl PostgresStore {
    /// Looks the whole database over.
    ///
    /// # Errors
    ///
    /// What keeps the database from being read. Rows that cannot be read are part of the answer.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        let operation = Operation::GetTokens;
        let inspecting = async { inspect(&*self.pool.reader().await?).await };
        let inspected = Attempts::new(self.pool.limit(), operation).within(inspecting).await;
        inspected.map_err(|fault| fault.error.during(operation))
    }
}

async fn inspect(connection: &Connection) -> Result<Inspection, Fault> {
    let (client, layout) = (&connection.client, &connection.layout);
    let server = client.query_one(SERVER, &[]).await?;
    let mut inspection = Inspection {
        version: value(&server, 0)?,
        is_replica: value(&server, 1)?,
        tls: value(&server, 2)?,
        synchronous_commit: value(&server, 3)?,
        synchronous_replicas: value(&server, 4)?,
        fsync: value(&server, 5)?,
        full_page_writes: value(&server, 6)?,
        schema: layout.schema.clone(),
        table: layout.table.clone(),
        ..Inspection::default()
    };
    let side = layout.side_table();
    let tables = vec![layout.tokens(), layout.side(), layout.named("tokenkeep_meta")];
    inspection.missing_grants = texts(&client.query(GRANTS, &[&tables]).await?)?;
    let telling = texts(&client.query(notify::TRIGGERS, &[&layout.schema]).await?)?;
    inspection.tells_of_changes = telling.contains(&layout.table) && telling.contains(&side);
    let names: Vec<_> = layout.indices().into_iter().map(|(name, _)| name).collect();
    inspection.missing_indices = texts(&client.query(INDICES, &[&layout.schema, &names]).await?)?;
    let (tokens, side) = (layout.tokens(), layout.side());
    let orphans = format!(
        "select count(*) from {side} s where not exists \
         (select 1 from {tokens} t where t.id collate \"C\" = s.token_id)"
    );
    let orphans: i64 = value(&client.query_one(&orphans, &[]).await?, 0)?;
    inspection.orphans = u64::try_from(orphans).unwrap_or_default();
    let all = format!("select {} from {tokens}", Field::ALL.map(Field::name).join(", "));
    inspection.look_at(&client.query(&all, &[]).await?)?;
    Ok(inspection)
}

const SERVER: &str = "select current_setting('server_version'), pg_is_in_recovery(), \
     (select version from pg_catalog.pg_stat_ssl where pid = pg_backend_pid() and ssl), \
     current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
     current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on'";

const GRANTS: &str = "select privilege || ' on ' || split_part(name, '.', 2) \
     from unnest($1::text[]) name, \
     unnest(array['select', 'insert', 'update', 'delete']) privilege \
     where not has_table_privilege(name, privilege)";

const INDICES: &str = "select wanted from unnest($2::text[]) wanted where not exists \
     (select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n \
     on n.oid = c.relnamespace join pg_catalog.pg_index x on x.indexrelid = c.oid \
     where n.nspname = $1 and c.relname = wanted and x.indisvalid)";

fn texts(rows: &[Row]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| value(row, 0)).collect()
}

impl Inspection {
    /// Finds what is wrong with single rows, or with several together.
    fn look_at(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let mut alike: BTreeMap<_, Vec<TokenId>> = BTreeMap::new();
        for row in rows {
            let token = match rows::identified(row) {
                Ok(token) => token,
                Err(error) => {
                    self.damage.push(error.to_string());
                    continue;
                }
            };
            let id = rows::id_of(&token)?;
            let expiry = rows::text(row, Field::ExpiryTime as usize, Field::ExpiryTime)?;
            if expiry.is_some_and(|text| rows::expiry(&text).is_none()) {
                self.unreadable_expiry.push(id.clone());
            }
            if id.number().is_none() {
                self.text_ids.push(id.clone());
            }
            if let Some(user) = token.user_name() {
                // A host name has no case, and a slash at its end says nothing.
                let domain = token
                    .api_domain()
                    .map(|domain| domain.trim_end_matches('/').to_ascii_lowercase());
                let client = token.client_id().map(str::to_owned);
                alike.entry((user.to_owned(), client, domain)).or_default().push(id.clone());
            }
        }
        self.tokens = rows.len() as u64;
        self.duplicates = alike.into_values().filter(|ids| ids.len() > 1).collect();
        for ids in
            self.duplicates.iter_mut().chain([&mut self.text_ids, &mut self.unreadable_expiry])
        {
            ids.sort();
        }
        Ok(())
    }
}
