//! [`Layout`]: how the token table of this database is laid out, and the statements that follow
//! from it.

use tokenkeep_core::{Field, FieldError, OAuthToken, StoreError, StoreErrorKind};

/// A token table, our table beside it, and the statements on both.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) table: String,
    pub(crate) side: String,
    pub(crate) generation: Generation,
    /// Whether our tables are there.
    pub(crate) has_side: bool,
    /// Whether the store is only read.
    pub(crate) read_only: bool,
    /// Whether the table might keep another value than it was given, so that what is written is
    /// read back: it has triggers, or columns of other types than the official ones.
    pub(crate) reads_back: bool,
    /// The indices that are missing and may not be made.
    pub(crate) missing_indices: Vec<String>,
    pub(crate) columns: [Column; 10],
    pub(crate) sql: Sql,
}

/// Whose table it is. Those of old SDKs are read, for moving what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The ten columns of the v8 SDKs.
    Current,
    /// `user_mail`, no `api_domain`, and a URL of this name.
    V2 { redirect: &'static str },
    /// Numbers for ids, no client's secret.
    V1,
    /// `oauthtokens`, without ids.
    Zcrm,
}

impl Generation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Current => "v8 SDKs",
            Self::V2 { .. } => "v2 SDKs",
            Self::V1 => "v1 SDKs",
            Self::Zcrm => "zcrm SDKs",
        }
    }

    /// What is selected from: the table, or a view of an old one as if it were of today.
    pub(crate) fn source(self, table: &str) -> String {
        match self {
            Self::Current => format!("`{table}`"),
            Self::V2 { redirect } => format!(
                "(select id, user_mail as user_name, client_id, client_secret, refresh_token, \
                 access_token, grant_token, expiry_time, {redirect} as redirect_url, \
                 null as api_domain from `{table}`)"
            ),
            Self::V1 => format!(
                "(select cast(id as char) as id, user_mail as user_name, client_id, \
                 null as client_secret, refresh_token, access_token, grant_token, expiry_time, \
                 null as redirect_url, null as api_domain from `{table}`)"
            ),
            // They are numbered in their order.
            Self::Zcrm => format!(
                "(select cast(row_number() over (order by useridentifier, refreshtoken) as char) \
                 as id, useridentifier as user_name, null as client_id, null as client_secret, \
                 refreshtoken as refresh_token, accesstoken as access_token, \
                 null as grant_token, expirytime as expiry_time, null as redirect_url, \
                 null as api_domain from `{table}`)"
            ),
        }
    }
}

/// What a field's column can hold.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) nullable: bool,
    pub(crate) limit: Limit,
    /// The character set and collation, where the set is not `utf8mb4`.
    pub(crate) foreign: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    Characters(u64),
    Bytes(u64),
}

impl Column {
    pub(crate) const fn official(field: Field) -> Self {
        let characters = match field {
            Field::Id => 10,
            Field::ExpiryTime => 20,
            Field::UserName
            | Field::ClientId
            | Field::ClientSecret
            | Field::RefreshToken
            | Field::AccessToken
            | Field::GrantToken
            | Field::RedirectUrl
            | Field::ApiDomain => 255,
        };
        Self {
            name: field.name(),
            nullable: !matches!(field, Field::Id),
            limit: Limit::Characters(characters),
            foreign: None,
        }
    }
}

/// Statements, written once for a layout.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) all: String,
    by: [Option<String>; 10],
    /// The token with this id and what is beside it; the id is given twice.
    pub(crate) with_beside: String,
    pub(crate) insert: String,
    /// The id is given three times: for our table, and twice for the token's.
    pub(crate) delete: String,
    pub(crate) raise_for: String,
    pub(crate) largest_number: String,
    /// The version of our tables, and the largest number that was given.
    pub(crate) meta: String,
    /// Remembers a number that is not above those that are given.
    pub(crate) raise: String,
    /// The metadata of tokens, and what is beside each.
    pub(crate) metadata: String,
    /// All columns of tokens, and what is beside each.
    pub(crate) entries: String,
    /// How long the longest id is that is a number.
    pub(crate) longest_number: String,
    /// How many rows have no id.
    pub(crate) nameless: String,
    /// How many rows of our table have no token.
    pub(crate) orphans: String,
}

