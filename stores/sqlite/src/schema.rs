//! Checks the token table, makes what is missing, and finds out how it is laid out.

use std::collections::HashSet;

use rusqlite::Connection;
use tokenkeep_core::{Field, StoreError, StoreErrorKind};

use crate::{
    error::{Fault, corrupt},
    layout::{
        Beside, Column, Layout, VERSION, add_lease_ttl, create_side_tables, create_token_table,
    },
};

/// The layout of the tables in this database, made or completed first unless `read_only`.
pub(crate) fn prepare(
    connection: &Connection,
    table: &str,
    read_only: bool,
) -> Result<Layout, Fault> {
    let found = Found::read(connection, table)?;
    if read_only {
        let layout = found.layout(table)?;
        return layout.ok_or_else(|| {
            Fault::Store(
                corrupt(format!("the database has no table {table}"))
                    .with_hint("check the path and the table's name"),
            )
        });
    }
    if let Some(layout) = found.complete(table)? {
        return Ok(layout);
    }
    connection.execute_batch("begin immediate")?;
    let made = make(connection, table);
    let ended = connection.execute_batch(if made.is_ok() { "commit" } else { "rollback" });
    let layout = made?;
    ended?;
    Ok(layout)
}

/// Makes what is missing, inside a transaction: another process may have been faster.
fn make(connection: &Connection, table: &str) -> Result<Layout, Fault> {
    let mut found = Found::read(connection, table)?;
    if found.columns.is_empty() {
        connection.execute_batch(&create_token_table(table))?;
        found = Found::read(connection, table)?;
    }
    let mut layout = found.layout(table)?.unwrap_or_else(|| Layout::official(table));
    if !found.has(Field::ApiDomain) {
        // The v2 SDKs' tables, completed as their successors complete a file: at the end.
        connection.execute_batch(&format!(
            "alter table \"{table}\" add column api_domain varchar(255)"
        ))?;
        found = Found::read(connection, table)?;
        layout = found.layout(table)?.unwrap_or_else(|| Layout::official(table));
    }
    connection.execute_batch(&create_side_tables(&layout))?;
    if found.beside == Beside::WithoutTtl {
        connection.execute_batch(&add_lease_ttl(&layout))?;
    }
    let mut indices = layout.indices();
    if !found.id_is_indexed {
        indices.push(layout.id_index());
    }
    for (name, sql) in indices {
        if !found.indices.contains(&name) {
            connection.execute_batch(&sql)?;
        }
    }
    let layout = Found::read(connection, table)?.layout(table)?;
    Ok(layout.unwrap_or_else(|| Layout::official(table)))
}

