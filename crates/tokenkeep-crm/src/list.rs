//! Lists of records, page by page.

use std::{fmt, marker::PhantomData};

use futures_util::{Stream, stream};
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{CrmError, Record, Records, path::field_name};

/// Records in one page.
const MAX_PER_PAGE: u16 = 200;
/// Fields in one list.
const MAX_FIELDS: usize = 50;
/// Records that can be reached by the number of their page.
const DISCRETE: u64 = 2_000;

/// Which records a list has, and how much of them.
///
/// ```
/// use tokenkeep_crm::{ListOptions, SortOrder};
///
/// let options = ListOptions::new(["Last_Name", "Email"])
///     .per_page(100)
///     .sort_by("id", SortOrder::Ascending)
///     .parameter("converted", "false");
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ListOptions {
    fields: Vec<String>,
    per_page: u16,
    sort: Option<(String, SortOrder)>,
    modified_since: Option<String>,
    parameters: Vec<(String, String)>,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a line has two ends")]
pub enum SortOrder {
    /// The smallest or oldest first.
    Ascending,
    /// The largest or newest first, as the CRM does unless told.
    Descending,
}

impl ListOptions {
    /// These fields, 1 to 50 by their API names, of all records. The id is always there.
    pub fn new<S: Into<String>>(fields: impl IntoIterator<Item = S>) -> Self {
        Self {
            fields: fields.into_iter().map(Into::into).collect(),
            per_page: MAX_PER_PAGE,
            sort: None,
            modified_since: None,
            parameters: Vec::new(),
        }
    }

    /// How many records a page has: 1 to 200, which is also what it is by default.
    pub fn per_page(mut self, count: u16) -> Self {
        self.per_page = count;
        self
    }

    /// The field to sort by: `id`, `Created_Time` or `Modified_Time`.
    ///
    /// With `id` ascending, records that are created while the pages are read come last; in
    /// another order they move others to the next page, which are then seen twice.
    pub fn sort_by(mut self, field: impl Into<String>, order: SortOrder) -> Self {
        self.sort = Some((field.into(), order));
        self
    }

    /// Only records that were changed after `time`, which is written like
    /// `2025-01-31T09:30:00+00:00`.
    pub fn modified_since(mut self, time: impl Into<String>) -> Self {
        self.modified_since = Some(time.into());
        self
    }

    /// Another parameter of the CRM's: `cvid`, `ids`, `converted`, `approved`, …
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The query, but for the page.
    fn query(&self) -> Result<Vec<(&str, String)>, CrmError> {
        if !(1..=MAX_FIELDS).contains(&self.fields.len()) {
            return Err(CrmError::invalid(format!(
                "a list has 1 to {MAX_FIELDS} fields, and {} were given",
                self.fields.len()
            )));
        }
        for name in &self.fields {
            field_name(name)?;
        }
        if !(1..=MAX_PER_PAGE).contains(&self.per_page) {
            return Err(CrmError::invalid(format!("a page has 1 to {MAX_PER_PAGE} records")));
        }
        let mut query =
            vec![("fields", self.fields.join(",")), ("per_page", self.per_page.to_string())];
        if let Some((field, order)) = &self.sort {
            query.push(("sort_by", field_name(field)?.to_owned()));
            let order = if *order == SortOrder::Ascending { "asc" } else { "desc" };
            query.push(("sort_order", order.to_owned()));
        }
        for (name, value) in &self.parameters {
            if query.iter().any(|(taken, _)| taken == name)
                || matches!(name.as_str(), "page" | "page_token" | "sort_by" | "sort_order")
            {
                return Err(CrmError::invalid("a parameter of a list is the pager's to set"));
            }
            query.push((name, value.clone()));
        }
        Ok(query)
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// Its records.
    pub records: Vec<T>,
    /// Its number, from 1.
    pub number: u64,
    /// Whether another page follows.
    pub more: bool,
}

/// Reads a list page by page. Made by [`Records::list`].
///
/// The CRM finds the first 2,000 records by the number of their page, and those after them by a
/// token that the page before gives, lives for a day, and is for the same user and list only. The
/// pager does as is needed.
#[must_use = "a pager asks nothing until its next page is read"]
pub struct Pager<T = Record> {
    records: Records,
    options: ListOptions,
    next: Next,
    number: u64,
    record: PhantomData<fn() -> T>,
}

/// How to ask for the next page.
enum Next {
    Number,
    Token(String),
    Nothing,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    more_records: bool,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Body<T> {
    data: Vec<T>,
    #[serde(default)]
    info: Info,
}

impl<T: DeserializeOwned> Pager<T> {
    pub(crate) fn new(records: Records, options: ListOptions) -> Self {
        Self { records, options, next: Next::Number, number: 1, record: PhantomData }
    }

    /// The next page, or `None` after the last one.
    ///
    /// After an error, or if the future was dropped, the same page is asked for again.
    ///
    /// # Errors
    ///
    /// `Invalid` if the options or the module's name are wrong; `Refused` with the code
    /// `EXPIRED_VALUE` if a day has passed since the page before; those of
    /// [`RequestBuilder::send`](crate::RequestBuilder::send); `Malformed` if the answer is not a
    /// page of `T`, or if it says that more follows but not how to get it.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, CrmError> {
        let mut query = self.options.query()?;
        match &self.next {
            Next::Number => query.push(("page", self.number.to_string())),
            Next::Token(token) => query.push(("page_token", token.clone())),
            Next::Nothing => return Ok(None),
        }
        let mut request = self.records.request(Method::GET, "")?.query(&query);
        if let Some(time) = &self.options.modified_since {
            request = request.header("If-Modified-Since", time);
        }
        let answer = request.send().await?;
        let Some(Body { data, info }) = answer.content::<Body<T>>()? else {
            self.next = Next::Nothing;
            return Ok(None);
        };
        let more = info.more_records;
        let next = match info.next_page_token {
            _ if !more => Next::Nothing,
            _ if self.by_number() => Next::Number,
            Some(token) if !matches!(&self.next, Next::Token(this) if *this == token) => {
                Next::Token(token)
            }
            _ => {
                return Err(answer.malformed("the answer says that more follows, but not where"));
            }
        };
        if data.is_empty() && !more {
            self.next = Next::Nothing;
            return Ok(None);
        }
        let number = self.number;
        (self.next, self.number) = (next, number + 1);
        Ok(Some(Page { records: data, number, more }))
    }

    /// All records of the pages that were not read yet. They have to fit into memory.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub async fn all(mut self) -> Result<Vec<T>, CrmError> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page.records);
        }
        Ok(all)
    }

    /// The pages as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Page<T>, CrmError>> + Send {
        stream::try_unfold(self, |mut pager: Self| async move {
            Ok(pager.next().await?.map(|page| (page, pager)))
        })
    }

    /// Whether the page after this one can be had by its number.
    fn by_number(&self) -> bool {
        matches!(self.next, Next::Number)
            && (self.number + 1) * u64::from(self.options.per_page) <= DISCRETE
    }
}

impl<T> fmt::Debug for Pager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager")
            .field("records", &self.records)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert!(ListOptions::new(["Last_Name"]).query().is_ok());
        let fifty: Vec<String> = (0..50).map(|i| format!("Field_{i}")).collect();
        assert!(ListOptions::new(fifty.clone()).query().is_ok());
        for bad in [
            ListOptions::new(Vec::<String>::new()),
            ListOptions::new(fifty.into_iter().chain(["One_More".to_owned()])),
            ListOptions::new(["Last_Name,Email"]),
            ListOptions::new(["Last_Name"]).per_page(0),
            ListOptions::new(["Last_Name"]).per_page(201),
            ListOptions::new(["Last_Name"]).sort_by("a&b", SortOrder::Ascending),
            ListOptions::new(["Last_Name"]).parameter("page", "2"),
            ListOptions::new(["Last_Name"]).parameter("fields", "All"),
        ] {
            assert!(bad.query().is_err(), "{bad:?}");
        }
    }
}