impl Layout {
    pub(crate) fn new(
        table: &str,
        generation: Generation,
        columns: [Column; 10],
        has_side: bool,
    ) -> Self {
        let side = side_table(table);
        let source = generation.source(table);
        let sql = Sql::new(table, &source, &columns, has_side.then_some(&*side));
        Self {
            table: table.to_owned(),
            side,
            generation,
            has_side,
            read_only: false,
            reads_back: false,
            missing_indices: Vec::new(),
            columns,
            sql,
        }
    }

    /// The rows that have this value in `field`, and perhaps others that its collation counts as
    /// equal: the caller compares again.
    pub(crate) fn by(&self, field: Field) -> Option<&str> {
        self.sql.by[field as usize].as_deref()
    }

    /// What absence is written as: null, or where the table forbids that, empty text.
    pub(crate) fn absent(&self, field: Field) -> Option<&'static str> {
        (!self.columns[field as usize].nullable).then_some("")
    }

    /// Refuses to write to what is only read.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        if self.generation != Generation::Current {
            return Err(StoreError::new(
                StoreErrorKind::Unsupported,
                format!("table {} is of the {}, and only read", self.table, self.generation.name()),
            )
            .with_hint("tokenkeep migrate, from this table to another one"));
        }
        if self.read_only {
            return Err(StoreError::new(
                StoreErrorKind::PermissionDenied,
                "the store was opened read-only",
            )
            .with_hint("open it for writing"));
        }
        if !self.has_side {
            return Err(StoreError::new(
                StoreErrorKind::PermissionDenied,
                "tokenkeep's own tables are not there, and this user may not make them",
            )
            .with_hint(
                "grant create on the database to this user, or open the store once as one \
                        who has it",
            ));
        }
        Ok(())
    }

    /// Refuses values that their columns cannot hold.
    pub(crate) fn check(&self, token: &OAuthToken) -> Result<(), StoreError> {
        self.check_writable()?;
        for (field, value) in Field::ALL.into_iter().zip(token.expose_columns()) {
            let Some(value) = value else { continue };
            let column = &self.columns[field as usize];
            let too_long = match column.limit {
                Limit::None => None,
                Limit::Characters(limit) => {
                    (value.chars().count() as u64 > limit).then(|| format!("{limit} characters"))
                }
                Limit::Bytes(limit) => {
                    (value.len() as u64 > limit).then(|| format!("{limit} bytes"))
                }
            };
            let wrong = if let Some(limit) = too_long {
                Some((format!("must not be longer than {limit}"), "widen that column"))
            } else if !fits(column, &value) {
                let set = column.foreign.as_ref().map_or("", |(set, _)| set);
                Some((
                    format!("has characters that the column's character set {set} cannot hold"),
                    "alter table … convert to character set utf8mb4",
                ))
            } else {
                None
            };
            if let Some((rule, way_out)) = wrong {
                return Err(FieldError::new(field, rule, way_out).into());
            }
        }
        Ok(())
    }

    /// Sets `fields` of the row with an id: their values in order, then the id twice.
    pub(crate) fn update(&self, fields: &[Field]) -> String {
        format!("update `{}` t set {} where {}", self.table, self.assignments(fields), self.is_id())
    }

    pub(crate) fn assignments(&self, fields: &[Field]) -> String {
        let assignment = |field: &Field| format!("t.`{}` = ?", self.columns[*field as usize].name);
        fields.iter().map(assignment).collect::<Vec<_>>().join(", ")
    }

    /// Whether a row has an id, which is given twice: for the index, and byte by byte.
    pub(crate) fn is_id(&self) -> String {
        is_id(&self.columns)
    }

    /// Whether all fields of a row still are as they were read.
    pub(crate) fn is_unchanged(&self) -> String {
        self.columns
            .iter()
            .map(|column| same(&format!("t.`{}`", column.name)))
            .collect::<Vec<_>>()
            .join(" and ")
    }

    /// Begins a transaction that has its turn, and reads the largest number that was given.
    pub(crate) fn begin(&self, turn: u64) -> String {
        let meta = format!("token_table = '{}'", self.table);
        format!(
            "start transaction; update tokenkeep_meta set turn = {turn} where {meta}; \
             select last_id from tokenkeep_meta where {meta}"
        )
    }

    /// Remembers the largest number, if the turn still is this one, and commits.
    pub(crate) fn end(&self, turn: u64, last_id: u64) -> String {
        format!(
            "update tokenkeep_meta set last_id = greatest(last_id, {last_id}) \
             where token_table = '{}' and turn = {turn}; commit",
            self.table
        )
    }

    /// Locks the rows that have one of the values of these fields, and reads them. A row may come
    /// several times.
    pub(crate) fn candidates(&self, fields: &[Field]) -> String {
        let part = |field: &Field| self.by(*field).map(|sql| format!("({sql} for update)"));
        fields.iter().filter_map(part).collect::<Vec<_>>().join(" union all ")
    }

    /// Reads who had the last turn, in the first column of one row, and behind that column the rows
    /// that have one of the values of these fields.
    pub(crate) fn glance(&self, fields: &[Field]) -> String {
        let mut sql = format!(
            "(select m.turn{} from tokenkeep_meta m where m.token_table = '{}')",
            ", null".repeat(Field::ALL.len()),
            self.table
        );
        for part in fields.iter().filter_map(|field| self.by(*field)) {
            sql.push_str(&part.replacen("select ", " union all (select null, ", 1));
            sql.push(')');
        }
        sql
    }

    /// Sets `fields` of a row that is as it was read, if the last turn is as it was read, and is a
    /// turn itself: the next one, the id's number, the fields' values, the last turn, the id twice,
    /// and all ten columns. Our row is locked first, as whoever waits for a turn does.
    pub(crate) fn write_in_turn(&self, fields: &[Field]) -> String {
        format!(
            "update tokenkeep_meta m straight_join `{table}` t \
             set m.turn = ?, m.last_id = greatest(m.last_id, ?), {} \
             where m.token_table = '{table}' and m.turn = ? and {} and {}",
            self.assignments(fields),
            self.is_id(),
            self.is_unchanged(),
            table = self.table
        )
    }

    /// Locks the rows that have one of so many values in `field`, and reads them.
    pub(crate) fn among(&self, field: Field, count: usize) -> String {
        let column = &self.columns[field as usize];
        let places = vec![place(column); count].join(", ");
        format!("{} where t.`{}` in ({places}) for update", self.sql.all, column.name)
    }

    /// The indices that finding needs: name and definition. They are of the first characters, so
    /// that they fit into every row format; nearly all values are shorter.
    pub(crate) fn indices(&self) -> Vec<(String, String)> {
        const FIRST: u64 = 190;
        [Field::UserName, Field::AccessToken, Field::RefreshToken, Field::GrantToken]
            .into_iter()
            .map(|field| {
                let column = &self.columns[field as usize];
                let name = format!("tokenkeep_{}", field.name());
                let first = match column.limit {
                    Limit::Characters(limit) if limit <= FIRST => String::new(),
                    Limit::None | Limit::Characters(_) | Limit::Bytes(_) => format!("({FIRST})"),
                };
                let column = column.name;
                let sql = format!("create index `{name}` on `{}` (`{column}`{first})", self.table);
                (name, sql)
            })
            .collect()
    }
}

