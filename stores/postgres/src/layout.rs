//! [`Layout`]: how the tables of a store are called and laid out, and the statements on them.

use tokenkeep_core::{Field, MAX_ID};

use crate::beside;

/// The tables of a store.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The schema, as it is called.
    pub(crate) schema: String,
    /// The token table, as it is called.
    pub(crate) table: String,
    pub(crate) columns: [Column; 10],
    /// Whether the database knows no encoding, and so counts bytes.
    pub(crate) counts_bytes: bool,
}

/// What a column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// How many characters, or bytes where the database knows no encoding.
    pub(crate) limit: Option<usize>,
    pub(crate) nullable: bool,
}

/// A statement of a store; prepared once a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// The tokens with this id; the same for the next four.
    ById,
    ByUser,
    ByAccess,
    ByGrant,
    ByRefresh,
    /// All tokens.
    All,
    /// The token with this id, and what is beside it.
    WithBeside,
    /// Locks the row of this table in `tokenkeep_meta`, which has the largest id given.
    Lock,
    /// Locks and reads the tokens with one of these ids, user names, access, grant, refresh tokens.
    Candidates,
    /// Locks and reads the tokens with this id.
    LockById,
    /// What is beside these tokens.
    Beside,
    /// The largest number that is an id.
    LargestNumber,
    /// Writes tokens that are new.
    Insert,
    /// Writes fields of tokens.
    Update,
    /// Removes these tokens.
    Delete,
    DeleteAll,
    /// Writes what is beside tokens.
    BesideWrite,
    /// Removes what is beside these tokens.
    BesideDelete,
    BesideDeleteAll,
    /// Raises the largest id given.
    Raise,
    /// Metadata of the next so many tokens with a number after this one.
    PageOfNumbers,
    /// Metadata of the next so many tokens with another id after this one.
    PageOfTexts,
    /// The next so many tokens with a number after this one, and what is beside them; and further
    /// ones that have the last one's id.
    EntriesOfNumbers,
    /// The same of tokens with another id.
    EntriesOfTexts,
    /// How many rows have no id.
    Nameless,
}

impl Query {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Nameless as usize + 1;

    /// Finds the tokens that have a value in this field, one of those that are looked up.
    pub(crate) fn by(field: Field) -> Option<Self> {
        match field {
            Field::Id => Some(Self::ById),
            Field::UserName => Some(Self::ByUser),
            Field::AccessToken => Some(Self::ByAccess),
            Field::GrantToken => Some(Self::ByGrant),
            Field::RefreshToken => Some(Self::ByRefresh),
            Field::ClientId
            | Field::ClientSecret
            | Field::ExpiryTime
            | Field::RedirectUrl
            | Field::ApiDomain => None,
        }
    }
}

impl Layout {
    /// The token table in a statement.
    pub(crate) fn tokens(&self) -> String {
        self.named(&self.table)
    }

    /// The table for what is beside tokens, as it is called. A database can hold several.
    pub(crate) fn side_table(&self) -> String {
        if self.table == "oauthtoken" {
            "tokenkeep_state".to_owned()
        } else {
            format!("tokenkeep_state_{}", self.table)
        }
    }

    /// The same in a statement.
    pub(crate) fn side(&self) -> String {
        self.named(&self.side_table())
    }

