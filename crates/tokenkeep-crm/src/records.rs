//! The records of one module.

use std::fmt;

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    CrmClient, CrmError, ListOptions, Pager, RequestBuilder, WriteResult,
    path::{field_name, module_name, record_id},
    write::{self, Expected},
};

/// A record as the CRM sends it: API names of fields and their values.
pub type Record = Map<String, Value>;

/// How many records one request may write.
const MAX_RECORDS: usize = 100;

/// Reads and writes the records of one module. Made by [`CrmClient::records`].
///
/// Every write answers per record: one that the CRM did not take is a [`WriteResult`] that says
/// so, and not an error, whether others were taken (207) or none was.
///
/// ```no_run
/// # async fn example(crm: tokenkeep_crm::CrmClient) -> Result<(), tokenkeep_crm::CrmError> {
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Lead {
///     #[serde(rename = "Last_Name")]
///     last_name: String,
/// }
///
/// let leads = crm.records("Leads");
/// for result in leads.create(&[Lead { last_name: "Byron".to_owned() }]).await? {
///     match result.id.filter(|_| result.status.is_success()) {
///         Some(id) => {
///             let lead: Option<Lead> = leads.get_as(&id).await?;
///             assert!(lead.is_some());
///         }
///         None => eprintln!("not taken: {}", result.code),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Records {
    client: CrmClient,
    module: String,
    triggers: Option<Vec<String>>,
    unmodified_since: Option<String>,
}

impl Records {
    pub(crate) fn new(client: CrmClient, module: &str) -> Self {
        Self { client, module: module.to_owned(), triggers: None, unmodified_since: None }
    }

    /// What writes set off: `workflow`, `approval`, `blueprint`, or nothing if the list is empty.
    /// All of it unless this is called.
    pub fn triggers(mut self, names: &[&str]) -> Self {
        self.triggers = Some(names.iter().map(|&name| name.to_owned()).collect());
        self
    }

    /// Lets updates change no record that was changed after `time`, which is written like
    /// `2025-01-31T09:30:00+00:00`. They are `Modified` errors then.
    pub fn unmodified_since(mut self, time: impl Into<String>) -> Self {
        self.unmodified_since = Some(time.into());
        self
    }

    /// All records, page by page. Nothing is asked before [`Pager::next`].
    pub fn list(&self, options: ListOptions) -> Pager<Record> {
        self.list_as(options)
    }

    /// [`list`](Self::list) of a type of your own.
    pub fn list_as<T: DeserializeOwned>(&self, options: ListOptions) -> Pager<T> {
        Pager::new(self.clone(), options)
    }

    /// One record with all its fields, or `None` if there is none with this id.
    ///
    /// # Errors
    ///
    /// `Invalid` if the id is not of digits; and those of [`RequestBuilder::send`].
    pub async fn get(&self, id: &str) -> Result<Option<Record>, CrmError> {
        self.get_as(id).await
    }

    /// [`get`](Self::get) of a type of your own.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and `Malformed` if the record is not that of a `T`.
    pub async fn get_as<T: DeserializeOwned>(&self, id: &str) -> Result<Option<T>, CrmError> {
        #[derive(Deserialize)]
        struct Body<T> {
            data: Vec<T>,
        }
        let answer = self.request(Method::GET, &format!("/{}", record_id(id)?))?.send().await?;
        let body: Option<Body<T>> = answer.content()?;
        Ok(body.and_then(|body| body.data.into_iter().next()))
    }

    /// How many records the module has.
    ///
    /// # Errors
    ///
    /// Those of [`RequestBuilder::send`], and `Malformed` if the answer is no number.
    pub async fn count(&self) -> Result<u64, CrmError> {
        #[derive(Deserialize)]
        struct Body {
            count: u64,
        }
        let answer = self.request(Method::GET, "/actions/count")?.send().await?;
        Ok(answer.content::<Body>()?.map_or(0, |body| body.count))
    }

    /// Creates 1 to 100 records; a result for each, in their order.
    ///
    /// Zoho has no idempotency key: after an error whose [outcome](CrmError::outcome) is unknown
    /// the records may be there.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are no records or too many; those of [`RequestBuilder::send`]; and
    /// `Malformed` if the answer has not one result for each record.
    pub async fn create<T: Serialize + Sync>(
        &self,
        records: &[T],
    ) -> Result<Vec<WriteResult>, CrmError> {
        self.write(Method::POST, "", records, None).await
    }

