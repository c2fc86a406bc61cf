//! What is wrong with a store on a server: how the server keeps its word, and what is in it.

use tokenkeep::{TokenId, stores::postgres, stores::redis};

use super::{Check, Verdict, layout::list};

/// What is said alike of every server's store.
struct Common<'a> {
    tls: bool,
    tokens: u64,
    duplicates: &'a [Vec<TokenId>],
    damage: &'a [String],
}

pub(super) fn of_postgres(inspection: &postgres::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let name = format!("PostgreSQL {}, table {}.{}", it.version, it.schema, it.table);
    let common = Common {
        tls: it.tls.is_some(),
        tokens: it.tokens,
        duplicates: &it.duplicates,
        damage: &it.damage,
    };
    common.check(&name, checks);
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
    if !it.missing_indices.is_empty() {
        let detail = format!("indices are missing: {}", it.missing_indices.join(", "));
        add(Verdict::Warning, detail, "open the store once as a user who may create them");
    }
    if !it.tells_of_changes {
        let detail = "the server does not tell of changes: tokens are read more often".to_owned();
        add(Verdict::Warning, detail, "let the user create the trigger on the token table");
    }
    if !it.text_ids.is_empty() {
        let hint = "the SDKs for Python and Java cannot add a user beside them";
        add(Verdict::Warning, format!("ids that are no numbers: {}", list(&it.text_ids)), hint);
    }
    if !it.unreadable_expiry.is_empty() {
        let detail = format!("expiry_time is no number: ids {}", list(&it.unreadable_expiry));
        let hint = "taken for absent: such a token counts as expired until it is refreshed";
        add(Verdict::Warning, detail, hint);
    }
    if it.orphans > 0 {
        let hint = "another program deleted these tokens; what is left of them does no harm";
        add(Verdict::Warning, format!("states of tokens that are gone: {}", it.orphans), hint);
    }
}

pub(super) fn of_redis(inspection: &redis::Inspection, checks: &mut Vec<Check>) {
    let it = inspection;
    let version = it.version.as_deref().unwrap_or("of unknown version");
    let name = format!("Redis {version} on {}, keys {}*", it.primary, it.prefix);
    let common =
        Common { tls: it.tls, tokens: it.tokens, duplicates: &it.duplicates, damage: &it.damage };
    common.check(&name, checks);
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

impl Common<'_> {
    fn check(&self, name: &str, checks: &mut Vec<Check>) {
        checks.push(Check::new("server", Verdict::Ok, format!("{name}: {} tokens", self.tokens)));
        checks.push(if self.tls {
            Check::new("tls", Verdict::Ok, "the connection is encrypted")
        } else {
            Check::new("tls", Verdict::Warning, "the connection is not encrypted")
                .hint("all right on this machine; elsewhere see the store's option `tls`")
        });
        for damage in self.damage {
            let check = Check::new("layout", Verdict::Failed, format!("damage: {damage}"));
            checks
                .push(check.hint("correct or delete that row; `tokenkeep migrate` moves the rest"));
        }
        for ids in self.duplicates {
            let detail = format!("one user, client and API domain: ids {}", list(ids));
            let hint = "delete those that are not used, or migrate, which merges them";
            checks.push(Check::new("layout", Verdict::Warning, detail).hint(hint));
        }
    }
}
