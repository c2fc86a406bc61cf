//! [`Layout`]: how the token table of this database is laid out, and the statements that follow
//! from it.

use std::fmt::Write;

use tokenkeep_core::{Field, MAX_ID, matching::KEYS};

/// The columns beyond which nothing of a field is known: its name, and whether it can be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name in this database; `None` if it is not there and may not be added.
    pub(crate) name: Option<&'static str>,
    pub(crate) nullable: bool,
    /// Whether it stands where the official layout has it.
    pub(crate) in_place: bool,
}

/// A token table and the statements on it and its side tables.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) table: String,
    pub(crate) side: String,
    pub(crate) beside: Beside,
    columns: [Column; 10],
    pub(crate) sql: Sql,
}

/// What there is of our table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// One of the first form, which did not say for how long a lease was taken.
    WithoutTtl,
    Whole,
}

/// Statements, written once for a layout.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) all: String,
    pub(crate) by_id: String,
    by_user: String,
    by_access: String,
    by_grant: String,
    by_refresh: String,
    pub(crate) insert: String,
    /// Whether a row has any of the values of [`KEYS`], which are given in their order.
    pub(crate) any_in_common: String,
    pub(crate) delete: String,
    pub(crate) delete_all: String,
    pub(crate) largest_number: String,
    /// Metadata of numeric ids from `?1` on (exclusive), at most `?2`.
    pub(crate) page_numbers: String,
    /// Metadata of text ids from `?1` on (exclusive), at most `?2`.
    pub(crate) page_texts: String,
    /// All tokens in no order, and what is beside them.
    pub(crate) entries: String,
    /// Tokens of numeric ids from `?1` on (exclusive), and what is beside them.
    pub(crate) entry_numbers: String,
    /// Tokens of text ids from `?1` on (exclusive), and what is beside them.
    pub(crate) entry_texts: String,
    /// How many rows have no id.
    pub(crate) nameless: String,
    pub(crate) meta_read: String,
    pub(crate) meta_raise: String,
    pub(crate) side_any: String,
    pub(crate) side_read: String,
    pub(crate) side_state: String,
    pub(crate) side_lease: String,
    pub(crate) side_subject: String,
    pub(crate) side_delete: String,
    pub(crate) side_delete_all: String,
}

impl Layout {
    pub(crate) fn new(table: &str, columns: [Column; 10], beside: Beside) -> Self {
        let side = side_table(table);
        let sql = Sql::new(table, &side, &columns, beside);
        Self { table: table.to_owned(), side, beside, columns, sql }
    }

    pub(crate) fn official(table: &str) -> Self {
        let columns = Field::ALL.map(|field| Column {
            name: Some(field.name()),
            nullable: field != Field::Id,
            in_place: true,
        });
        Self::new(table, columns, Beside::Whole)
    }

    /// What absence is written as: null, or where the table forbids that, empty text.
    pub(crate) fn absent(&self, field: Field) -> Option<&'static str> {
        (!self.columns[field as usize].nullable).then_some("")
    }

    /// A field's column in a statement.
    pub(crate) fn column(&self, field: Field) -> String {
        self.columns[field as usize].name.map_or("null".to_owned(), |name| format!("\"{name}\""))
    }

    /// Sets `fields` of the row `?1`, in their order from `?2` on.
    pub(crate) fn update(&self, fields: &[Field]) -> String {
        let mut sql = format!("update \"{}\" set ", self.table);
        for (at, field) in fields.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let name = self.columns[*field as usize].name.unwrap_or_else(|| field.name());
            // Writing to a string cannot fail.
            _ = write!(sql, "{comma}\"{name}\" = ?{}", at + 2);
        }
        sql.push_str(" where \"id\" = ?1 collate binary");
        sql
    }

    /// The indices that the statements need: name and definition.
    pub(crate) fn indices(&self) -> Vec<(String, String)> {
        let table = &self.table;
        let number = number_of("");
        let numeric = numeric("");
        let text = textual("");
        let mut indices = Vec::with_capacity(6);
        let mut add = |suffix: &str, what: String| {
            let name = format!("tokenkeep_{table}_{suffix}");
            let sql = format!("create index if not exists \"{name}\" on \"{table}\" {what}");
            indices.push((name, sql));
        };
        for field in [Field::UserName, Field::AccessToken, Field::GrantToken, Field::RefreshToken] {
            if let Some(column) = self.columns[field as usize].name {
                add(field.name(), format!("(\"{column}\" collate binary)"));
            }
        }
        add("number", format!("({number}) where {numeric}"));
        add("text", format!("(\"id\" collate binary) where {text}"));
        indices
    }

    /// An index on the id, for tables whose primary key does not serve byte by byte.
    pub(crate) fn id_index(&self) -> (String, String) {
        let name = format!("tokenkeep_{}_id", self.table);
        let sql = format!(
            "create index if not exists \"{name}\" on \"{}\" (\"id\" collate binary)",
            self.table
        );
        (name, sql)
    }
}

