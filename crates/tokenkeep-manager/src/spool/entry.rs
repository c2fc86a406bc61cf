//! What a spooled token looks like in a file, before it is sealed.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use tokenkeep_core::{
    Field, Fingerprint, OAuthToken, StoreError, StoreErrorKind, Timestamp, TokenId,
};
use zeroize::Zeroizing;

use super::Spooled;

const VERSION: u32 = 1;

/// Room for what stands around the values, and for what sealing adds.
const FRAME: usize = 1024;

/// A byte of text is at most six in JSON (`\u0000`).
const LONGEST_ESCAPE: usize = 6;

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: u32,
    id: TokenId,
    grant: Fingerprint,
    issued_at: Timestamp,
    /// The columns that have a value, by the SDKs' names.
    token: BTreeMap<Cow<'static, str>, Zeroizing<String>>,
    /// The columns that storing the token makes empty.
    cleared: Vec<Cow<'static, str>>,
}

/// The text of an entry; its buffer has room for a seal.
pub(super) fn write(spooled: &Spooled) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let columns = Field::ALL.into_iter().zip(spooled.token.expose_columns());
    let token: BTreeMap<_, _> = columns
        .filter_map(|(field, value)| {
            Some((Cow::Borrowed(field.name()), Zeroizing::new(value?.into_owned())))
        })
        .collect();
    let cleared = Field::ALL.into_iter().filter(|field| spooled.token.clears(*field));
    let values: usize = token.values().map(|value| value.len()).sum();
    let entry = Entry {
        version: VERSION,
        id: spooled.id.clone(),
        grant: spooled.grant.clone(),
        issued_at: spooled.issued_at,
        token,
        cleared: cleared.map(|field| Cow::Borrowed(field.name())).collect(),
    };
    // A buffer that grows would leave copies of the secrets behind.
    let longest = FRAME + LONGEST_ESCAPE * (values + spooled.id.as_str().len());
    let mut text = Zeroizing::new(Vec::with_capacity(longest));
    serde_json::to_writer(&mut *text, &entry).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Invalid,
            format!("cannot write the token as JSON ({:?})", error.classify()),
        )
    })?;
    Ok(text)
}

/// The entry that was written as `text` in the file `name`.
pub(super) fn read(name: &str, text: &[u8]) -> Result<Spooled, StoreError> {
    // The error of the parser may show a value: only where it stopped is passed on.
    let damaged = |error: serde_json::Error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        super::file::damaged(name, &format!("what it holds is not an entry ({place})"))
    };
    let Versioned { version } = serde_json::from_slice(text).map_err(damaged)?;
    if version != VERSION {
        return Err(newer(name, version));
    }
    let mut entry: Entry = serde_json::from_slice(text).map_err(damaged)?;
    let columns = Field::ALL
        .map(|field| entry.token.remove(field.name()).map(|mut value| std::mem::take(&mut *value)));
    let mut token = OAuthToken::from_columns(columns).map_err(|error| {
        super::file::damaged(name, &format!("{}: {}", error.field(), error.rule()))
    })?;
    for field in Field::ALL {
        let before = entry.cleared.len();
        entry.cleared.retain(|cleared| cleared != field.name());
        if entry.cleared.len() < before {
            token = token.clear(field);
        }
    }
    if !entry.token.is_empty() || !entry.cleared.is_empty() {
        return Err(super::file::damaged(name, "it names a column that there is not"));
    }
    Ok(Spooled::new(entry.id, entry.grant, token, entry.issued_at))
}

