//! [`Group`]: the rows of the source that are one token by the rules of a save.

use std::cmp::Ordering;

use tokenkeep_core::{
    BulkStore, Entry, Field, OAuthToken, StoreError, TokenId, TokenTable, matching::KEYS,
};

use super::{one_by_one::state_of, target::related};

/// Rows of the source that are one token.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of them, which stands for all.
    pub(super) leader: OAuthToken,
    /// What they are together, under the id of the first.
    pub(super) merged: Entry,
}

impl Group {
    /// Those that are one token with `entry`, which stands on `page`.
    ///
    /// It is the same group whichever of them is asked for.
    pub(super) async fn of(
        entry: &Entry,
        page: &[Entry],
        from: &dyn BulkStore,
    ) -> Result<Self, StoreError> {
        let mut members = vec![entry.clone()];
        let mut asked = 0;
        while asked < members.len() {
            let token = members[asked].token.clone();
            asked += 1;
            for other in page {
                if have_value_in_common(&token, &other.token) && !members.contains(other) {
                    members.push(other.clone());
                }
            }
            for other in related(from, &token).await? {
                if have_value_in_common(&token, &other)
                    && members.iter().all(|member| member.token != other)
                {
                    let state = state_of(from, other.id()).await?;
                    members.push(Entry::new(other).with_state(state));
                }
            }
        }
        Ok(Self::among(entry, members))
    }

    /// Saves `members` to a table in memory, those that expire later over those before them.
    fn among(entry: &Entry, mut members: Vec<Entry>) -> Self {
        members.sort_by(|one, other| {
            let expiry = one.token.expiry_time().cmp(&other.token.expiry_time());
            expiry.then_with(|| by_place(&one.token, &other.token))
        });
        let mut table = TokenTable::new();
        let mut became: Vec<Option<TokenId>> = Vec::with_capacity(members.len());
        for member in &members {
            // What cannot be told apart here cannot be in the target: it is refused there.
            let saved = table.save(&member.token.clone().without_id()).ok();
            let id = saved.as_ref().and_then(|saved| saved.token.id().cloned());
            if let Some(absorbed) = saved.and_then(|saved| saved.absorbed) {
                for earlier in &mut became {
                    if earlier.as_ref() == Some(&absorbed) {
                        earlier.clone_from(&id);
                    }
                }
            }
            became.push(id);
        }
        let place = members.iter().position(|member| member.token == entry.token);
        let together = place.and_then(|at| became[at].clone());
        let Some(token) = together.as_ref().and_then(|id| table.find_by_id(id).ok().flatten())
        else {
            return Self { leader: entry.token.clone(), merged: entry.clone() };
        };
        let same = members.iter().zip(&became).filter(|(_, id)| **id == together);
        let same: Vec<&Entry> = same.map(|(member, _)| member).collect();
        let leader = same.iter().map(|member| &member.token).min_by(|a, b| by_place(a, b));
        let leader = leader.unwrap_or(&entry.token).clone();
        let token = match leader.id() {
            Some(id) => token.clone().with_id(id.clone()),
            None => token.clone().without_id(),
        };
        let state = same.iter().rev().find_map(|member| member.state.clone());
        Self { leader, merged: Entry::new(token).with_state(state) }
    }
}

/// In the order of ids; rows of one id in some order that is always the same.
fn by_place(one: &OAuthToken, other: &OAuthToken) -> Ordering {
    let columns = || one.expose_columns().cmp(&other.expose_columns());
    one.id().cmp(&other.id()).then_with(columns)
}

fn have_value_in_common(one: &OAuthToken, other: &OAuthToken) -> bool {
    let (one, other) = (one.expose_columns(), other.expose_columns());
    KEYS.into_iter()
        .filter(|field| *field != Field::Id)
        .any(|field| one[field as usize].is_some() && one[field as usize] == other[field as usize])
}
