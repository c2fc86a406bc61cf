//! Who the token's user is, and for which organisation.

use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{CrmClient, CrmError, Record};

/// A user of the CRM.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The user's number in the CRM.
    pub id: String,
    /// The e-mail, by which the SDKs name a stored token.
    pub email: String,
    /// First and last name.
    #[serde(default)]
    pub full_name: Option<String>,
    /// `active`, for example.
    #[serde(default)]
    pub status: Option<String>,
    /// The time zone's name in the IANA database.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// All else that the CRM says: role, profile and so on.
    #[serde(flatten)]
    pub other: Record,
}

/// An organisation.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Org {
    /// Its number in the CRM.
    pub id: String,
    /// Its number at Zoho, as in `soid=ZohoCRM.{zgid}`.
    #[serde(default)]
    pub zgid: Option<String>,
    /// Its name.
    #[serde(default)]
    pub company_name: String,
    /// The CRM's `type`: `production`, `sandbox` or `developer`. It says which environment a token
    /// is for; the API domain need not.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The name of its pages' address.
    #[serde(default)]
    pub domain_name: Option<String>,
    /// The e-mail of its super administrator.
    #[serde(default)]
    pub primary_email: Option<String>,
    /// The time zone's name in the IANA database.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The home currency's code: `EUR`.
    #[serde(default)]
    pub iso_code: Option<String>,
    /// All else that the CRM says.
    #[serde(flatten)]
    pub other: Record,
}

pub(crate) async fn current_user(client: &CrmClient) -> Result<User, CrmError> {
    #[derive(Deserialize)]
    struct Body {
        users: Vec<User>,
    }
    let parameters = [("type", "CurrentUser")];
    first(client, "users", &parameters, |body: Body| body.users).await
}

pub(crate) async fn org(client: &CrmClient) -> Result<Org, CrmError> {
    #[derive(Deserialize)]
    struct Body {
        org: Vec<Org>,
    }
    first(client, "org", &[], |body: Body| body.org).await
}

async fn first<B: DeserializeOwned, T>(
    client: &CrmClient,
    path: &str,
    parameters: &[(&str, &str)],
    list: impl FnOnce(B) -> Vec<T>,
) -> Result<T, CrmError> {
    let answer = client.request(Method::GET, path).query(parameters).send().await?;
    let body: Option<B> = answer.content()?;
    body.and_then(|body| list(body).into_iter().next())
        .ok_or_else(|| answer.malformed("the answer names nobody"))
}