/// Whether the column's character set has all characters of a value, as far as that is known here;
/// the server says the rest.
fn fits(column: &Column, value: &str) -> bool {
    match column.foreign.as_ref().map(|(set, _)| set.as_str()) {
        Some("ascii") => value.is_ascii(),
        Some("utf8" | "utf8mb3" | "ucs2") => value.chars().all(|c| u32::from(c) <= 0xffff),
        Some("latin1") => value.chars().all(|c| u32::from(c) <= 0xff || WINDOWS_1252.contains(c)),
        Some(_) | None => true,
    }
}

/// What is called latin1 is Windows-1252; these are its characters beyond the first 256.
const WINDOWS_1252: &str = "\u{20ac}\u{201a}\u{192}\u{201e}\u{2026}\u{2020}\u{2021}\u{2c6}\u{2030}\
     \u{160}\u{2039}\u{152}\u{17d}\u{2018}\u{2019}\u{201c}\u{201d}\u{2022}\u{2013}\u{2014}\u{2dc}\
     \u{2122}\u{161}\u{203a}\u{153}\u{17e}\u{178}";

/// Whether an expression has the bytes that are given; nulls are the same.
pub(crate) fn same(expression: &str) -> String {
    format!("cast(convert({expression} using utf8mb4) as binary) <=> cast(? as binary)")
}