    /// A table, index or function of this schema in a statement. Names are of letters, digits, `_`
    /// where the user has chosen them, but those of a schema that was found may be anything.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("\"{}\".\"{name}\"", self.schema.replace('"', "\"\""))
    }

    /// How long a value is to a column.
    pub(crate) fn length(&self, value: &str) -> usize {
        if self.counts_bytes { value.len() } else { value.chars().count() }
    }

    /// What absence is written as: null, or where the table forbids that, empty text.
    pub(crate) fn absent(&self, field: Field) -> Option<&'static str> {
        (!self.columns[field as usize].nullable).then_some("")
    }

    /// A statement in words.
    ///
    /// What is compared by `=` is compared byte by byte unless a column has a collation that finds
    /// more, which is then passed over here; so is written what has the very id.
    pub(crate) fn sql(&self, query: Query) -> String {
        let tokens = self.tokens();
        let side = self.side();
        let meta = self.named("tokenkeep_meta");
        let table = &self.table;
        let listed = Field::ALL.map(Field::name).join(", ");
        let by = |field: Field| format!("select {listed} from {tokens} where {field} = $1");
        match query {
            Query::ById => by(Field::Id),
            Query::ByUser => by(Field::UserName),
            Query::ByAccess => by(Field::AccessToken),
            Query::ByGrant => by(Field::GrantToken),
            Query::ByRefresh => by(Field::RefreshToken),
            Query::All => format!("select {listed} from {tokens}"),
            Query::WithBeside => {
                format!("{} where t.id = $1", with_beside(&of("t", &listed), &tokens, &side))
            }
            Query::Lock => {
                format!("select last_id from {meta} where token_table = '{table}' for update")
            }
            Query::Candidates => format!(
                "select {listed} from {tokens} where id = any($1) or user_name = any($2) \
                 or access_token = any($3) or grant_token = any($4) or refresh_token = any($5) \
                 for update"
            ),
            Query::LockById => format!("{} for update", by(Field::Id)),
            Query::Beside => {
                format!("select token_id, {} from {side} where token_id = any($1)", beside::COLUMNS)
            }
            Query::LargestNumber => format!(
                "select id::bigint from {tokens} where {NUMERIC} and id::bigint <= {MAX_ID} \
                 order by id::bigint desc limit 1"
            ),
            Query::Insert => insert(&tokens, &listed),
            Query::Update => update(&tokens),
            Query::Delete => {
                format!("delete from {tokens} where id = any($1) and id collate \"C\" = any($1)")
            }
            Query::DeleteAll => format!("delete from {tokens}"),
            Query::BesideWrite => beside_write(&side),
            Query::BesideDelete => format!("delete from {side} where token_id = any($1)"),
            Query::BesideDeleteAll => format!("delete from {side}"),
            Query::Raise => format!(
                "update {meta} set last_id = $1 where token_table = '{table}' and last_id < $1"
            ),
            Query::PageOfNumbers => {
                format!("{} {} limit $2", with_beside(&metadata(), &tokens, &side), of_numbers())
            }
            Query::PageOfTexts => {
                format!("{} {} limit $2", with_beside(&metadata(), &tokens, &side), of_texts())
            }
            Query::EntriesOfNumbers => format!(
                "{} {} fetch first ($2) rows with ties",
                with_beside(&of("t", &listed), &tokens, &side),
                of_numbers()
            ),
            Query::EntriesOfTexts => format!(
                "{} {} fetch first ($2) rows with ties",
                with_beside(&of("t", &listed), &tokens, &side),
                of_texts()
            ),
            Query::Nameless => {
                format!("select count(*) from {tokens} where id is null or id = ''")
            }
        }
    }

    /// The indices that the statements need: name and definition.
    ///
    /// Those of values are hash indices: a token of 4 KiB does not fit into an entry of a tree.
    pub(crate) fn indices(&self) -> Vec<(String, String)> {
        let tokens = self.tokens();
        let index = |suffix: &str, what: &str| {
            let name = format!("tokenkeep_{}_{suffix}", self.table);
            let sql = format!("create index if not exists \"{name}\" on {tokens} {what}");
            (name, sql)
        };
        let hashed = [Field::UserName, Field::AccessToken, Field::GrantToken, Field::RefreshToken]
            .map(|field| index(field.name(), &format!("using hash ({field})")));
        let numbers = index("number", &format!("((id::bigint)) where {NUMERIC}"));
        let texts = index("text", &format!("(id collate \"C\") where {TEXTUAL}"));
        hashed.into_iter().chain([numbers, texts]).collect()
    }

    /// An index on the id, for tables whose primary key is something else.
    pub(crate) fn id_index(&self) -> (String, String) {
        let name = format!("tokenkeep_{}_id", self.table);
        let sql =
            format!("create index if not exists \"{name}\" on {} using hash (id)", self.tokens());
        (name, sql)
    }

    pub(crate) fn create_tokens(&self) -> String {
        let columns = Field::ALL.map(|field| {
            let rest = if field == Field::Id { " not null primary key" } else { "" };
            format!("{field} text collate \"C\"{rest}")
        });
        format!("create table if not exists {} ({})", self.tokens(), columns.join(", "))
    }

    pub(crate) fn create_side(&self) -> String {
        format!(
            "create table if not exists {} (token_id text collate \"C\" not null primary key, \
             user_name text, client_id text, state text, lease_holder text, \
             lease_generation bigint, lease_until bigint, lease_ttl bigint) with (fillfactor = 70)",
            self.side()
        )
    }

    pub(crate) fn create_meta(&self) -> String {
        format!(
            "create table if not exists {} (token_table text collate \"C\" not null primary key, \
             version integer not null, last_id bigint not null)",
            self.named("tokenkeep_meta")
        )
    }

    pub(crate) fn record(&self) -> String {
        format!(
            "insert into {} (token_table, version, last_id) values ('{}', {VERSION}, 0) \
             on conflict (token_table) do nothing",
            self.named("tokenkeep_meta"),
            self.table
        )
    }
}

