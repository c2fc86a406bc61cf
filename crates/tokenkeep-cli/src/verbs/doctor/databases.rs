//! What is wrong with a store in a database: how the server keeps its word, and what is in it.

use tokenkeep::stores::{mysql, postgres, redis};

use super::{
    Check, Verdict,
    common::{Common, Table},
    layout::list,
};

pub(super) fn of_mysql(inspection: &mysql::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let common = Common {
        name: format!("MySQL {}, table {} of the {}", it.version, it.table, it.generation),
        tls: Some(it.tls.is_some()),
        tokens: it.tokens,
        duplicates: &it.duplicates,
        damage: &it.damage,
    };
    common.check(checks);
    let mut add = |check, verdict, detail: String, hint: &str| {
        checks.push(Check::new(check, verdict, detail).hint(hint));
    };
    if it.is_read_only {
        let hint = "name the server that takes writes: a replica does not";
        add("server", Verdict::Failed, "the server is read-only".to_owned(), hint);
    }
    if !it.is_durable {
        let unknown = || "unknown".to_owned();
        let mut detail = format!(
            "a crash may lose a token that was saved: innodb_flush_log_at_trx_commit {}",
            it.flush_log.clone().unwrap_or_else(unknown)
        );
        if let Some(sync) = &it.sync_binlog {
            detail = format!("{detail}, sync_binlog {sync}");
        }
        if it.cluster.is_some() {
            detail.push_str("; in this cluster, if all nodes crash at once");
        }
        let hint =
            "set innodb_flush_log_at_trx_commit to 1, and sync_binlog if there is a binary log";
        add("server", Verdict::Warning, detail, hint);
    }
    if let Some(nodes) = it.cluster {
        let detail = format!("a Galera cluster of {nodes}");
        if nodes < 3 {
            let hint = "three nodes go on when one is lost, fewer do not";
            add("server", Verdict::Warning, detail, hint);
        } else {
            checks.push(Check::new("server", Verdict::Ok, detail));
        }
    }
    let mut add = |verdict, detail: String, hint: &str| {
        checks.push(Check::new("layout", verdict, detail).hint(hint));
    };
    if !it.has_state {
        let detail = "the tables tokenkeep_state and tokenkeep_meta are not there".to_owned();
        add(Verdict::Warning, detail, "open the store once as a user who may create tables");
    }
    if !it.narrow_columns.is_empty() {
        let detail =
            format!("columns of a character set that lacks some: {}", it.narrow_columns.join(", "));
        add(Verdict::Warning, detail, "values with such characters are refused; utf8mb4 has all");
    }
    if it.sdk_cannot_insert {
        let detail = "an official SDK cannot add a user here any more: it takes the largest id as \
                      text";
        add(Verdict::Warning, detail.to_owned(), "add users through tokenkeep");
    }
    for ids in &it.look_alikes {
        let detail = format!("users that are one name by the table's collation: ids {}", list(ids));
        let hint =
            "an official SDK that asks for one gets whichever comes first; tokenkeep does not";
        add(Verdict::Warning, detail, hint);
    }
    let table = Table {
        missing_indices: &it.missing_indices,
        text_ids: &it.text_ids,
        unreadable_expiry: &it.unreadable_expiry,
        orphans: it.orphans,
    };
    table.check(checks);
}

pub(super) fn of_postgres(inspection: &postgres::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let common = Common {
        name: format!("PostgreSQL {}, table {}.{}", it.version, it.schema, it.table),
        tls: Some(it.tls.is_some()),
        tokens: it.tokens,
        duplicates: &it.duplicates,
        damage: &it.damage,
    };
    common.check(checks);
    let mut add = |verdict, detail: String, hint: &str| {
        checks.push(Check::new("server", verdict, detail).hint(hint));
    };
    if it.is_replica {
        let hint = "name the primary: a replica cannot be written to";
        add(Verdict::Failed, "the server is a replica".to_owned(), hint);
    }
    if !it.missing_grants.is_empty() {
        let detail = format!("the user may not: {}", it.missing_grants.join(", "));
        add(Verdict::Failed, detail, "grant that to the user");
    }
    if it.synchronous_commit == "off" || !it.fsync || !it.full_page_writes {
        add(
            Verdict::Warning,
            format!(
                "a crash may lose a token that was saved: synchronous_commit {}, fsync {}, \
                 full_page_writes {}",
                it.synchronous_commit, it.fsync, it.full_page_writes
            ),
            "switch all three on",
        );
    }
    if !it.tells_of_changes {
        let detail = "the server does not tell of changes: tokens are read more often".to_owned();
        add(Verdict::Warning, detail, "let the user create the trigger on the token table");
    }
    let table = Table {
        missing_indices: &it.missing_indices,
        text_ids: &it.text_ids,
        unreadable_expiry: &it.unreadable_expiry,
        orphans: it.orphans,
    };
    table.check(checks);
}

pub(super) fn of_redis(inspection: &redis::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let version = it.version.as_deref().unwrap_or("of unknown version");
    let common = Common {
        name: format!("Redis {version} on {}, keys {}*", it.primary, it.prefix),
        tls: Some(it.tls),
        tokens: it.tokens,
        duplicates: &it.duplicates,
        damage: &it.damage,
    };
    common.check(checks);
    for concern in &it.concerns {
        checks.push(Check::new("server", Verdict::Warning, concern.clone()));
    }
    if !it.not_indexed.is_empty() {
        let detail = format!("tokens that not every query finds: ids {}", list(&it.not_indexed));
        let hint = "save them by id; and keep the server from evicting keys";
        checks.push(Check::new("layout", Verdict::Failed, detail).hint(hint));
    }
    if it.vanished > 0 {
        let detail = format!("tokens that are gone though nobody removed them: {}", it.vanished);
        let hint = "see maxmemory-policy: it should be noeviction";
        checks.push(Check::new("layout", Verdict::Failed, detail).hint(hint));
    }
}
