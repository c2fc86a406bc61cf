//! Checks the token table, makes what is missing, and finds out how it is laid out.

use std::collections::{HashMap, HashSet};

use futures_util::future::{try_join, try_join5};
use tokenkeep_core::{Field, Outcome, StoreError, StoreErrorKind};
use tokio_postgres::{Client, Row, error::DbError, types::ToSql};

use crate::{
    config::PostgresConfig,
    error::{Fault, corrupt},
    layout::{Column, Layout, VERSION},
    notify,
    rows::value,
};

/// How often it is looked again because other processes make the same at the same time.
const ATTEMPTS: u32 = 20;

/// The layout of the tables in this database, made or completed first.
///
/// What is missing is made one by one, each unless it is there; a process that is ended in between,
/// or that others overtake, leaves what the next one goes on with.
pub(crate) async fn prepare(client: &Client, config: &PostgresConfig) -> Result<Layout, Fault> {
    let counts_bytes = has_no_encoding(client).await?;
    let schema = schema(client, config).await?;
    let table = config.table.clone();
    let mut layout = Layout { schema, table, columns: [TEXT; 10], counts_bytes };
    for _ in 0..ATTEMPTS {
        let found = Found::read(client, &layout).await?;
        if let Some(columns) = found.columns(&layout.table)? {
            layout.columns = columns;
        }
        match make(client, &layout, &found).await {
            Ok(()) if found.is_usable() => return Ok(layout),
            Ok(()) => {}
            Err(error) if error.as_db_error().is_some_and(was_overtaken) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::stale("the tables keep being removed or changed"))
}

const TEXT: Column = Column { limit: None, nullable: true };

/// Whether somebody else has just made the same.
fn was_overtaken(error: &DbError) -> bool {
    // The last is what the catalogue answers to two who change one thing in it.
    ["23505", "42P07", "42710", "42723", "40001", "40P01", "XX000"].contains(&error.code().code())
}

async fn make(
    client: &Client,
    layout: &Layout,
    found: &Found,
) -> Result<(), tokio_postgres::Error> {
    if found.columns.is_empty() {
        client.batch_execute(&layout.create_tokens()).await?;
    }
    if !found.has_side {
        client.batch_execute(&layout.create_side()).await?;
    }
    if !found.has_meta {
        client.batch_execute(&layout.create_meta()).await?;
    }
    if !found.is_recorded {
        client.batch_execute(&layout.record()).await?;
    }
    let mut useful = layout.indices();
    if !found.columns.is_empty() && !found.id_is_indexed {
        useful.push(layout.id_index());
    }
    useful.retain(|(name, _)| !found.indices.contains(name));
    let useful = useful.into_iter().map(|(_, sql)| sql);
    for sql in useful.chain(notify::missing(layout, &found.triggers, found.has_function)) {
        match client.batch_execute(&sql).await {
            Err(error) if error.as_db_error().is_some_and(|error| !was_overtaken(error)) => {
                // It works without, if slower.
                let code = error.code().map(|code| code.code().to_owned());
                tracing::warn!(
                    table = layout.table,
                    code,
                    "could not make an index or a trigger of the token table"
                );
            }
            made => made?,
        }
    }
    Ok(())
}

/// Whether the database knows no encoding, and takes all text as bytes. One that has another than
/// UTF-8 is refused: it does not hold every text.
async fn has_no_encoding(client: &Client) -> Result<bool, Fault> {
    let row = client.query_one("select current_setting('server_encoding')", &[]).await?;
    let encoding: String = value(&row, 0)?;
    if ["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        return Ok(encoding == "SQL_ASCII");
    }
    Err(StoreError::new(
        StoreErrorKind::Unsupported,
        format!("the database has the encoding {encoding}, which does not hold every text"),
    )
    .with_hint("make one with: create database … encoding 'UTF8' template template0")
    .into())
}

/// The schema that the tables are in.
async fn schema(client: &Client, config: &PostgresConfig) -> Result<String, Fault> {
    if let Some(schema) = &config.schema {
        let sql = "select 1 from pg_catalog.pg_namespace where nspname = $1";
        if client.query_opt(sql, &[schema]).await?.is_some() {
            return Ok(schema.clone());
        }
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            format!("there is no schema {schema}"),
        )
        .with_outcome(Outcome::Final)
        .with_hint(format!("make it: create schema \"{schema}\""))
        .into());
    }
    let sql = "select coalesce((select n.nspname::text from pg_catalog.pg_class c \
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
               where c.oid = to_regclass($1)), current_schema()::text)";
    let row = client.query_one(sql, &[&format!("\"{}\"", config.table)]).await?;
    match value(&row, 0)? {
        Some(schema) => Ok(schema),
        None => Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "the user has no schema in the database",
        )
        .with_outcome(Outcome::Final)
        .with_hint("name one with schema")
        .into()),
    }
}

/// What there is of the tables.
struct Found {
    columns: Vec<FoundColumn>,
    kind: Option<String>,
    indices: HashSet<String>,
    id_is_indexed: bool,
    has_side: bool,
    has_meta: bool,
    is_recorded: bool,
    has_function: bool,
    /// The tables that tell of changes.
    triggers: HashSet<String>,
}

struct FoundColumn {
    name: String,
    kind: String,
    /// What its type is limited to, as the catalogue says it.
    modifier: i32,
    not_null: bool,
    has_default: bool,
}

