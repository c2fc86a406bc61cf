//! Checks the token table, makes what is missing, and finds out how it is laid out.

use mysql_async::{Conn, Row, prelude::Queryable};
use tokenkeep_core::{Field, Outcome, StoreError, StoreErrorKind};

use crate::{
    MysqlConfig,
    error::{Fault, forbids_writing, is_made_already},
    layout::{
        Column, Generation, Layout, Limit, VERSION, create_side_tables, create_token_table,
        side_table,
    },
    rows::corrupt,
};

/// The layout of the tables in this database, made or completed first as far as this user may.
pub(crate) async fn prepare(conn: &mut Conn, config: &MysqlConfig) -> Result<Layout, Fault> {
    let table = &*config.table;
    let mut found = Found::read(conn, table).await?;
    if config.read_only {
        return found.as_it_is(table).map_err(Fault::from);
    }
    if found.columns.is_empty() {
        conn.query_drop(create_token_table(table)).await?;
        found = Found::read(conn, table).await?;
    }
    let (generation, columns) = found.columns(table)?;
    if generation != Generation::Current {
        return Ok(Layout::new(table, generation, columns, false));
    }
    found.check_keeping(table)?;
    let has_side = found.has_side || make_side(conn, table).await?;
    let mut layout = Layout::new(table, generation, columns, has_side);
    layout.reads_back = found.reads_back();
    if has_side {
        check_meta(conn, &layout).await?;
    }
    for (name, sql) in layout.indices() {
        let column = &layout.columns[field_of(&name) as usize];
        if !found.is_indexed(column.name) && !make_index(conn, &sql).await? {
            layout.missing_indices.push(column.name.to_owned());
        }
    }
    Ok(layout)
}

fn field_of(index: &str) -> Field {
    let name = index.trim_start_matches("tokenkeep_");
    Field::ALL.into_iter().find(|field| field.name() == name).unwrap_or(Field::Id)
}