/// Our table for a token table. A database can hold several.
fn side_table(table: &str) -> String {
    if table == "oauthtoken" {
        "tokenkeep_state".to_owned()
    } else {
        format!("tokenkeep_state_{table}")
    }
}

/// Tokens' tables as the SDKs define it.
pub(crate) fn create_token_table(table: &str) -> String {
    format!(
        "create table \"{table}\" (id varchar(10) NOT NULL, user_name varchar(255), \
         client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
         access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
         redirect_url varchar(255), api_domain varchar(255), primary key (id))"
    )
}

/// Completes our table of the first form.
pub(crate) fn add_lease_ttl(layout: &Layout) -> String {
    format!("alter table \"{}\" add column lease_ttl integer", layout.side)
}

pub(crate) fn create_side_tables(layout: &Layout) -> String {
    format!(
        "create table if not exists \"{}\" (token_id text not null primary key, user_name text, \
         client_id text, state text, lease_holder text, lease_generation integer, \
         lease_until integer, lease_ttl integer) without rowid;
         create table if not exists tokenkeep_meta (token_table text not null primary key, \
         version integer not null, last_id integer not null) without rowid;
         insert or ignore into tokenkeep_meta (token_table, version, last_id) \
         values ('{}', {VERSION}, 0);",
        layout.side, layout.table
    )
}

/// The version of our tables that this code writes.
pub(crate) const VERSION: u32 = 1;

fn number_of(alias: &str) -> String {
    format!("cast({alias}\"id\" as integer)")
}

/// Whether the id is a number as ids are given: digits only, no sign, no leading zero.
fn numeric(alias: &str) -> String {
    let number = number_of(alias);
    format!("{number} >= 0 and {alias}\"id\" = cast({number} as text)")
}

/// Whether the id is anything else.
pub(crate) fn textual(alias: &str) -> String {
    let number = number_of(alias);
    format!("({number} < 0 or {alias}\"id\" <> cast({number} as text))")
}

impl Sql {
    /// The rows that have this value in this field, one of those that are looked up.
    pub(crate) fn by(&self, field: Field) -> Option<&str> {
        match field {
            Field::Id => Some(&self.by_id),
            Field::UserName => Some(&self.by_user),
            Field::AccessToken => Some(&self.by_access),
            Field::GrantToken => Some(&self.by_grant),
            Field::RefreshToken => Some(&self.by_refresh),
            Field::ClientId
            | Field::ClientSecret
            | Field::ExpiryTime
            | Field::RedirectUrl
            | Field::ApiDomain => None,
        }
    }