fn is_id(columns: &[Column; 10]) -> String {
    let id = format!("t.`{}`", columns[0].name);
    format!("{} and {}", equals(&columns[0]), same(&id))
}

/// Whether a column has a value, as its index finds it: what is equal in bytes is equal in any
/// collation. A value that the column's character set does not have finds something else or
/// nothing, and nothing remains of it when bytes are compared.
fn equals(column: &Column) -> String {
    format!("t.`{}` = {}", column.name, place(column))
}

/// A value as it is compared with a column.
fn place(column: &Column) -> String {
    column.foreign.as_ref().map_or("?".to_owned(), |(set, collation)| {
        format!("convert(? using {set}) collate {collation}")
    })
}

/// Our table for a token table. A database can hold several.
pub(crate) fn side_table(table: &str) -> String {
    if table == "oauthtoken" {
        "tokenkeep_state".to_owned()
    } else {
        format!("tokenkeep_state_{table}")
    }
}

/// Tokens' tables as the SDKs define it. Theirs takes the server's collation, by which `A` is `a`;
/// in this one values are what their bytes are, for the SDKs too. A binary collation of `utf8mb4`
/// that all servers know, so that a dump of one can be read by another.
pub(crate) fn create_token_table(table: &str) -> String {
    format!(
        "create table if not exists `{table}` (id varchar(10) NOT NULL, user_name varchar(255), \
         client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
         access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
         redirect_url varchar(255), api_domain varchar(255), primary key (id)) {OPTIONS}"
    )
}

const OPTIONS: &str = "engine = InnoDB default character set utf8mb4 collate utf8mb4_bin";

/// Our tables. `turn` and `writes` are there to be changed by each transaction that has to exclude
/// others: a row in common is what nodes of a cluster see. `turn` also tells a transaction that it
/// still is the one that began.
pub(crate) fn create_side_tables(table: &str) -> [String; 3] {
    [
        format!(
            "create table if not exists `{}` (token_id varchar(255) not null, user_name text, \
             client_id text, state mediumtext, lease_holder text, lease_generation bigint, \
             lease_until bigint, lease_ttl bigint, writes bigint not null default 0, \
             primary key (token_id)) {OPTIONS}",
            side_table(table)
        ),
        format!(
            "create table if not exists tokenkeep_meta (token_table varchar(64) not null, \
             version int not null, last_id bigint not null, turn bigint unsigned not null default 0, \
             primary key (token_table)) {OPTIONS}"
        ),
        format!(
            "insert ignore into tokenkeep_meta (token_table, version, last_id) \
             values ('{table}', {VERSION}, 0)"
        ),
    ]
}

/// The version of our tables that this code writes.
pub(crate) const VERSION: u32 = 1;

/// Whether a text is a number as [`TokenId::number`](tokenkeep_core::TokenId::number) has it.
pub(crate) fn is_number(text: &str) -> String {
    format!(
        "({text} not regexp '[^0-9]' and left({text}, 1) between '1' and '9' \
         and (char_length({text}) < 20 or (char_length({text}) = 20 \
         and {text} <= '18446744073709551615')) or ({text} = '0' and length({text}) = 1))"
    )
}

