//! What the provider's words for a refusal mean.

use super::{Grant, throttled};
use crate::{OAuthError, OAuthErrorKind};

/// The refusal of a token request or a login, by its `error` and `error_description`.
///
/// | error | means |
/// |---|---|
/// | `invalid_client` | wrong client id, or wrong data centre |
/// | `invalid_client_secret` | wrong secret |
/// | `invalid_redirect_uri` | not the registered one |
/// | `invalid_code` | at a login: expired or used; at a refresh: revoked; or wrong data centre |
/// | `access_denied` | the user refused |
/// | `Access Denied` + "too many requests" | throttled |
/// | `missing_org_info` | no organisation was named |
/// | `general_error`, `server_error` | unspecified; may pass, and may have been done nevertheless |
/// | `temporarily_unavailable` | busy; may pass |
pub(crate) fn refusal(grant: Grant, error: &str, description: Option<&str>) -> OAuthError {
    let word = error.trim();
    let too_many = description
        .map(str::to_ascii_lowercase)
        .is_some_and(|text| text.contains("too many requests"));
    // The throttle's word differs from a user's refusal by a blank, and by its description.
    let throttle = (word == "Access Denied" && description.is_none()) || too_many;
    if throttle {
        return throttled().with_code(short_code(word));
    }
    let canonical = word.to_ascii_lowercase().replace([' ', '-'], "_");
    let new = |kind, message: &str| OAuthError::new(kind, message);
    let refused = match &*canonical {
        "invalid_client" | "invalid_client_id" | "unauthorized_client" => {
            new(OAuthErrorKind::WrongClient, "the client is not known there")
                .with_hint("check the client id and the data centre")
        }
        "invalid_client_secret" => {
            new(OAuthErrorKind::WrongClientSecret, "the client secret is not the client's")
                .with_hint("check the client secret and the data centre")
        }
        "invalid_redirect_uri" | "redirect_uri_mismatch" => {
            new(OAuthErrorKind::WrongRedirectUrl, "the redirect URL is not the registered one")
                .with_hint(
                    "it must be, letter for letter, the one in the API console and the one that \
                     the login was begun with; a self client has none",
                )
        }
        "invalid_code" | "invalid_grant" => match grant {
            Grant::Code => new(
                OAuthErrorKind::CodeExpiredOrUsed,
                "the code has expired, was used before, or is another client's or data centre's",
            )
            .with_hint("a code works once and for two minutes: get a new one"),
            Grant::RefreshToken => new(
                OAuthErrorKind::NeedsLogin,
                "the refresh token is not good any more, or is another client's or data centre's",
            )
            .with_hint("the user must log in again"),
            Grant::Device => device_code_gone(),
        },
        "expired" | "expired_token" if grant == Grant::Device => device_code_gone(),
        "access_denied" => {
            new(OAuthErrorKind::AccessDenied, "the user refused, or access is not allowed")
        }
        "other_dc" => new(OAuthErrorKind::WrongDataCenter, "the user is of another data centre"),
        "missing_org_info" => {
            new(OAuthErrorKind::MissingOrg, "the grant needs an organisation, and none was named")
        }
        "invalid_scope" | "oauth_scope_mismatch" | "invalid_oauthscope" | "scope_mismatch" => {
            new(OAuthErrorKind::ScopeMismatch, "a scope is not valid, or not the client's to ask")
                .with_hint("check the scopes, for example ZohoCRM.modules.ALL")
        }
        "too_many_requests" => throttled(),
        // Something broke on the way, and nobody says how far it had come.
        "general_error" | "server_error" | "internal_error" => {
            new(OAuthErrorKind::Provider, "the provider failed without saying why")
                .transient(true)
                .applied(true)
        }
        "temporarily_unavailable" => {
            new(OAuthErrorKind::Provider, "the provider is busy or under maintenance")
                .transient(true)
        }
        _ => new(OAuthErrorKind::Provider, "the provider refused the request"),
    };
    refused.with_code(short_code(word))
}

fn device_code_gone() -> OAuthError {
    OAuthError::new(
        OAuthErrorKind::CodeExpiredOrUsed,
        "the device's code has expired, was used before, or is another client's",
    )
}

/// The refusal of an API call, by its `code`.
pub(super) fn api_refusal(code: &str) -> OAuthError {
    let code = code.trim();
    let new = |kind, message: &str| OAuthError::new(kind, message);
    let refused = match &*code.to_ascii_uppercase() {
        "OAUTH_SCOPE_MISMATCH" => {
            new(OAuthErrorKind::ScopeMismatch, "the token lacks the scope to say whose it is")
                .with_hint("log in with the scope ZohoCRM.users.READ too")
        }
        "INVALID_TOKEN" | "AUTHENTICATION_FAILURE" | "INVALID_OAUTHTOKEN" => {
            new(OAuthErrorKind::AccessTokenRefused, "the API does not take this access token")
                .with_hint(
                    "it has expired or was revoked, or the API domain is another data centre's",
                )
        }
        "NO_PERMISSION" | "ACCESS_DENIED" => {
            new(OAuthErrorKind::AccessDenied, "the user's profile does not allow it")
        }
        upper if upper == "TOO_MANY_REQUESTS" || upper.starts_with("LIMIT") => {
            new(OAuthErrorKind::Throttled, "too many API calls: refused for a while")
        }
        "INTERNAL_ERROR" | "INTERNAL_SERVER_ERROR" => {
            new(OAuthErrorKind::Provider, "the provider failed without saying why").transient(true)
        }
        _ => new(OAuthErrorKind::Provider, "the provider refused the request"),
    };
    refused.with_code(short_code(code))
}

/// `text`, if it can only be a word for an error: at most 64 letters, digits, underscores,
/// hyphens and blanks, in words of at most 24 characters, with at most four digits. A token is
/// longer in one piece or has more digits.
fn short_code(text: &str) -> Option<String> {
    let in_a_code = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    let is_a_code = (1..=64).contains(&text.len())
        && text.chars().all(in_a_code)
        && text.split(['_', '-', ' ']).all(|word| word.len() <= 24)
        && text.bytes().filter(u8::is_ascii_digit).count() <= 4;
    is_a_code.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_only_if_it_can_be_no_token() {
        for code in ["invalid_code", "Access Denied", "OAUTH_SCOPE_MISMATCH", "error-4001"] {
            assert_eq!(short_code(code).as_deref(), Some(code));
        }
        for text in [
            "",
            "1000.test.token",
            "1000_aabbccdd00112233",
            "abcdefghijklmnopqrstuvwxyz",
            "a\nb",
            "<b>",
            "\u{e9}",
            &"ab ".repeat(30),
        ] {
            assert_eq!(short_code(text), None, "{text}");
        }
    }
}
