//! JSON lines: one token a line, the ten fields by the SDKs' column names.

use serde_json::{Map, Value, error::Category};
use tokenkeep::{Field, OAuthToken};
use zeroize::Zeroizing;

/// One token as one line, without the line break. A field that is absent is `null`, and so is a
/// secret unless `with_secrets`.
pub(crate) fn write(token: &OAuthToken, with_secrets: bool) -> Zeroizing<String> {
    let columns = token.expose_columns();
    let fields = Field::ALL.iter().zip(&columns).map(|(field, value)| {
        let shown = value.as_deref().filter(|_| with_secrets || !field.is_secret());
        let value = shown.map_or(Value::Null, Value::from);
        format!("\"{field}\":{value}")
    });
    Zeroizing::new(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
}

/// Reads one line. The error says what is wrong with which field, and never its value.
pub(crate) fn read(line: &str) -> Result<OAuthToken, String> {
    let mut object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| match error.classify() {
            Category::Data => "must be a JSON object".to_owned(),
            Category::Io | Category::Syntax | Category::Eof => {
                format!("is not JSON: something is wrong at column {}", error.column())
            }
        })?;
    let mut columns: [Option<String>; 10] = Default::default();
    for (field, column) in Field::ALL.into_iter().zip(&mut columns) {
        *column = match object.remove(field.name()) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(Value::Number(number)) if field == Field::ExpiryTime && !number.is_f64() => {
                Some(number.to_string())
            }
            Some(_) if field == Field::ExpiryTime => {
                return Err(format!(
                    "{field}: must be a whole number of milliseconds, a string of one, or null"
                ));
            }
            Some(_) => return Err(format!("{field}: must be a string or null")),
        };
    }
    if let Some((name, _)) = object.into_iter().next() {
        return Err(format!(
            "{}: is not a field of a token; those are {}",
            field_name(&name),
            Field::ALL.map(Field::name).join(", ")
        ));
    }
    let token = OAuthToken::from_columns(columns).map_err(|error| error.to_string())?;
    if !token.has_token() {
        return Err("refresh_token: there is nothing to store; a token needs an access_token, a \
                    refresh_token or a grant_token (`export` writes them with --include-secrets)"
            .to_owned());
    }
    Ok(token)
}

/// An unknown name as it may be shown: it may be a secret that somebody's program put there.
fn field_name(name: &str) -> &str {
    let plain = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if plain { name } else { "a name that is not shown" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{"id":"7","user_name":"a\"b\né@x","client_id":"c","client_secret":"test-secret","refresh_token":"test-refresh","access_token":"test-access","grant_token":"test-grant","expiry_time":"1764000000000","redirect_url":"https://x/cb","api_domain":"https://www.zohoapis.eu"}"#;

    #[test]
    fn what_is_written_is_what_was_read() {
        assert_eq!(write(&read(FULL).unwrap(), true).as_str(), FULL);
        let sparse = read(r#"{"access_token":"test-access"}"#).unwrap();
        assert_eq!(
            write(&sparse, true).as_str(),
            r#"{"id":null,"user_name":null,"client_id":null,"client_secret":null,"refresh_token":null,"access_token":"test-access","grant_token":null,"expiry_time":null,"redirect_url":null,"api_domain":null}"#
        );
    }

    #[test]
    fn secrets_are_left_out_unless_asked_for() {
        let line = write(&read(FULL).unwrap(), false);
        assert!(!line.contains("test-"), "{}", line.as_str());
        assert!(line.contains(r#""user_name":"a\"b\né@x""#));
    }

    #[test]
    fn a_number_is_taken_for_the_expiry_only() {
        let token = read(r#"{"access_token":"test-a","expiry_time":1764000000000}"#).unwrap();
        assert_eq!(token.expiry_time().unwrap().as_millis(), 1_764_000_000_000);
        assert!(read(r#"{"access_token":5}"#).unwrap_err().starts_with("access_token: "));
    }

    #[test]
    fn errors_name_the_field_and_never_the_value() {
        for (line, field) in [
            ("", "is not JSON"),
            ("test-value", "is not JSON"),
            (r#"["test-value"]"#, "must be a JSON object"),
            (r#"{"refresh_token":["test-value"]}"#, "refresh_token: must be a string"),
            (r#"{"refresh_token":"x","expiry_time":"test-value"}"#, "expiry_time: "),
            (r#"{"refresh_token":"x","expiry_time":1.5}"#, "expiry_time: "),
            (r#"{"refresh_token":"x","colour":"test-value"}"#, "colour: is not a field"),
            (r#"{"refresh_token":"x","1000.test-value":1}"#, "a name that is not shown: "),
            (r#"{"user_name":"test-value"}"#, "refresh_token: there is nothing to store"),
            ("{}", "refresh_token: there is nothing to store"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.starts_with(field), "{line} → {error}");
            assert!(!error.contains("test-value"), "{error}");
        }
    }
}
