//! Parameters of a request, from its query and its form.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{
        HeaderMap,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::form_urlencoded;

/// Parameters by name. What the body says comes before what the query says.
#[derive(Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query alone.
    pub(crate) fn of_query(query: Option<&str>) -> Self {
        Self(pairs(query.unwrap_or_default().as_bytes()))
    }

    /// Reads body and query. A JSON body is not read, as at Zoho; neither is a multipart one.
    pub(crate) fn of_request(query: Option<&str>, headers: &HeaderMap, body: &[u8]) -> Self {
        let is_form = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_none_or(|value| value.starts_with("application/x-www-form-urlencoded"));
        let mut found = if is_form { pairs(body) } else { Vec::new() };
        found.extend(pairs(query.unwrap_or_default().as_bytes()));
        Self(found)
    }

    /// The first value of `name` that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, value)| given == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All pairs, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = BytesRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, BytesRejection> {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        let body = Bytes::from_request(request, state).await?;
        Ok(Self::of_request(uri.query(), &headers, &body))
    }
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

/// The client's id and secret: from the parameters, or else from a Basic header.
pub(crate) fn client_credentials(
    params: &Params,
    headers: &HeaderMap,
) -> (Option<String>, Option<String>) {
    let (basic_id, basic_secret) = basic(headers).unzip();
    (
        params.get("client_id").map(ToOwned::to_owned).or(basic_id),
        params.get("client_secret").map(ToOwned::to_owned).or(basic_secret),
    )
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_body_comes_first_and_empty_values_are_absent() {
        let params =
            Params::of_request(Some("a=query&b=two&c="), &HeaderMap::new(), b"a=body&d=x%20y");
        assert_eq!(params.get("a"), Some("body"));
        assert_eq!(params.get("b"), Some("two"));
        assert_eq!(params.get("c"), None);
        assert_eq!(params.get("d"), Some("x y"));
    }

    #[test]
    fn json_is_not_a_form() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(Params::of_request(None, &headers, b"a=1").get("a"), None);
    }

    #[test]
    fn credentials_come_from_either_place() {
        let mut headers = HeaderMap::new();
        let encoded = format!("Basic {}", STANDARD.encode("id:test-secret:1"));
        headers.insert(AUTHORIZATION, encoded.parse().unwrap());
        let (id, secret) = client_credentials(&Params::default(), &headers);
        assert_eq!(id.as_deref(), Some("id"));
        assert_eq!(secret.as_deref(), Some("test-secret:1"));
    }
}
