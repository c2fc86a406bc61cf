//! Where tokens are kept: in the store's rows and in the hosts' spools.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tokenkeep_core::{OAuthToken, TokenId};

use super::{Ledger, Name, Who, issued::Issued};

/// How much older than the stored access token one may be that takes its place: two requests that
/// were under way at the same moment have no order.
const SAME_MOMENT: Duration = Duration::from_secs(5);

/// A row of the store, as it was last written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) user: usize,
    pub(crate) gone: bool,
    /// Grows with each write.
    pub(crate) version: u64,
    family: usize,
    number: usize,
    access: Option<Issued>,
    pub(crate) token: OAuthToken,
    pub(crate) previous: Option<OAuthToken>,
}

#[derive(Default)]
pub(super) struct Kept {
    rows: BTreeMap<TokenId, Row>,
    pub(super) stored_access: HashSet<String>,
    pub(super) spooled_access: HashSet<(usize, String)>,
}

impl Ledger {
    /// A process begins to put this into its spool.
    pub(crate) fn spools(&self, token: &OAuthToken) {
        let refresh = token.refresh_token().map(|it| it.expose_secret());
        if let Some(rotation) = self.book().issues.rotation_to(refresh) {
            rotation.spool_begun = true;
        }
    }

    pub(crate) fn spooled(&self, host: usize, token: &OAuthToken, done: bool) {
        let refresh = token.refresh_token().map(|it| it.expose_secret().to_owned());
        let mut book = self.book();
        if let Some(access) = token.access_token().filter(|_| done) {
            book.kept.spooled_access.insert((host, access.expose_secret().to_owned()));
        }
        if let Some(rotation) = book.issues.rotation_to(refresh.as_deref()) {
            rotation.spooled |= done;
            rotation.spool_failed |= !done;
        }
    }

    /// `token` was stored, by a process or by somebody else.
    pub(crate) fn stored(&self, by: Option<Who>, token: &OAuthToken) {
        let now = self.now();
        let book = &mut *self.book();
        let id = token.id().unwrap().clone();
        let Some(user) = book.names.iter().position(|it| Some(&**it) == token.user_name()) else {
            book.violation(now, format_args!("row {id} has no user"));
            return;
        };
        let access = token.access_token().map(|it| it.expose_secret());
        if let Some(access) = access {
            book.kept.stored_access.insert(access.to_owned());
        }
        let access = access.and_then(|it| book.issues.access_tokens.get(it)).cloned();
        let refresh = token.refresh_token().map(|it| it.expose_secret().to_owned());
        if let Some(rotation) = book.issues.rotation_to(refresh.as_deref()) {
            rotation.stored_at = rotation.stored_at.or(Some(now));
        }
        let Some(refresh) = refresh.and_then(|it| book.issues.refresh_tokens.get(&it)).cloned()
        else {
            book.violation(now, format_args!("row {id} has a refresh token that nobody issued"));
            return;
        };
        let labels = (refresh.label.clone(), access.as_ref().map(|it| it.label.clone()));
        let writer = by.map_or_else(|| "another program".to_owned(), |who| Name(who).to_string());
        book.note(now, format_args!("   row {id} of user {user}: {labels:?} by {writer}"));
        let old = book.kept.rows.get(&id).cloned();
        // A write without a comparison that the store makes after it was given up: such a store
        // breaks its contract, and nobody can mend that.
        if by.is_some()
            && let Some(wrong) = wrong(old.as_ref(), user, &refresh, access.as_ref())
            && !self.writes_late
        {
            book.violation(now, format_args!("{wrong} (row {id}, user {user})"));
        }
        let version = old.as_ref().map_or(0, |old| old.version) + 1;
        let previous = old.filter(|old| old.family == refresh.family && !old.gone);
        let previous = previous.map(|old| {
            let kept = old.token.access_token() == token.access_token();
            if kept { old.previous.unwrap_or(old.token) } else { old.token }
        });
        let row = Row {
            user,
            gone: false,
            version,
            family: refresh.family,
            number: refresh.number,
            access,
            token: token.clone(),
            previous,
        };
        book.kept.rows.insert(id, row);
    }

    pub(crate) fn deleted(&self, id: &TokenId) {
        let mut book = self.book();
        if let Some(row) = book.kept.rows.get_mut(id) {
            row.gone = true;
            row.version += 1;
        }
    }

    /// The row of this user, where there is one.
    pub(crate) fn row(&self, user: usize) -> Option<(TokenId, Row)> {
        let book = self.book();
        let mut of_user = book.kept.rows.iter().filter(|(_, row)| row.user == user && !row.gone);
        of_user.next().map(|(id, row)| (id.clone(), row.clone()))
    }

    pub(crate) fn is_stored(&self, access: &str) -> bool {
        self.book().kept.stored_access.contains(access)
    }

    pub(crate) fn ids_of(&self, user: usize) -> Vec<TokenId> {
        let book = self.book();
        let of_user = book.kept.rows.iter().filter(|(_, row)| row.user == user && !row.gone);
        of_user.map(|(id, _)| id.clone()).collect()
    }
}

/// What is wrong with it that a manager stores these for `user` in the place of `old`.
fn wrong(
    old: Option<&Row>,
    user: usize,
    refresh: &Issued,
    access: Option<&Issued>,
) -> Option<&'static str> {
    match old {
        None => Some("a manager made a row"),
        Some(old) if old.gone => Some("a deleted token came back"),
        Some(old) if old.user != user || refresh.user != user => {
            Some("what was stored is another user's")
        }
        Some(old) if refresh.family < old.family => {
            Some("an older login took the place of a newer one")
        }
        Some(old) if refresh.family == old.family && refresh.number < old.number => {
            Some("an older refresh token took the place of a newer one")
        }
        Some(old) => match (access, &old.access) {
            (Some(new), Some(old)) if new.at + SAME_MOMENT < old.at => {
                Some("an older access token took the place of a newer one")
            }
            (None, _) => Some("an access token that nobody issued was stored"),
            _ => None,
        },
    }
}