    fn new(table: &str, side: &str, columns: &[Column; 10], beside: Beside) -> Self {
        let column = |alias: &str, field: Field| match columns[field as usize].name {
            Some(name) => format!("{alias}\"{name}\""),
            None => "null".to_owned(),
        };
        // Statements are looked up by their text at each use, so the short form is the faster one.
        let listed = if columns.iter().all(|column| column.in_place) {
            "*".to_owned()
        } else {
            Field::ALL.map(|field| column("", field)).join(", ")
        };
        let select = format!("select {listed} from \"{table}\"");
        let is = |field, at: u8| format!("{} = ?{at} collate binary", column("", field));
        let by = |field| format!("{select} where {}", is(field, 1));
        let names: Vec<_> = columns.iter().filter_map(|column| column.name).collect();
        let names = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let places = (1..=columns.iter().filter(|c| c.name.is_some()).count())
            .map(|at| format!("?{at}"))
            .collect::<Vec<_>>()
            .join(", ");

        // Secrets are asked for by their presence only.
        let there = |field| {
            let column = column("t.", field);
            format!("{column} is not null and {column} <> ''")
        };
        let (state, join) = match beside {
            Beside::Nothing => ("null, null, null", String::new()),
            Beside::WithoutTtl | Beside::Whole => (
                "s.user_name, s.client_id, s.state",
                format!(" left join \"{side}\" s on s.token_id = t.\"id\""),
            ),
        };
        let lease_ttl = if beside == Beside::Whole { "lease_ttl" } else { "null" };
        let page = format!(
            "select {}, {}, {}, {}, {}, {}, {}, {}, {}, {state} from \"{table}\" t{join}",
            column("t.", Field::Id),
            column("t.", Field::UserName),
            column("t.", Field::ClientId),
            column("t.", Field::ApiDomain),
            column("t.", Field::ExpiryTime),
            there(Field::AccessToken),
            there(Field::RefreshToken),
            there(Field::GrantToken),
            there(Field::ClientSecret),
        );
        let listed = Field::ALL.map(|field| column("t.", field)).join(", ");
        let entry = format!("select {listed}, {state} from \"{table}\" t{join}");
        let number = number_of("");
        let page_number = number_of("t.");
        let after_number =
            format!("where {} and {page_number} > ?1 order by {page_number}", numeric("t."));
        let after_text = format!(
            "where {} and t.\"id\" > ?1 collate binary order by t.\"id\" collate binary",
            textual("t.")
        );
        let has = |(at, field): (usize, &Field)| {
            let column = column("", *field);
            format!(
                "exists (select 1 from \"{table}\" where {column} = ?{} collate binary)",
                at + 1
            )
        };
        let any_in_common = KEYS.iter().enumerate().map(has).collect::<Vec<_>>().join(" or ");
        let subject = "user_name = excluded.user_name, client_id = excluded.client_id";
        Self {
            by_id: by(Field::Id),
            by_user: by(Field::UserName),
            by_access: by(Field::AccessToken),
            by_grant: by(Field::GrantToken),
            by_refresh: by(Field::RefreshToken),
            all: select,
            insert: format!("insert into \"{table}\" ({names}) values ({places})"),
            any_in_common: format!("select 1 where {any_in_common}"),
            delete: format!("delete from \"{table}\" where \"id\" = ?1 collate binary"),
            delete_all: format!("delete from \"{table}\""),
            largest_number: format!(
                "select {number} from \"{table}\" where {} and {number} <= {MAX_ID} \
                 order by {number} desc limit 1",
                numeric("")
            ),
            page_numbers: format!("{page} {after_number} limit ?2"),
            page_texts: format!("{page} {after_text} limit ?2"),
            entry_numbers: format!("{entry} {after_number}"),
            entry_texts: format!("{entry} {after_text}"),
            entries: entry,
            nameless: format!(
                "select count(*) from \"{table}\" \
                 where \"id\" is null or \"id\" = '' collate binary"
            ),
            meta_read: format!("select last_id from tokenkeep_meta where token_table = '{table}'"),
            meta_raise: format!(
                "update tokenkeep_meta set last_id = ?1 \
                 where token_table = '{table}' and last_id < ?1"
            ),
            side_any: format!("select 1 from \"{side}\" limit 1"),
            side_read: format!(
                "select user_name, client_id, state, lease_holder, lease_generation, lease_until, \
                 {lease_ttl} from \"{side}\" where token_id = ?1"
            ),
            side_state: format!(
                "insert into \"{side}\" (token_id, user_name, client_id, state) \
                 values (?1, ?2, ?3, ?4) on conflict (token_id) do update set {subject}, \
                 state = excluded.state"
            ),
            side_lease: format!(
                "insert into \"{side}\" \
                 (token_id, user_name, client_id, lease_holder, lease_generation, lease_until, \
                 lease_ttl) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 on conflict (token_id) do update set {subject}, \
                 lease_holder = excluded.lease_holder, \
                 lease_generation = excluded.lease_generation, \
                 lease_until = excluded.lease_until, lease_ttl = excluded.lease_ttl"
            ),
            side_subject: format!(
                "update \"{side}\" set user_name = ?2, client_id = ?3 where token_id = ?1"
            ),
            side_delete: format!("delete from \"{side}\" where token_id = ?1"),
            side_delete_all: format!("delete from \"{side}\""),
        }
    }
}