/// The file was written by a version that does things differently.
pub(super) fn newer(name: &str, version: u32) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        format!("the spooled token {name} is of format version {version}; this program reads 1"),
    )
    .with_hint("use the newer program that wrote it, or remove the file if its token is not needed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "test.token";

    fn spooled() -> Spooled {
        let token = OAuthToken::builder()
            .id("7")
            .user_name("alice@example.com")
            .client("test-client", "test-secret")
            .refresh_token("test-refresh-new")
            .access_token("test-access \"\\\n\u{1f511}")
            .expiry_time(Timestamp::from_millis(1_764_000_003_600))
            .api_domain("https://www.zohoapis.eu")
            .build()
            .unwrap()
            .clear(Field::GrantToken);
        let old = OAuthToken::builder().refresh_token("test-one").build().unwrap();
        let grant = Fingerprint::of_grant(&old).unwrap();
        let id = TokenId::new("7").unwrap();
        Spooled::new(id, grant, token, Timestamp::from_millis(1_764_000_000_000))
    }

    #[test]
    fn the_text_has_exactly_this_form() {
        let text = write(&spooled()).unwrap();
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            concat!(
                r#"{"version":1,"id":"7","grant":"96f89aa34a27b129","issued_at":1764000000000,"#,
                r#""token":{"access_token":"test-access \"\\\n🔑","#,
                r#""api_domain":"https://www.zohoapis.eu","client_id":"test-client","#,
                r#""client_secret":"test-secret","expiry_time":"1764000003600","id":"7","#,
                r#""refresh_token":"test-refresh-new","user_name":"alice@example.com"},"#,
                r#""cleared":["grant_token"]}"#,
            )
        );
        assert_eq!(read(NAME, &text).unwrap(), spooled());
    }

    #[test]
    fn what_is_cleared_is_still_cleared() {
        let mut entry = spooled();
        for field in Field::ALL.into_iter().skip(1) {
            entry.token = entry.token.clear(field);
        }
        assert_eq!(read(NAME, &write(&entry).unwrap()).unwrap(), entry);
    }

    #[test]
    fn the_buffer_does_not_grow() {
        let mut entry = spooled();
        entry.token = entry.token.with_user_name("\u{1}".repeat(100_000)).unwrap();
        entry.id = TokenId::new("\u{2}".repeat(10_000)).unwrap();
        let text = write(&entry).unwrap();
        assert!(text.len() > 660_000, "{}", text.len());
        // As reserved: a buffer that had grown would have doubled.
        assert!(text.capacity() - text.len() < 4 * FRAME, "{}", text.capacity());
        assert_eq!(read(NAME, &text).unwrap(), entry);
    }

    #[test]
    fn another_version_says_so() {
        for version in [0, 2, 4_000_000_000_u32] {
            let text = format!(r#"{{"version":{version},"token":"of another shape"}}"#);
            let error = read(NAME, text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("version {version};")), "{error}");
        }
    }

    #[test]
    fn damage_is_an_error_that_shows_no_value() {
        let whole = String::from_utf8(write(&spooled()).unwrap().to_vec()).unwrap();
        let mut bad: Vec<String> = (0..whole.len())
            .step_by(7)
            .filter(|at| whole.is_char_boundary(*at))
            .map(|at| whole[..at].to_owned())
            .collect();
        for (from, to) in [
            (r#""id":"7","grant""#, r#""id":"","grant""#),
            (r#""1764000003600""#, r#""test-secret-in-the-wrong-place""#),
            (r#""client_secret""#, r#""client_sceret""#),
            (r#"["grant_token"]"#, r#"["test-secret-in-the-wrong-place"]"#),
            (r#"["grant_token"]"#, r#""test-secret-in-the-wrong-place""#),
            (r#""issued_at":"#, r#""issued_at":"test-secret-in-the-wrong-place","x":"#),
            (r#""cleared""#, r#""test-secret-in-the-wrong-place""#),
            (r#""version":1"#, r#""version":"test-secret-in-the-wrong-place""#),
        ] {
            assert!(whole.contains(from), "{from}");
            bad.push(whole.replacen(from, to, 1));
        }
        for text in bad {
            let error = read(NAME, text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{text}");
            assert!(error.hint().is_some());
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("test-secret"), "{shown}");
            assert!(!shown.contains("test-refresh"), "{shown}");
        }
    }
}
