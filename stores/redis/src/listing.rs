//! Many tokens, in the order of their ids.

use tokenkeep_core::{OAuthToken, StoreError, TokenId};

use crate::{
    keys::place_of,
    link::Link,
    rows::{Listed, Row},
    script::{Call, LIST},
};

/// How many tokens one script reads: others wait for it.
const AT_ONCE: usize = 1_000;
/// How often all tokens are read anew because others have written meanwhile, before one script reads
/// all of them.
const READINGS: usize = 3;

/// Some rows.
pub(crate) struct Rows {
    pub(crate) rows: Vec<Result<Row, StoreError>>,
    /// The last one, if there are more.
    pub(crate) next: Option<TokenId>,
}

impl Link {
    /// The next at most `limit` rows after `after`, each as it is at that moment; at least one, if
    /// there is one.
    pub(crate) async fn rows(
        &self,
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        let limit = limit.max(1);
        let mut place = after.map(place_of);
        let mut rows = Vec::new();
        let mut last = None;
        loop {
            // One more, to know whether there is one.
            let room = limit.saturating_sub(rows.len()).saturating_add(1);
            let asked = room.min(AT_ONCE);
            let listed = self.list(place.as_deref(), Some(asked)).await?;
            let is_end = listed.places < asked;
            for (id, row) in listed.rows {
                if rows.len() == limit {
                    return Ok(Rows { rows, next: last });
                }
                rows.push(row);
                last = Some(id);
            }
            if is_end {
                return Ok(Rows { rows, next: None });
            }
            place = listed.last_place;
        }
    }

    /// All tokens, as they are at one moment.
    pub(crate) async fn all(&self) -> Result<Vec<OAuthToken>, StoreError> {
        for _ in 0..READINGS {
            if let Some(tokens) = self.all_unless_changed().await? {
                return Ok(tokens);
            }
        }
        tokens(self.list(None, None).await?)
    }

    /// All tokens; `None` if others have written meanwhile.
    async fn all_unless_changed(&self) -> Result<Option<Vec<OAuthToken>>, StoreError> {
        let first = self.list(None, Some(AT_ONCE)).await?;
        let mark = first.mark;
        let mut place = (first.places == AT_ONCE).then(|| first.last_place.clone()).flatten();
        let mut all = tokens(first)?;
        while let Some(after) = place {
            let listed = self.list(Some(&after), Some(AT_ONCE)).await?;
            if listed.mark != mark {
                return Ok(None);
            }
            place = (listed.places == AT_ONCE).then(|| listed.last_place.clone()).flatten();
            all.extend(tokens(listed)?);
        }
        Ok(Some(all))
    }

    /// The rows of the next `limit` places, or of all.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Listed, StoreError> {
        let begin = after.map_or_else(|| "-".to_owned(), |place| format!("({place}"));
        let limit = limit.map_or_else(|| "-1".to_owned(), |limit| limit.to_string());
        let call = Call::new(&LIST, vec![begin, limit]);
        Listed::parse(self.read(&call, &mut self.limit()).await?)
    }
}

fn tokens(listed: Listed) -> Result<Vec<OAuthToken>, StoreError> {
    listed
        .rows
        .into_iter()
        .filter_map(|(_, row)| row.and_then(|row| row.token()).transpose())
        .collect()
}
