//! What makes the server tell of changes: a trigger on each table.

use std::collections::HashSet;

use crate::layout::Layout;

/// The channel that all tables of a database tell of changes on; what is told is which table.
pub(crate) const CHANNEL: &str = "tokenkeep_changed";

/// Our functions in the schema `$1`.
pub(crate) const FUNCTIONS: &str = "select p.proname::text from pg_catalog.pg_proc p \
     join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
     where n.nspname = $1 and p.proname = 'tokenkeep_changed'";

/// The tables in the schema `$1` that have our trigger.
pub(crate) const TRIGGERS: &str = "select c.relname::text from pg_catalog.pg_trigger t \
     join pg_catalog.pg_class c on c.oid = t.tgrelid \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where n.nspname = $1 and t.tgname = 'tokenkeep_changed'";

/// The statements that make what is missing.
///
/// A table is named as it is called when it is changed, so that a copy or a table with another name
/// tells of itself. The trigger fires for whatever writes, replication and restoring included.
pub(crate) fn missing(
    layout: &Layout,
    triggers: &HashSet<String>,
    has_function: bool,
) -> Vec<String> {
    let function = layout.named(CHANNEL);
    let mut statements = Vec::new();
    if !has_function {
        statements.push(format!(
            "create function {function}() returns trigger language plpgsql as $$ begin \
             perform pg_catalog.pg_notify('{CHANNEL}', tg_table_schema || '.' || tg_table_name); \
             return null; end $$"
        ));
    }
    for table in [layout.table.clone(), layout.side_table()] {
        if !triggers.contains(&table) {
            let named = layout.named(&table);
            statements.push(format!(
                "create trigger {CHANNEL} after insert or update or delete or truncate on {named} \
                 for each statement execute procedure {function}(); \
                 alter table {named} enable always trigger {CHANNEL}"
            ));
        }
    }
    statements
}

/// What is told of a change in this table.
pub(crate) fn told_of(layout: &Layout, table: &str) -> String {
    format!("{}.{table}", layout.schema)
}
