//! What is said alike of all stores that are not files.

use tokenkeep::TokenId;

use super::{Check, Verdict, layout::list};

/// What is said of every one.
pub(super) struct Common<'a> {
    /// What it is.
    pub(super) name: String,
    /// Whether the connection is encrypted; `None` if there is none, or it always is.
    pub(super) tls: Option<bool>,
    pub(super) tokens: u64,
    pub(super) duplicates: &'a [Vec<TokenId>],
    pub(super) damage: &'a [String],
}

impl Common<'_> {
    pub(super) fn check(&self, checks: &mut Vec<Check>) {
        let detail = format!("{}: {} tokens", self.name, self.tokens);
        checks.push(Check::new("server", Verdict::Ok, detail));
        checks.extend(self.tls.map(|is_encrypted| {
            if is_encrypted {
                Check::new("tls", Verdict::Ok, "the connection is encrypted")
            } else {
                Check::new("tls", Verdict::Warning, "the connection is not encrypted")
                    .hint("all right on this machine; elsewhere use TLS, see the documentation of its URL")
            }
        }));
        for damage in self.damage {
            let check = Check::new("layout", Verdict::Failed, format!("damage: {damage}"));
            checks.push(
                check.hint("correct or delete that token; `tokenkeep migrate` moves the rest"),
            );
        }
        for ids in self.duplicates {
            let detail = format!("one user, client and API domain: ids {}", list(ids));
            let hint = "delete those that are not used, or migrate, which merges them";
            checks.push(Check::new("layout", Verdict::Warning, detail).hint(hint));
        }
    }
}

/// What is said of every table of an SDK on a server.
pub(super) struct Table<'a> {
    pub(super) missing_indices: &'a [String],
    pub(super) text_ids: &'a [TokenId],
    pub(super) unreadable_expiry: &'a [TokenId],
    pub(super) orphans: u64,
}

impl Table<'_> {
    pub(super) fn check(&self, checks: &mut Vec<Check>) {
        let mut add = |detail: String, hint: &str| {
            checks.push(Check::new("layout", Verdict::Warning, detail).hint(hint));
        };
        if !self.missing_indices.is_empty() {
            let detail = format!("indices are missing: {}", self.missing_indices.join(", "));
            add(detail, "open the store once as a user who may create them");
        }
        if !self.text_ids.is_empty() {
            let detail = format!("ids that are no numbers: {}", list(self.text_ids));
            add(detail, "the SDKs for Python and Java cannot add a user beside them");
        }
        if !self.unreadable_expiry.is_empty() {
            let detail = format!("expiry_time is no number: ids {}", list(self.unreadable_expiry));
            add(detail, "taken for absent: such a token counts as expired until it is refreshed");
        }
        if self.orphans > 0 {
            let detail = format!("states of tokens that are gone: {}", self.orphans);
            add(detail, "another program deleted these tokens; what is left of them does no harm");
        }
    }
}
