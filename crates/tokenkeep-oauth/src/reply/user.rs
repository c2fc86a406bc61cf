//! What the answer of `users?type=CurrentUser` means.

use serde::Deserialize;

use super::{Scalar, by_status, malformed, read, refusal::api_refusal};
use crate::OAuthError;

/// The longest list of users that is read.
pub const MAX_USERS_REPLY: usize = 1024 * 1024;

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurrentUser {
    /// The user's id in the organisation.
    pub id: String,
    /// The user's e-mail address: the user name of a token.
    pub email: String,
    /// The user's name, where there is one.
    pub full_name: Option<String>,
    /// The user's id at Zoho, where the answer has it.
    pub zuid: Option<String>,
}

#[derive(Deserialize)]
struct UsersFields<'a> {
    #[serde(borrow, default)]
    users: Option<Vec<UserFields<'a>>>,
    #[serde(borrow, default)]
    code: Scalar<'a>,
    #[serde(borrow, default)]
    error: Scalar<'a>,
}

#[derive(Deserialize)]
struct UserFields<'a> {
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    email: Scalar<'a>,
    #[serde(borrow, default)]
    full_name: Scalar<'a>,
    #[serde(borrow, default)]
    zuid: Scalar<'a>,
}

/// Reads the answer of `GET {api_domain}/crm/v8/users?type=CurrentUser`.
///
/// # Errors
///
/// [`ScopeMismatch`](crate::OAuthErrorKind::ScopeMismatch) if the token lacks `ZohoCRM.users.READ`;
/// [`AccessTokenRefused`](crate::OAuthErrorKind::AccessTokenRefused) if it is not good (any more); what
/// else the API says; [`Malformed`](crate::OAuthErrorKind::Malformed) if there is no user with an id and
/// an e-mail address.
pub fn parse_current_user(
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<CurrentUser, OAuthError> {
    // Nothing was asked to be done: no answer leaves anything in doubt.
    let read = read::<UsersFields<'_>>(status, content_type, body, MAX_USERS_REPLY);
    let fields = read.map_err(|error| error.applied(false))?;
    let error = [&fields.code, &fields.error].into_iter().find(|field| field.says_something());
    if let Some(error) = error {
        let refused = api_refusal(error.text().unwrap_or_default());
        return Err(by_status(refused, status).applied(false));
    }
    let user = fields.users.as_ref().and_then(|users| users.first()).and_then(|user| {
        Some(CurrentUser {
            id: printable(&user.id)?,
            email: printable(&user.email)?,
            full_name: printable(&user.full_name),
            zuid: printable(&user.zuid),
        })
    });
    user.ok_or_else(|| {
        malformed(status, body.len(), "a JSON object without the current user").applied(false)
    })
}

/// Text without control characters; a number as it is written, for an id has more digits than a
/// floating-point number keeps.
fn printable(field: &Scalar<'_>) -> Option<String> {
    if let Scalar::Number(number) = field {
        return Some((*number).to_owned());
    }
    let text = field.text()?.trim();
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}