    /// Updates 1 to 100 records, each of which has its `id`; a result for each, in their order.
    /// Fields that are absent stay as they are.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create), and `Modified` if a record was changed
    /// [meanwhile](Self::unmodified_since).
    pub async fn update<T: Serialize + Sync>(
        &self,
        records: &[T],
    ) -> Result<Vec<WriteResult>, CrmError> {
        self.write(Method::PUT, "", records, None).await
    }

    /// Updates the record with this id, which need not stand in the record.
    ///
    /// # Errors
    ///
    /// Those of [`update`](Self::update).
    pub async fn update_one<T: Serialize + Sync>(
        &self,
        id: &str,
        record: &T,
    ) -> Result<WriteResult, CrmError> {
        let below = format!("/{}", record_id(id)?);
        let records = std::slice::from_ref(record);
        let mut results = self.write(Method::PUT, &below, records, None).await?;
        results.pop().ok_or_else(|| CrmError::invalid("no result, though one was counted"))
    }

    /// Updates the records that are there and creates the others, 1 to 100 of them; a result for
    /// each, in their order, whose [`action`](WriteResult::action) says which of the two it was.
    ///
    /// A record is there if one has the same value in one of `duplicate_check_fields`; if there
    /// are none of these, the module's own decide. This is the write that can be made again when
    /// its outcome is not known.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create).
    pub async fn upsert<T: Serialize + Sync>(
        &self,
        records: &[T],
        duplicate_check_fields: &[&str],
    ) -> Result<Vec<WriteResult>, CrmError> {
        for name in duplicate_check_fields {
            field_name(name)?;
        }
        self.write(Method::POST, "/upsert", records, Some(duplicate_check_fields)).await
    }

    /// Deletes 1 to 100 records by their ids; a result for each.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are no ids, too many, or one that is not of digits; and those of
    /// [`RequestBuilder::send`].
    pub async fn delete<I: AsRef<str> + Sync>(
        &self,
        ids: &[I],
    ) -> Result<Vec<WriteResult>, CrmError> {
        check_count(ids.len())?;
        let ids: Vec<&str> =
            ids.iter().map(|id| record_id(id.as_ref())).collect::<Result<_, _>>()?;
        let request = self.request(Method::DELETE, "")?.query(&[("ids", ids.join(","))]);
        write::send(request, Expected::Some).await
    }

    async fn write<T: Serialize + Sync>(
        &self,
        method: Method,
        below: &str,
        records: &[T],
        duplicate_check_fields: Option<&[&str]>,
    ) -> Result<Vec<WriteResult>, CrmError> {
        #[derive(Serialize)]
        struct Body<'a, T> {
            data: &'a [T],
            #[serde(skip_serializing_if = "Option::is_none")]
            duplicate_check_fields: Option<&'a [&'a str]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            trigger: Option<&'a [String]>,
        }
        check_count(records.len())?;
        let body = Body {
            data: records,
            duplicate_check_fields: duplicate_check_fields.filter(|names| !names.is_empty()),
            trigger: self.triggers.as_deref(),
        };
        let update = method == Method::PUT;
        let mut request = self.request(method, below)?.json(&body)?;
        if let Some(time) = self.unmodified_since.as_deref().filter(|_| update) {
            request = request.header("If-Unmodified-Since", time);
        }
        write::send(request, Expected::Exactly(records.len())).await
    }

    /// A request to the module's path and what is `below` it.
    pub(crate) fn request(&self, method: Method, below: &str) -> Result<RequestBuilder, CrmError> {
        let module = module_name(&self.module)?;
        Ok(self.client.request(method, &format!("{module}{below}")))
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("client", &self.client)
            .field("module", &self.module)
            .finish_non_exhaustive()
    }
}

fn check_count(count: usize) -> Result<(), CrmError> {
    if (1..=MAX_RECORDS).contains(&count) {
        return Ok(());
    }
    Err(CrmError::invalid(format!(
        "one request writes 1 to {MAX_RECORDS} records, and {count} were given"
    ))
    .with_hint("write them by chunks of 100"))
}