/// The version of our tables that this code writes.
pub(crate) const VERSION: i32 = 1;

/// Whether the id is a number as ids are given: digits only, no sign, no leading zero, and one
/// that the server can count to.
pub(crate) const NUMERIC: &str = "id ~ '^(0|[1-9][0-9]{0,17})$'";

/// Whether the id is anything else.
pub(crate) const TEXTUAL: &str = "id !~ '^(0|[1-9][0-9]{0,17})$'";

/// Columns of the table that goes by this name in a statement.
fn of(alias: &str, columns: &str) -> String {
    columns.split(", ").map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ")
}

/// The columns that are beside the id, and which bit stands for each when some are written.
fn written() -> impl Iterator<Item = (Field, i32)> {
    Field::ALL.into_iter().skip(1).map(|field| (field, bit(field)))
}

/// The bit that stands for a field in what is [to be written](Query::Update).
pub(crate) fn bit(field: Field) -> i32 {
    1 << field as i32
}

/// Fails, by a division by zero, unless as many rows were written as given, each as given: others'
/// triggers may change what is written, or drop it.
fn insert(tokens: &str, listed: &str) -> String {
    let arrays = (1..=10).map(|at| format!("${at}::text[]")).collect::<Vec<_>>().join(", ");
    let kept = written()
        .map(|(field, _)| format!("w.{field} collate \"C\" is not distinct from n.{field}"))
        .collect::<Vec<_>>()
        .join(" and ");
    format!(
        "with n as (select * from unnest({arrays}) as n({listed})), \
         w as (insert into {tokens} ({listed}) select {listed} from n returning {listed}) \
         select 1 / (case when (select count(*) from n) = (select count(*) from n, w \
         where w.id collate \"C\" = n.id and {kept}) then 1 else 0 end)"
    )
}

/// The same for fields of rows that are there: the bits of `$2` say which.
fn update(tokens: &str) -> String {
    let names = Field::ALL.into_iter().skip(1).map(Field::name).collect::<Vec<_>>().join(", ");
    let arrays = (3..=11).map(|at| format!("${at}::text[]")).collect::<Vec<_>>().join(", ");
    let set = written()
        .map(|(field, bit)| {
            format!("{field} = case when n.bits & {bit} <> 0 then n.{field} else t.{field} end")
        })
        .collect::<Vec<_>>()
        .join(", ");
    let kept = written()
        .map(|(field, bit)| {
            format!(
                "(n.bits & {bit} = 0 or t.{field} collate \"C\" is not distinct from n.{field})"
            )
        })
        .collect::<Vec<_>>()
        .join(" and ");
    format!(
        "with w as (update {tokens} t set {set} \
         from unnest($1::text[], $2::integer[], {arrays}) as n(id, bits, {names}) \
         where t.id = n.id and t.id collate \"C\" = n.id returning {kept} as kept) \
         select 1 / (case when count(*) = cardinality($1::text[]) and bool_and(kept) \
         then 1 else 0 end) from w"
    )
}

fn beside_write(side: &str) -> String {
    let columns = beside::COLUMNS;
    let set = columns
        .split(", ")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "insert into {side} (token_id, {columns}) select * from unnest($1::text[], $2::text[], \
         $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[]) \
         on conflict (token_id) do update set {set}"
    )
}

/// Columns of tokens, whether there is anything beside each, and what.
fn with_beside(columns: &str, tokens: &str, side: &str) -> String {
    format!(
        "select {columns}, s.token_id is not null, {} from {tokens} t \
         left join {side} s on s.token_id = t.id collate \"C\"",
        of("s", beside::COLUMNS)
    )
}

/// Secrets are asked for by their presence only.
fn metadata() -> String {
    let there = |field: Field| format!("coalesce(t.{field}, '') <> ''");
    format!(
        "t.id, t.user_name, t.client_id, t.api_domain, t.expiry_time, {}, {}, {}, {}",
        there(Field::AccessToken),
        there(Field::RefreshToken),
        there(Field::GrantToken),
        there(Field::ClientSecret)
    )
}

fn of_numbers() -> String {
    let numeric = of("t", NUMERIC);
    format!("where {numeric} and t.id::bigint > $1 order by t.id::bigint")
}

fn of_texts() -> String {
    let textual = of("t", TEXTUAL);
    format!("where {textual} and t.id collate \"C\" > $1 order by t.id collate \"C\"")
}