/// Whether the table keeps every text as it is written: it has no triggers, and all its columns are
/// of type text. What others have made of it may be another thing each time.
pub(crate) fn keeps_texts(connection: &Connection, table: &str) -> Result<bool, Fault> {
    let triggers = "select 1 from sqlite_schema where type = 'trigger' \
                    and tbl_name = ?1 collate nocase";
    if connection.prepare_cached(triggers)?.exists([table])? {
        return Ok(false);
    }
    let mut types =
        connection.prepare_cached("select upper(type) from pragma_table_info(?1) limit 10")?;
    let mut types = types.query([table])?;
    while let Some(row) = types.next()? {
        if !has_text_affinity(&row.get::<_, String>(0)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What there is of a token table.
struct Found {
    columns: Vec<FoundColumn>,
    indices: HashSet<String>,
    /// Whether an index finds ids byte by byte.
    id_is_indexed: bool,
    beside: Beside,
    is_recorded: bool,
}

struct FoundColumn {
    name: String,
    is_text: bool,
    not_null: bool,
    has_default: bool,
}

impl Found {
    fn read(connection: &Connection, table: &str) -> Result<Self, Fault> {
        let kind = connection
            .prepare("select type from sqlite_schema where name = ?1 collate nocase")?
            .query_map([table], |row| row.get::<_, String>(0))?
            .next()
            .transpose()?;
        if let Some(kind) = kind.filter(|kind| kind != "table") {
            return Err(corrupt(format!("{table} is not a table but of type {kind}"))
                .with_hint("name another table")
                .into());
        }
        let columns = connection
            .prepare(
                "select name, upper(type), \"notnull\", dflt_value is not null \
                 from pragma_table_info(?1)",
            )?
            .query_map([table], |row| {
                let declared: String = row.get(1)?;
                Ok(FoundColumn {
                    name: row.get::<_, String>(0)?.to_ascii_lowercase(),
                    is_text: has_text_affinity(&declared),
                    not_null: row.get(2)?,
                    has_default: row.get(3)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        let indices = connection
            .prepare("select name from pragma_index_list(?1)")?
            .query_map([table], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let id_is_indexed = connection
            .prepare(
                "select 1 from pragma_index_list(?1) l, pragma_index_xinfo(l.name) x \
                 where not l.partial and x.seqno = 0 and lower(x.name) = 'id' \
                 and x.coll = 'BINARY'",
            )?
            .exists([table])?;
        let side = Layout::official(table).side;
        let mut exists = connection.prepare("select 1 from sqlite_schema where name = ?1")?;
        let has_ttl = connection
            .prepare("select 1 from pragma_table_info(?1) where name = 'lease_ttl'")?
            .exists([side.as_str()])?;
        let beside = match exists.exists([side.as_str()])? {
            false => Beside::Nothing,
            true if has_ttl => Beside::Whole,
            true => Beside::WithoutTtl,
        };
        let is_recorded = exists.exists(["tokenkeep_meta"])? && recorded(connection, table)?;
        Ok(Self { columns, indices, id_is_indexed, beside, is_recorded })
    }

    fn has(&self, field: Field) -> bool {
        self.name_of(field).is_some()
    }

    /// The layout, if nothing is missing.
    fn complete(&self, table: &str) -> Result<Option<Layout>, Fault> {
        let Some(layout) = self.layout(table)? else { return Ok(None) };
        let complete = self.has(Field::ApiDomain)
            && self.beside == Beside::Whole
            && self.is_recorded
            && (self.id_is_indexed || self.indices.contains(&layout.id_index().0))
            && layout.indices().iter().all(|(name, _)| self.indices.contains(name));
        Ok(complete.then_some(layout))
    }

    /// The layout of the columns; `None` if there is no table.
    ///
    /// # Errors
    ///
    /// Corrupt, if it is not a table of tokens, or one of the v1 SDKs.
    fn layout(&self, table: &str) -> Result<Option<Layout>, StoreError> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let has = |name: &str| self.columns.iter().any(|column| column.name == name);
        if has("user_mail") && has("id") && !has("client_secret") {
            return Err(corrupt(format!(
                "table {table} is of a v1 SDK, which kept no client secret"
            ))
            .with_hint("open another database or name another table, and log in again"));
        }
        if has("useridentifier") && has("refreshtoken") {
            return Err(corrupt(format!("table {table} is of the SDK before v1"))
                .with_hint("open another database or name another table, and log in again"));
        }
        let mut columns = [Column { name: None, nullable: true, in_place: false }; 10];
        for field in Field::ALL {
            let Some(name) = self.name_of(field) else {
                if field == Field::ApiDomain {
                    continue;
                }
                return Err(corrupt(format!("table {table} has no column {field}"))
                    .with_hint("the table is not one of tokens; name another table"));
            };
            let Some(at) = self.columns.iter().position(|column| column.name == name) else {
                continue;
            };
            let column = &self.columns[at];
            if is_compared(field) && !column.is_text {
                return Err(corrupt(format!("column {name} of table {table} is not of type text"))
                    .with_hint("the official layout has varchar there; name another table"));
            }
            columns[field as usize] = Column {
                name: Some(name),
                nullable: !column.not_null,
                in_place: at == field as usize,
            };
        }
        let ours: HashSet<_> = columns.iter().filter_map(|column| column.name).collect();
        let demanding = self.columns.iter().find(|column| {
            column.not_null && !column.has_default && !ours.contains(column.name.as_str())
        });
        if let Some(column) = demanding {
            return Err(corrupt(format!(
                "table {table} has a column {} that must not be null, beyond the official ones",
                column.name
            ))
            .with_hint("give that column a default, or name another table"));
        }
        Ok(Some(Layout::new(table, columns, self.beside)))
    }

    /// What this table calls a field: the v2 SDKs and the SDKs' files have other names for two.
    fn name_of(&self, field: Field) -> Option<&'static str> {
        let names: &[&'static str] = match field {
            Field::UserName => &["user_name", "user_mail"],
            Field::RedirectUrl => &["redirect_url", "redirect_uri"],
            Field::Id
            | Field::ClientId
            | Field::ClientSecret
            | Field::RefreshToken
            | Field::AccessToken
            | Field::GrantToken
            | Field::ExpiryTime
            | Field::ApiDomain => &[field.name()],
        };
        names.iter().find(|name| self.columns.iter().any(|column| column.name == **name)).copied()
    }
}

fn recorded(connection: &Connection, table: &str) -> Result<bool, Fault> {
    let version = connection
        .prepare("select version from tokenkeep_meta where token_table = ?1")?
        .query_map([table], |row| row.get::<_, u32>(0))?
        .next()
        .transpose()?;
    match version {
        Some(version) if version > VERSION => Err(StoreError::new(
            StoreErrorKind::Unsupported,
            "a newer version of tokenkeep has changed this database",
        )
        .with_hint("update this program")
        .into()),
        version => Ok(version.is_some()),
    }
}

/// The fields by which rows are found. Only text finds text.
fn is_compared(field: Field) -> bool {
    matches!(
        field,
        Field::Id | Field::UserName | Field::AccessToken | Field::GrantToken | Field::RefreshToken
    )
}

/// SQLite's rule for what a declared type means.
fn has_text_affinity(declared: &str) -> bool {
    !declared.contains("INT") && ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word))
}
