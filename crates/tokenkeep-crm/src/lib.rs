//! A Zoho CRM v8 client on top of the token manager.
//!
//! [`CrmClient`] makes authenticated requests for one user: the token comes from a
//! [`TokenHandle`](tokenkeep_manager::TokenHandle), so it is fresh, and where the CRM refuses it
//! all the same, it is renewed once and the request is made again. [`Records`] reads and writes
//! the records of a module; [`Pager`] reads all of them, past the two thousand that page numbers
//! reach.
//!
//! ```no_run
//! use tokenkeep_crm::{CrmClient, CrmError, ListOptions, Method};
//! use tokenkeep_manager::TokenHandle;
//!
//! # async fn example(handle: TokenHandle) -> Result<(), CrmError> {
//! let crm = CrmClient::new(handle)?;
//! println!("logged in as {}", crm.current_user().await?.email);
//!
//! let mut leads = crm.records("Leads").list(ListOptions::new(["Last_Name", "Email"]));
//! while let Some(page) = leads.next().await? {
//!     for lead in &page.records {
//!         println!("{}", lead["Last_Name"]);
//!     }
//! }
//!
//! // Whatever has no method here:
//! let modules = crm.request(Method::GET, "settings/modules").send().await?;
//! println!("{} bytes", modules.body().len());
//! # Ok(())
//! # }
//! ```
//!
//! # What is retried, and what is not
//!
//! A request is made a second time only after the CRM refused to authenticate the first one
//! (`INVALID_TOKEN` or `AUTHENTICATION_FAILURE`): nothing was done, so this holds for writes too.
//! Nothing else is retried. [`CrmError::outcome`] says whether a write that failed may have been
//! made; after that, [`Records::upsert`] is the write that can be made again.
//!
//! # Where a token goes
//!
//! To the API domain that its handle names, by `https` (`http` on loopback only), in a header that
//! is marked as sensitive. A path cannot lead elsewhere, a URL of another host is refused, and
//! redirects are not followed. Errors name the method and the path, the status and the CRM's code;
//! neither a query nor a body. What is logged through `tracing` is no more than that.
#![forbid(unsafe_code)]

mod client;
mod error;
mod list;
mod org;
mod path;
mod records;
mod request;
mod response;
mod scope;
mod transport;
mod write;

pub use reqwest::{Method, StatusCode, header};

pub use self::{
    client::{CrmClient, CrmClientBuilder},
    error::{CrmError, CrmErrorKind},
    list::{ListOptions, Page, Pager, SortOrder},
    org::{Org, User},
    records::{Record, Records},
    request::RequestBuilder,
    response::CrmResponse,
    write::{WriteResult, WriteStatus},
};
