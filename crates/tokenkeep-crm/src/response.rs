//! Answers: read up to a limit, decoded without quoting them.

use std::fmt;

use bytes::{Bytes, BytesMut};
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{CrmError, CrmErrorKind, request::What};

/// An answer of the CRM. `Debug` shows its status and length; headers and body have to be asked
/// for.
#[derive(Clone)]
pub struct CrmResponse {
    what: What,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl CrmResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body; empty where the CRM has nothing to say (204, 304).
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body alone.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    ///
    /// `Malformed` if it is not JSON, or not that of a `T`: where, but not what stands there.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CrmError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let message = if self.body.is_empty() {
                "the answer is empty".to_owned()
            } else {
                let problem = if error.is_data() {
                    "has JSON of another shape than expected"
                } else {
                    "is not JSON"
                };
                format!("the answer {problem}: line {}, column {}", error.line(), error.column())
            };
            self.malformed(message)
        })
    }

    pub(crate) fn malformed(&self, message: impl Into<String>) -> CrmError {
        CrmError::malformed(&self.what, message).with_status(self.status)
    }

    /// The body as a list or an object that the CRM puts records into, or `None` if there is none.
    ///
    /// An error that comes with a status of success is an error.
    pub(crate) fn content<T: DeserializeOwned>(&self) -> Result<Option<T>, CrmError> {
        if matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(None);
        }
        self.json().map(Some).map_err(|error| {
            let Envelope { code, field } = Envelope::of(&self.body);
            if code.as_deref().is_none_or(|code| code == "SUCCESS") {
                return error;
            }
            CrmError::new(CrmErrorKind::Refused, "the CRM refused it")
                .at(&self.what)
                .with_code(code, field)
                .with_response(self.clone())
        })
    }
}

impl fmt::Debug for CrmResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrmResponse")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Reads the body, `max` bytes at most.
pub(crate) async fn read(
    what: &What,
    mut answer: reqwest::Response,
    max: usize,
) -> Result<CrmResponse, CrmError> {
    let too_large = |status| {
        CrmError::new(
            CrmErrorKind::TooLarge,
            format!("the answer is larger than the limit of {max} bytes"),
        )
        .lost(what)
        .with_status(status)
    };
    let status = answer.status();
    let announced = answer.content_length().unwrap_or(0);
    if announced > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(too_large(status));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| CrmError::http(what, error).with_status(status))?
    {
        if chunk.len() > max - body.len() {
            return Err(too_large(status));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(CrmResponse {
        what: what.clone(),
        status,
        headers: std::mem::take(answer.headers_mut()),
        body: body.freeze(),
    })
}

/// What of the CRM's error envelope is safe to show: words that cannot be a token.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) code: Option<String>,
    pub(crate) field: Option<String>,
}

impl Envelope {
    /// Of an answer as a whole, or of its only record.
    pub(crate) fn of(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Raw {
            code: Option<Value>,
            details: Option<Value>,
            data: Option<Vec<Value>>,
        }
        let Ok(raw) = serde_json::from_slice::<Raw>(body) else { return Self::default() };
        match (&raw.code, raw.data.as_deref()) {
            (None, Some([only])) => Self::from_parts(only.get("code"), only.get("details")),
            (code, _) => Self::from_parts(code.as_ref(), raw.details.as_ref()),
        }
    }

    fn from_parts(code: Option<&Value>, details: Option<&Value>) -> Self {
        let code = code.and_then(Value::as_str).filter(|code| is_code(code));
        let field = details
            .and_then(|details| details.get("api_name").or_else(|| details.get("param_name")))
            .and_then(Value::as_str)
            .filter(|name| is_name(name));
        Self { code: code.map(ToOwned::to_owned), field: field.map(ToOwned::to_owned) }
    }
}

/// `INVALID_DATA`. Nothing that could be a token: those have lower case, dots or hyphens.
fn is_code(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(word)
}

/// `Last_Name`. Nothing that could be a token: Zoho's have dots.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '$')
        && text.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: &str) -> (Option<String>, Option<String>) {
        let Envelope { code, field } = Envelope::of(body.as_bytes());
        (code, field)
    }

    #[test]
    fn only_words_are_taken_from_a_refusal() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            envelope(r#"{"code":"INVALID_DATA","details":{"param_name":"page_token"}}"#),
            (some("INVALID_DATA"), some("page_token"))
        );
        assert_eq!(
            envelope(
                r#"{"data":[{"code":"MANDATORY_NOT_FOUND","details":{"api_name":"Last_Name"}}]}"#
            ),
            (some("MANDATORY_NOT_FOUND"), some("Last_Name"))
        );
        assert_eq!(
            envelope(r#"{"code":"INVALID_TOKEN","details":{}}"#),
            (some("INVALID_TOKEN"), None)
        );
        for silent in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"code":1}"#,
            r#"{"code":"1000.test-access-token"}"#,
            r#"{"code":{"a":1},"details":{"api_name":"1000.test.token"}}"#,
            r#"{"details":{"api_name":"test-access-token"}}"#,
        ] {
            assert_eq!(envelope(silent), (None, None), "{silent}");
        }
    }
}
