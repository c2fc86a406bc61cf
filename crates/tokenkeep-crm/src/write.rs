//! What became of each record of a write.

use reqwest::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{CrmError, CrmErrorKind, CrmResponse, Record, RequestBuilder};

/// What became of one record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WriteResult {
    /// Whether it was taken.
    pub status: WriteStatus,
    /// The CRM's word: `SUCCESS`, `MANDATORY_NOT_FOUND`, …
    pub code: String,
    /// The CRM's sentence.
    pub message: String,
    /// The record's id, where the CRM says it.
    pub id: Option<String>,
    /// What else the CRM says: times and users if it was taken, the field at fault if not.
    pub details: Record,
    /// What an upsert did: `insert` or `update`.
    pub action: Option<String>,
    /// The field by which an upsert found the record.
    pub duplicate_field: Option<String>,
}

/// Whether a record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteStatus {
    /// It was taken.
    Success,
    /// It was not; [`WriteResult::code`] says why.
    Error,
}

impl WriteStatus {
    /// Whether the record was taken.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Success
    }
}

impl<'de> Deserialize<'de> for WriteResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            status: String,
            code: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            details: Value,
            #[serde(default)]
            action: Option<String>,
            #[serde(default)]
            duplicate_field: Option<String>,
        }
        let raw = Raw::deserialize(deserializer)?;
        // A list, if there is nothing to say.
        let details =
            if let Value::Object(details) = raw.details { details } else { Record::new() };
        let id = details.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(Self {
            status: if raw.status == "success" { WriteStatus::Success } else { WriteStatus::Error },
            code: raw.code,
            message: raw.message,
            id,
            details,
            action: raw.action,
            duplicate_field: raw.duplicate_field,
        })
    }
}

/// How many results a write has to have.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    Some,
    Exactly(usize),
}

#[derive(Deserialize)]
struct Body {
    data: Vec<WriteResult>,
}

/// Sends a write and reads its results. A refusal of every record comes as a refusal of the whole
/// request, with results in its body.
pub(crate) async fn send(
    request: RequestBuilder,
    expected: Expected,
) -> Result<Vec<WriteResult>, CrmError> {
    match request.send().await {
        Ok(answer) => {
            let body: Option<Body> = answer.content()?;
            let results = body.map(|body| body.data).unwrap_or_default();
            check(&answer, results, expected)
        }
        Err(error) => match refusals(&error, expected) {
            Some(results) => Ok(results),
            None => Err(error),
        },
    }
}

fn check(
    answer: &CrmResponse,
    results: Vec<WriteResult>,
    expected: Expected,
) -> Result<Vec<WriteResult>, CrmError> {
    match expected {
        Expected::Exactly(count) if results.len() != count => {
            let found = results.len();
            Err(answer.malformed(format!("the answer has {found} results for {count} records")))
        }
        Expected::Some if results.is_empty() => {
            Err(answer.malformed("the answer says of no record what became of it"))
        }
        Expected::Exactly(_) | Expected::Some => Ok(results),
    }
}

fn refusals(error: &CrmError, expected: Expected) -> Option<Vec<WriteResult>> {
    let may_have = error.kind() == CrmErrorKind::NoPermission
        || error.kind() == CrmErrorKind::Refused && error.status() == Some(StatusCode::BAD_REQUEST);
    let answer = error.response().filter(|_| may_have)?;
    let body: Body = answer.json().ok()?;
    check(answer, body.data, expected).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_are_read_whatever_their_details_are() {
        let result: WriteResult = serde_json::from_value(json!({
            "code": "SUCCESS", "details": { "id": "5000000000000300001" },
            "message": "record added", "status": "success",
        }))
        .unwrap();
        assert!(result.status.is_success());
        assert_eq!(result.id.as_deref(), Some("5000000000000300001"));

        for details in [json!([]), json!(null), json!({}), json!("x")] {
            let result: WriteResult = serde_json::from_value(
                json!({ "code": "INVALID_DATA", "status": "error", "details": details }),
            )
            .unwrap();
            assert_eq!(result.status, WriteStatus::Error);
            assert_eq!((result.id, result.details.len()), (None, 0));
        }
    }
}