type Asked<'a> = &'a [&'a (dyn ToSql + Sync)];

const OF_CLASS: &str = "from pg_catalog.pg_class c join pg_catalog.pg_namespace n \
     on n.oid = c.relnamespace";

const KINDS: &str = "select c.relname::text, c.relkind::text {} where n.nspname = $1 \
     and c.relname = any($2::text[])";

const COLUMNS: &str = "select a.attname::text, t.typname::text, a.atttypmod, a.attnotnull, \
     a.atthasdef or a.attidentity <> '' {} join pg_catalog.pg_attribute a on a.attrelid = c.oid \
     join pg_catalog.pg_type t on t.oid = a.atttypid where n.nspname = $1 and c.relname = $2 \
     and a.attnum > 0 and not a.attisdropped";

/// What an index has to be to find by id.
const OF_ID: &str = " and x.indpred is null and x.indisvalid and x.indkey[0] = \
     (select a.attnum from pg_catalog.pg_attribute a \
     where a.attrelid = c.oid and a.attname = 'id')";

fn of_index(condition: &str) -> String {
    format!(
        "select i.relname::text {OF_CLASS} join pg_catalog.pg_index x on x.indrelid = c.oid \
         join pg_catalog.pg_class i on i.oid = x.indexrelid \
         where n.nspname = $1 and c.relname = $2{condition}"
    )
}

fn names(rows: &[Row]) -> Result<HashSet<String>, StoreError> {
    rows.iter().map(|row| value(row, 0)).collect()
}

impl FoundColumn {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            name: value(row, 0)?,
            kind: value(row, 1)?,
            modifier: value(row, 2)?,
            not_null: value(row, 3)?,
            has_default: value(row, 4)?,
        })
    }
}

impl Found {
    async fn read(client: &Client, layout: &Layout) -> Result<Self, Fault> {
        let (schema, table, side) = (&layout.schema, &layout.table, layout.side_table());
        let asked = vec![table.as_str(), &side, "tokenkeep_meta"];
        let (asked, of_table): (Asked<'_>, Asked<'_>) = (&[schema, &asked], &[schema, table]);
        let (of_index, of_id) = (of_index(""), of_index(OF_ID));
        // All at once: a program that opens the store, asks one thing and ends waits for little else.
        let (kinds, columns, indices, of_id, (functions, triggers)) = try_join5(
            client.query(&KINDS.replace("{}", OF_CLASS), asked),
            client.query(&COLUMNS.replace("{}", OF_CLASS), of_table),
            client.query(&of_index, of_table),
            client.query(&of_id, of_table),
            try_join(
                client.query(notify::FUNCTIONS, &[schema]),
                client.query(notify::TRIGGERS, &[schema]),
            ),
        )
        .await?;
        let kinds: HashMap<String, String> = kinds
            .iter()
            .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
            .collect::<Result<_, StoreError>>()?;
        let columns = columns.iter().map(FoundColumn::read).collect::<Result<_, _>>()?;
        let has_meta = kinds.contains_key("tokenkeep_meta");
        Ok(Self {
            kind: kinds.get(table).cloned(),
            columns,
            indices: names(&indices)?,
            id_is_indexed: !of_id.is_empty(),
            has_side: kinds.contains_key(&side),
            has_meta,
            is_recorded: has_meta && recorded(client, layout).await?,
            has_function: !functions.is_empty(),
            triggers: names(&triggers)?,
        })
    }

    /// Whether all is there that has to be.
    fn is_usable(&self) -> bool {
        self.kind.is_some() && self.has_side && self.has_meta && self.is_recorded
    }

    /// The columns of the token table; `None` if there is no table.
    ///
    /// # Errors
    ///
    /// Corrupt, if it is not a table of tokens.
    fn columns(&self, table: &str) -> Result<Option<[Column; 10]>, StoreError> {
        let Some(kind) = &self.kind else { return Ok(None) };
        let wrong = |what: String| corrupt(format!("table {table} {what}"));
        if !["r", "p"].contains(&kind.as_str()) {
            return Err(wrong("is not a table, but a view or the like".to_owned())
                .with_hint("name another table"));
        }
        let mut columns = [TEXT; 10];
        for field in Field::ALL {
            let Some(found) = self.columns.iter().find(|column| column.name == field.name()) else {
                return Err(wrong(format!("has no column {field}")).with_hint(
                    "it is not one of tokens, or of an older SDK; name another table or add the \
                     column, as text",
                ));
            };
            if !["text", "varchar"].contains(&found.kind.as_str()) {
                return Err(wrong(format!("has a column {field} that is not text or varchar"))
                    .with_hint("the official layout has varchar there; name another table"));
            }
            // The catalogue counts the four bytes of a length in.
            let limit = usize::try_from(found.modifier - 4).ok();
            columns[field as usize] = Column { limit, nullable: !found.not_null };
        }
        let official = Field::ALL.map(Field::name);
        let demanding = self.columns.iter().find(|column| {
            column.not_null && !column.has_default && !official.contains(&column.name.as_str())
        });
        match demanding {
            Some(column) => Err(wrong(format!(
                "has a column {} that must not be null, beyond the official ones",
                column.name
            ))
            .with_hint("give that column a default, or name another table")),
            None => Ok(Some(columns)),
        }
    }
}

async fn recorded(client: &Client, layout: &Layout) -> Result<bool, Fault> {
    let sql =
        format!("select version from {} where token_table = $1", layout.named("tokenkeep_meta"));
    let Some(row) = client.query_opt(&sql, &[&layout.table]).await? else { return Ok(false) };
    let version: i32 = value(&row, 0)?;
    if version > VERSION {
        return Err(StoreError::new(
            StoreErrorKind::Unsupported,
            "a newer version of tokenkeep has changed this database",
        )
        .with_hint("update this program")
        .into());
    }
    Ok(true)
}