/// Makes our tables; `false` if that may not be.
async fn make_side(conn: &mut Conn, table: &str) -> Result<bool, Fault> {
    for sql in create_side_tables(table) {
        match conn.query_drop(sql).await {
            Ok(()) => {}
            Err(error) if forbids_writing(&error) => {
                tracing::warn!("tokenkeep's own tables may not be made: the store is only read");
                return Ok(false);
            }
            Err(error) if is_made_already(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Makes an index; `false` if that cannot be. Finding is slow without it, and right.
async fn make_index(conn: &mut Conn, sql: &str) -> Result<bool, Fault> {
    match conn.query_drop(sql).await {
        Ok(()) => Ok(true),
        Err(error) if is_made_already(&error) => Ok(true),
        Err(error) if forbids_writing(&error) => Ok(false),
        Err(error) => match Fault::from(error) {
            Fault::Store(error) => {
                tracing::warn!(%error, "an index cannot be made: finding is slow without it");
                Ok(false)
            }
            passing @ (Fault::Passing(_) | Fault::Lost(_) | Fault::Stale(_)) => Err(passing),
        },
    }
}

/// Sees that our tables know this one, in a version that is known here, and the largest number
/// among its ids.
async fn check_meta(conn: &mut Conn, layout: &Layout) -> Result<(), Fault> {
    let mut meta: Option<(u32, u64)> = conn.query_first(&*layout.sql.meta).await?;
    if meta.is_none() {
        let [.., record] = create_side_tables(&layout.table);
        match conn.query_drop(record).await {
            Err(error) if forbids_writing(&error) => return Ok(()),
            recorded => recorded?,
        }
        meta = conn.query_first(&*layout.sql.meta).await?;
    }
    let Some((version, last_id)) = meta else { return Ok(()) };
    if version > VERSION {
        return Err(StoreError::new(
            StoreErrorKind::Unsupported,
            "a newer version of tokenkeep has changed this database",
        )
        .with_hint("update this program")
        .into());
    }
    let largest: Option<Option<u64>> = conn.query_first(&*layout.sql.largest_number).await?;
    let largest = largest.flatten().unwrap_or_default();
    if largest > last_id {
        match conn.exec_drop(&*layout.sql.raise, (largest,)).await {
            Err(error) if forbids_writing(&error) => {}
            raised => raised?,
        }
    }
    Ok(())
}

/// Whether the token table is there.
pub(crate) async fn is_there(conn: &mut Conn, table: &str) -> Result<bool, Fault> {
    Ok(!Found::read(conn, table).await?.columns.is_empty())
}

/// What there is of a token table.
struct Found {
    engine: Option<String>,
    columns: Vec<FoundColumn>,
    /// The columns that are the first of an index.
    indexed: Vec<String>,
    /// Whether the table has an id only once.
    has_key: bool,
    triggers: u64,
    has_side: bool,
}

struct FoundColumn {
    name: String,
    data_type: String,
    nullable: bool,
    /// Whether a row can be made without a value for it.
    is_filled: bool,
    characters: Option<u64>,
    bytes: Option<u64>,
    set: Option<String>,
    collation: Option<String>,
}

impl Found {
    /// The layout of a store that is only read.
    fn as_it_is(&self, table: &str) -> Result<Layout, StoreError> {
        if self.columns.is_empty() {
            let message = format!("the database has no table {table}");
            return Err(StoreError::new(StoreErrorKind::Unavailable, message)
                .with_outcome(Outcome::Final)
                .with_hint("correct the names of the database and the table"));
        }
        let (generation, columns) = self.columns(table)?;
        let has_side = self.has_side && generation == Generation::Current;
        let mut layout = Layout::new(table, generation, columns, has_side);
        layout.read_only = true;
        for (name, _) in layout.indices() {
            let column = &layout.columns[field_of(&name) as usize];
            if !self.is_indexed(column.name) {
                layout.missing_indices.push(column.name.to_owned());
            }
        }
        Ok(layout)
    }

    async fn read(conn: &mut Conn, table: &str) -> Result<Self, Fault> {
        let kind: Option<(String, Option<String>)> = conn
            .exec_first(
                "select table_type, engine from information_schema.tables \
                 where table_schema = database() and table_name = ?",
                (table,),
            )
            .await?;
        if let Some((kind, _)) = &kind
            && kind != "BASE TABLE"
        {
            return Err(corrupt(format!("{table} is not a table"))
                .with_hint("name another table")
                .into());
        }
        let rows: Vec<Row> = conn
            .exec(
                "select column_name, data_type, is_nullable, column_default, extra, \
                 character_maximum_length, character_octet_length, character_set_name, \
                 collation_name from information_schema.columns \
                 where table_schema = database() and table_name = ? order by ordinal_position",
                (table,),
            )
            .await?;
        let columns = rows.into_iter().map(found_column).collect::<Option<_>>();
        let columns = columns.ok_or_else(|| {
            Fault::Store(corrupt("the server describes the table in an unknown way"))
        })?;
        let indexed = conn
            .exec(
                "select lower(column_name) from information_schema.statistics \
                 where table_schema = database() and table_name = ? and seq_in_index = 1 \
                 and index_type = 'BTREE'",
                (table,),
            )
            .await?;
        let keys: Vec<(u64, String)> = conn
            .exec(
                "select count(*), min(lower(column_name)) from information_schema.statistics \
                 where table_schema = database() and table_name = ? and non_unique = 0 \
                 and sub_part is null group by index_name",
                (table,),
            )
            .await?;
        let triggers: Option<u64> = conn
            .exec_first(
                "select count(*) from information_schema.triggers \
                 where event_object_schema = database() and event_object_table = ?",
                (table,),
            )
            .await?;
        let ours: Option<u64> = conn
            .exec_first(
                "select count(*) from information_schema.tables \
                 where table_schema = database() and table_name in (?, 'tokenkeep_meta')",
                (side_table(table),),
            )
            .await?;
        Ok(Self {
            engine: kind.and_then(|(_, engine)| engine),
            columns,
            indexed,
            has_key: keys.iter().any(|(columns, first)| *columns == 1 && first == "id"),
            triggers: triggers.unwrap_or_default(),
            has_side: ours == Some(2),
        })
    }

    fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.column(name).is_some()
    }

    fn is_indexed(&self, column: &str) -> bool {
        self.indexed.iter().any(|indexed| indexed == column)
    }

    /// Without transactions, and with an id twice, nothing of what is promised holds.
    fn check_keeping(&self, table: &str) -> Result<(), StoreError> {
        let refused = |message: String, change: &str| {
            Err(StoreError::new(StoreErrorKind::Unsupported, message)
                .with_hint(format!("alter table {table} {change}")))
        };
        match self.engine.as_deref() {
            Some(engine) if !engine.eq_ignore_ascii_case("innodb") => refused(
                format!("table {table} is in an engine without transactions"),
                "engine = InnoDB",
            ),
            _ if !self.has_key => {
                refused(format!("id is no key of table {table}"), "add primary key (id)")
            }
            _ => Ok(()),
        }
    }

    /// Whether the table could keep another value than it is given.
    fn reads_back(&self) -> bool {
        self.triggers > 0
            || Field::ALL.into_iter().any(|field| {
                self.name_of(field)
                    .and_then(|name| self.column(name))
                    .is_some_and(|column| !column.is_exact_text())
            })
    }

    /// Whose table this is, and its ten columns.
    ///
    /// # Errors
    ///
    /// Corrupt, if it is not a table of tokens.
    fn columns(&self, table: &str) -> Result<(Generation, [Column; 10]), StoreError> {
        let old = if self.has("useridentifier") && self.has("refreshtoken") {
            Some(Generation::Zcrm)
        } else if self.has("user_mail") && self.has("id") && !self.has("client_secret") {
            Some(Generation::V1)
        } else if self.has("user_mail") && !self.has("user_name") && !self.has("api_domain") {
            let redirect = if self.has("redirect_uri") { "redirect_uri" } else { "redirect_url" };
            Some(Generation::V2 { redirect })
        } else {
            None
        };
        if let Some(generation) = old {
            // They are compared as what they are converted to.
            let columns = Field::ALL.map(|field| Column {
                foreign: Some(("utf8mb4".to_owned(), "utf8mb4_bin".to_owned())),
                ..Column::official(field)
            });
            return Ok((generation, columns));
        }
        let mut columns = Field::ALL.map(Column::official);
        for field in Field::ALL {
            let found = self.name_of(field).and_then(|name| Some((name, self.column(name)?)));
            let Some((name, column)) = found else {
                return Err(corrupt(format!("table {table} has no column {field}"))
                    .with_hint("the table is not one of tokens; name another table"));
            };
            if is_compared(field) && !column.is_text() {
                return Err(corrupt(format!("column {name} of table {table} is not of type text"))
                    .with_hint("the official layout has varchar there; name another table"));
            }
            columns[field as usize] = column.describe(name);
        }
        let demanding = self
            .columns
            .iter()
            .find(|column| !column.is_filled && !columns.iter().any(|c| c.name == column.name));
        if let Some(column) = demanding {
            return Err(corrupt(format!(
                "table {table} has a column {} that must not be null, beyond the official ones",
                column.name
            ))
            .with_hint("give that column a default, or name another table"));
        }
        Ok((Generation::Current, columns))
    }

    fn name_of(&self, field: Field) -> Option<&'static str> {
        let names: &[&'static str] = match field {
            Field::RedirectUrl => &["redirect_url", "redirect_uri"],
            Field::Id
            | Field::UserName
            | Field::ClientId
            | Field::ClientSecret
            | Field::RefreshToken
            | Field::AccessToken
            | Field::GrantToken
            | Field::ExpiryTime
            | Field::ApiDomain => &[field.name()],
        };
        names.iter().find(|name| self.has(name)).copied()
    }
}

/// The fields by which rows are found. Only text finds text.
fn is_compared(field: Field) -> bool {
    matches!(
        field,
        Field::Id | Field::UserName | Field::AccessToken | Field::GrantToken | Field::RefreshToken
    )
}

fn found_column(row: Row) -> Option<FoundColumn> {
    let text = |at: usize| row.get_opt::<Option<String>, _>(at)?.ok();
    let number = |at: usize| row.get_opt::<Option<u64>, _>(at)?.ok();
    let nullable = text(2)??.eq_ignore_ascii_case("yes");
    let extra = text(4)?.unwrap_or_default().to_ascii_lowercase();
    Some(FoundColumn {
        name: text(0)??.to_ascii_lowercase(),
        data_type: text(1)??.to_ascii_lowercase(),
        nullable,
        is_filled: nullable
            || text(3)?.is_some()
            || extra.contains("auto_increment")
            || extra.contains("generated"),
        characters: number(5)?,
        bytes: number(6)?,
        set: text(7)?,
        collation: text(8)?,
    })
}

impl FoundColumn {
    fn is_text(&self) -> bool {
        self.set.is_some() || self.data_type.ends_with("binary") || self.data_type.ends_with("blob")
    }

    /// Whether what is read is what was written, with all its blanks.
    fn is_exact_text(&self) -> bool {
        self.data_type == "varchar" || self.data_type.ends_with("text")
    }

    fn describe(&self, name: &'static str) -> Column {
        let limit = match (self.characters, self.bytes) {
            (Some(characters), _) if self.data_type == "varchar" => Limit::Characters(characters),
            (_, Some(bytes)) => Limit::Bytes(bytes),
            (Some(characters), None) => Limit::Characters(characters),
            (None, None) => Limit::None,
        };
        let named = |text: &String| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                .then(|| text.clone())
        };
        let set = self.set.as_ref().and_then(named);
        Column {
            name,
            nullable: self.nullable,
            limit,
            foreign: set
                .filter(|set| set != "utf8mb4")
                .and_then(|set| Some((set, self.collation.as_ref().and_then(named)?))),
        }
    }
}