impl Sql {
    fn new(table: &str, source: &str, columns: &[Column; 10], side: Option<&str>) -> Self {
        let listed: Vec<_> = columns.iter().map(|column| format!("t.`{}`", column.name)).collect();
        let listed = listed.join(", ");
        let select = format!("select {listed} from {source} t");
        let by = Field::ALL.map(|field| {
            let column = &columns[field as usize];
            match field {
                Field::Id
                | Field::UserName
                | Field::AccessToken
                | Field::GrantToken
                | Field::RefreshToken => Some(format!("{select} where {}", equals(column))),
                Field::ClientId
                | Field::ClientSecret
                | Field::ExpiryTime
                | Field::RedirectUrl
                | Field::ApiDomain => None,
            }
        });
        let id = equals(&columns[0]);
        let with_beside = match side {
            Some(side) => format!(
                "select {listed}, {} from {source} t left join `{side}` s on s.token_id = ? \
                 where {id}",
                BESIDE
            ),
            None => format!(
                "select {listed}, null, null, null, null, null, null, null, null \
                 from {source} t where ? is not null and {id}"
            ),
        };
        let beside = match side {
            Some(side) => format!(
                "{BESIDE} from {source} t left join `{side}` s \
                 on s.token_id = convert(t.id using utf8mb4) collate utf8mb4_bin"
            ),
            None => {
                format!("null, null, null, null, null, null, null, null from {source} t")
            }
        };
        let is_there =
            |field: Field| format!("coalesce(length(t.`{}`) > 0, 0)", columns[field as usize].name);
        let there =
            [Field::AccessToken, Field::RefreshToken, Field::GrantToken, Field::ClientSecret]
                .map(is_there)
                .join(", ");
        let side = side.unwrap_or("tokenkeep_state");
        let exactly = is_id(columns);
        let names: Vec<_> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
        let meta = format!("token_table = '{table}'");
        Self {
            all: select,
            by,
            with_beside,
            insert: format!(
                "insert into `{table}` ({}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                names.join(", ")
            ),
            delete: format!(
                "delete t, s from `{table}` t left join `{side}` s on s.token_id = ? \
                 where {exactly}"
            ),
            raise_for: format!(
                "update tokenkeep_meta m set m.last_id = ? where m.{meta} and m.last_id < ? \
                 and exists (select 1 from `{table}` t where {exactly})"
            ),
            largest_number: format!(
                "select cast(max(cast(t.id as unsigned)) as signed) from {source} t \
                 where {} and char_length(t.id) < 11 and cast(t.id as unsigned) <= 2147483647",
                is_number("t.id")
            ),
            metadata: format!(
                "select t.id, t.user_name, t.client_id, t.api_domain, t.expiry_time, {there}, \
                 {beside}"
            ),
            entries: format!("select {listed}, {beside}"),
            longest_number: format!(
                "select max(char_length(t.id)) from {source} t where {}",
                is_number("t.id")
            ),
            orphans: format!(
                "select count(*) from `{side}` s where not exists (select 1 from {source} t \
                 where convert(t.id using utf8mb4) collate utf8mb4_bin = s.token_id)"
            ),
            nameless: format!(
                "select count(*) from {source} t \
                 where t.id is null or (t.id = '' and length(t.id) = 0)"
            ),
            meta: format!("select version, last_id from tokenkeep_meta where {meta}"),
            raise: format!("update tokenkeep_meta set last_id = greatest(last_id, ?) where {meta}"),
        }
    }
}

/// The columns of our table, as [`Beside`](crate::beside::Beside) reads them.
pub(crate) const BESIDE: &str = "s.token_id, s.user_name, s.client_id, s.state, s.lease_holder, \
                                 s.lease_generation, s.lease_until, s.lease_ttl";

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let columns = Field::ALL.map(Column::official);
        Layout::new("oauthtoken", Generation::Current, columns, true)
    }

    fn token(user: &str) -> OAuthToken {
        OAuthToken::builder().user_name(user).refresh_token("test-refresh").build().unwrap()
    }

    #[test]
    fn length_counts_in_characters() {
        let layout = layout();
        layout.check(&token(&"\u{1f600}".repeat(255))).unwrap();
        let error = layout.check(&token(&"x".repeat(256))).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(error.to_string().contains("user_name"), "{error}");
    }

    #[test]
    fn what_a_character_set_lacks_is_refused() {
        let mut layout = layout();
        for (set, fits, lacks) in [
            ("latin1", "jos\u{e9} \u{20ac}", "\u{6f22}"),
            ("utf8mb3", "\u{6f22}", "\u{1f600}"),
            ("ascii", "jose", "jos\u{e9}"),
        ] {
            let collation = format!("{set}_bin");
            layout.columns[Field::UserName as usize].foreign = Some((set.to_owned(), collation));
            layout.check(&token(fits)).unwrap();
            let error = layout.check(&token(lacks)).unwrap_err();
            assert!(error.to_string().contains("user_name"), "{error}");
        }
    }

    #[test]
    fn old_tables_are_not_written() {
        let columns = Field::ALL.map(Column::official);
        let layout = Layout::new("oauthtoken", Generation::V1, columns, false);
        let error = layout.check_writable().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
        assert!(error.hint().is_some());
    }
}
