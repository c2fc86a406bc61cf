//! Reading JSON that may hold tokens, and may be wrong in every way.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// A value of a field, whatever its type is. Text is borrowed from the body where it can be, and
/// zeroized when dropped where it cannot.
///
/// Nonsense in one field costs no other: what is JSON and makes no sense, a number of a thousand
/// digits or half a surrogate pair, is [`Other`](Self::Other).
#[derive(Default)]
pub(super) enum Scalar<'a> {
    #[default]
    Absent,
    Bool(bool),
    /// A number as it is written.
    Number(&'a str),
    Borrowed(&'a str),
    Owned(Zeroizing<String>),
    /// An array or an object, or what cannot be read.
    Other,
}

impl Scalar<'_> {
    /// The text, if it is one and not empty.
    pub(super) fn text(&self) -> Option<&str> {
        let text = match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text.as_str(),
            Self::Absent | Self::Bool(_) | Self::Number(_) | Self::Other => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The number, written as one or as text.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(digits) => digits.parse::<f64>().ok(),
            Self::Borrowed(_) | Self::Owned(_) => self.text()?.trim().parse().ok(),
            Self::Absent | Self::Bool(_) | Self::Other => None,
        }
        .filter(|number| number.is_finite())
    }

    /// Whether it says anything: not absent, null, false or empty.
    pub(super) fn says_something(&self) -> bool {
        match self {
            Self::Absent | Self::Bool(false) => false,
            Self::Bool(true) | Self::Number(_) | Self::Other => true,
            Self::Borrowed(_) | Self::Owned(_) => self.text().is_some(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: &'de RawValue = Deserialize::deserialize(deserializer)?;
        Ok(Self::of_json(raw.get()))
    }
}

impl<'a> Scalar<'a> {
    /// Reads one value of JSON, which is known to be one.
    fn of_json(json: &'a str) -> Self {
        match json {
            "null" => Self::Absent,
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            _ if json.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) => {
                Self::Number(json)
            }
            _ => match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(text) if !text.contains('\\') => Self::Borrowed(text),
                Some(_) => match serde_json::from_str(json) {
                    Ok(text) => Self::Owned(Zeroizing::new(text)),
                    // The error would echo values: it ends here.
                    Err(_echoes) => Self::Other,
                },
                None => Self::Other,
            },
        }
    }
}

/// Why a body is not the JSON object that was expected. Says nothing of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAnObject {
    /// What it is, for a sentence "the answer is …".
    pub(super) what: &'static str,
    /// Whether it looks like the beginning of one.
    pub(super) cut_off: bool,
}

/// Reads a JSON object with the fields of `T`; others are ignored.
pub(super) fn object<'a, T: Deserialize<'a>>(
    content_type: Option<&str>,
    body: &'a [u8],
) -> Result<T, NotAnObject> {
    let not = |what| NotAnObject { what, cut_off: false };
    let html = content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    let Ok(text) = std::str::from_utf8(body) else { return Err(not("not text in UTF-8")) };
    let text = text.trim_ascii();
    match text.bytes().next() {
        None => return Err(not("empty")),
        Some(b'{') => {}
        Some(b'<') => return Err(not("an HTML or XML page")),
        Some(_) if html => return Err(not("an HTML page")),
        Some(_) => return Err(not("not a JSON object")),
    }
    // The error would echo values: it ends here.
    serde_json::from_str(text).map_err(|error| {
        if error.is_eof() {
            NotAnObject { what: "a JSON object that is cut off", cut_off: true }
        } else if error.is_syntax() {
            not("not valid JSON")
        } else {
            not("a JSON object of another shape")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct One<'a> {
        #[serde(borrow, default)]
        a: Scalar<'a>,
    }

    fn a(json: &str) -> Option<String> {
        let one: One<'_> = object(None, json.as_bytes()).unwrap();
        let number = one.a.number().map(|number| format!("number {number}"));
        number.or_else(|| one.a.text().map(str::to_owned))
    }

    #[test]
    fn any_type_is_read() {
        assert_eq!(a(r#"{"a":"x"}"#).as_deref(), Some("x"));
        assert_eq!(a(r#"{"a":"\u0078\n"}"#).as_deref(), Some("x\n"));
        assert_eq!(a(r#"{"a":-3}"#).as_deref(), Some("number -3"));
        assert_eq!(a(r#"{"a":" 3600 "}"#).as_deref(), Some("number 3600"));
        assert_eq!(a(r#"{"a":1e300}"#).map(|text| text.len()), Some("number ".len() + 301));
        for absent in
            ["{}", r#"{"a":null}"#, r#"{"a":""}"#, r#"{"a":[1,{"b":2}]}"#, r#"{"a":{"b":[]}}"#]
        {
            assert_eq!(a(absent), None, "{absent}");
        }
        assert_eq!(a(r#"{"a":"inf"}"#).as_deref(), Some("inf"));
        let digits = "9".repeat(400);
        for nonsense in ["1e400", "-1E999", &digits, r#""\ud800""#, r#""\udc00\ud800""#] {
            assert_eq!(a(&format!(r#"{{"a":{nonsense}}}"#)), None, "{nonsense}");
        }
    }

    #[test]
    fn what_is_no_object_is_described() {
        for (content_type, body, what, cut_off) in [
            (None, &b""[..], "empty", false),
            (None, b" \r\n", "empty", false),
            (None, b"<html>", "an HTML or XML page", false),
            (Some("Text/HTML; charset=utf-8"), b"Bad gateway", "an HTML page", false),
            (None, b"[1]", "not a JSON object", false),
            (None, b"\"a\"", "not a JSON object", false),
            (None, b"error=invalid_code", "not a JSON object", false),
            (None, b"{\"a\":\"x", "a JSON object that is cut off", true),
            (None, b"{", "a JSON object that is cut off", true),
            (None, b"{a:1}", "not valid JSON", false),
            (None, b"{} {}", "not valid JSON", false),
            (None, b"{\"a\":1,\"a\":2}", "a JSON object of another shape", false),
            (None, b"{\"a\":\"\xff\"}", "not text in UTF-8", false),
        ] {
            let error = object::<One<'_>>(content_type, body).err();
            assert_eq!(error, Some(NotAnObject { what, cut_off }), "{body:?}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(10_000));
        assert!(object::<One<'_>>(None, deep.as_bytes()).is_err());
    }
}
