//! Where a request goes: parsed before there is a token, and bound to the token's API domain
//! before the token is sent.

use std::borrow::Cow;

use url::{Host, Origin, Url};

use crate::CrmError;

/// A checked path, with the query that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Begins with a slash, has no `.`, `..` or empty segment.
    pub(crate) path: String,
    query: Option<String>,
    /// The only origin that it may go to, where one was named.
    origin: Option<Origin>,
}

impl Target {
    /// Reads `Leads/123` (below `/crm/{version}`), `/crm/v8/Leads/123`, or a whole URL.
    pub(crate) fn parse(version: &str, text: &str) -> Result<Self, CrmError> {
        if text.contains("://") && !text.starts_with('/') {
            let url = Url::parse(text)
                .map_err(|_its_text| CrmError::invalid("the URL of a request cannot be read"))?;
            if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
                return Err(CrmError::invalid(
                    "the URL of a request must have no user information and no fragment",
                ));
            }
            let path = url.path().to_owned();
            check(path.strip_prefix('/').unwrap_or(&path))?;
            let query = url.query().map(ToOwned::to_owned);
            return Ok(Self { path, query, origin: Some(url.origin()) });
        }
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (text, None),
        };
        let ends = |character: char| character == '#' || character.is_control();
        if query.as_deref().is_some_and(|query| query.contains(ends)) {
            return Err(CrmError::invalid(
                "the query of a request must have no `#` and no control character",
            ));
        }
        let path = match path.strip_prefix('/') {
            Some(below) => {
                check(below)?;
                path.to_owned()
            }
            None => {
                check(path)?;
                format!("/crm/{version}/{path}")
            }
        };
        Ok(Self { path, query, origin: None })
    }

    /// The URL at this API domain, and whether that is on this machine. The token may be sent
    /// there.
    pub(crate) fn at(&self, api_domain: &str) -> Result<(Url, bool), CrmError> {
        let (mut url, loopback) = origin_of(api_domain)?;
        if self.origin.as_ref().is_some_and(|origin| *origin != url.origin()) {
            return Err(CrmError::invalid("the URL is not at the token's API domain").with_hint(
                "give a path; the client puts the API domain of the user's token in front of it",
            ));
        }
        url.set_path(&self.path);
        url.set_query(self.query.as_deref());
        Ok((url, loopback))
    }
}

/// The API domain as a URL: `https`, or `http` on loopback; an origin and nothing else.
fn origin_of(api_domain: &str) -> Result<(Url, bool), CrmError> {
    let url = Url::parse(api_domain)
        .map_err(|_its_text| CrmError::invalid("the token's API domain is not a URL"))?;
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        return Err(CrmError::invalid(
            "the token's API domain is not https, and http is for loopback only",
        ));
    }
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare {
        return Err(CrmError::invalid("the token's API domain is more than an origin"));
    }
    Ok((url, loopback))
}

/// Whether all segments of a path are plain: none that a URL parser or a server would take for
/// another path, or for the end of it.
fn check(path: &str) -> Result<(), CrmError> {
    let plain = |segment: &str| match decode(segment) {
        None => false,
        Some(decoded) => {
            !segment.contains(is_odd)
                && !matches!(&*decoded, b"" | b"." | b"..")
                && !decoded
                    .iter()
                    .any(|byte| matches!(byte, b'/' | b'\\') || byte.is_ascii_control())
        }
    };
    if path.split('/').all(plain) {
        return Ok(());
    }
    Err(CrmError::invalid("the path of a request is not a plain path").with_hint(
        "such as `Leads/123`, which is below /crm/v8, or `/crm/v8/Leads/123`; no `.`, `..`, empty \
         segment, blank or backslash",
    ))
}

/// What must not be in a path as it is.
fn is_odd(character: char) -> bool {
    matches!(character, '#' | '\\') || character.is_whitespace() || character.is_control()
}

/// The bytes of a segment, or `None` if its percent signs are not followed by two digits.
fn decode(segment: &str) -> Option<Cow<'_, [u8]>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut parts = segment.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let code = part.get(..2)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(Cow::Owned(bytes))
}

/// The id of a record: digits.
pub(crate) fn record_id(id: &str) -> Result<&str, CrmError> {
    if (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(id);
    }
    Err(CrmError::invalid("the id of a record must be digits"))
}

/// The API name of a module.
pub(crate) fn module_name(name: &str) -> Result<&str, CrmError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=100).contains(&name.len()) && name.bytes().all(word) {
        return Ok(name);
    }
    Err(CrmError::invalid("the API name of a module must be letters, digits and underscores")
        .with_hint("such as `Leads`; not the name that the CRM's pages show"))
}

/// The API name of a field, which may be one of a record that it refers to.
pub(crate) fn field_name(name: &str) -> Result<&str, CrmError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    if (1..=100).contains(&name.len()) && name.bytes().all(word) {
        return Ok(name);
    }
    Err(CrmError::invalid("the API name of a field must be letters, digits and underscores")
        .with_hint("such as `Last_Name`; not the name that the CRM's pages show"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "https://www.zohoapis.eu";

    fn url(text: &str) -> Result<String, CrmError> {
        Target::parse("v8", text)?.at(DOMAIN).map(|(url, _)| url.into())
    }

    #[test]
    fn paths_stay_at_the_api_domain() {
        for (given, expected) in [
            ("Leads", "/crm/v8/Leads"),
            ("Leads/123", "/crm/v8/Leads/123"),
            ("Leads?fields=id", "/crm/v8/Leads?fields=id"),
            ("Leads?word=a b", "/crm/v8/Leads?word=a%20b"),
            ("Leads?ids=1,2&page=3", "/crm/v8/Leads?ids=1,2&page=3"),
            ("/crm/bulk/v8/read", "/crm/bulk/v8/read"),
            ("settings/fields/a%20b", "/crm/v8/settings/fields/a%20b"),
            ("https://www.zohoapis.eu/crm/v8/Leads?page=1", "/crm/v8/Leads?page=1"),
            ("https://www.zohoapis.eu:443/crm/v8/Leads", "/crm/v8/Leads"),
        ] {
            assert_eq!(url(given).unwrap(), format!("{DOMAIN}{expected}"), "{given}");
        }
    }

    #[test]
    fn nothing_leads_elsewhere() {
        for given in [
            "",
            "/",
            "//evil.example/crm",
            "/crm//v8",
            "../../oauth/v2/token",
            "/crm/../oauth",
            "Leads/./1",
            "Leads/%2e%2E/x",
            "Leads/.%2e/x",
            "Leads/%2F/x",
            "Leads%5c..",
            "Leads/%0d%0aX",
            "Leads/%",
            "Leads/%2",
            "Leads/%+1",
            "Leads\\..\\x",
            "Leads/1#x",
            "Le ads",
            "Leads\n",
            "Leads?a=b\nc",
            "Leads?a=b#c",
            "https://evil.example/crm/v8/Leads",
            "http://www.zohoapis.eu/crm/v8/Leads",
            "https://www.zohoapis.eu:444/crm/v8/Leads",
            "https://www.zohoapis.eu@evil.example/crm",
            "https://user@www.zohoapis.eu/crm/v8/Leads",
            "https://www.zohoapis.eu.evil.example/crm",
            "https://www.zohoapis.eu/a//b",
            "file:///etc/passwd",
            "https://",
        ] {
            let error = url(given).expect_err(given);
            assert_eq!(error.kind(), crate::CrmErrorKind::Invalid, "{given}");
            assert!(!error.to_string().contains("evil"), "{error}");
        }
    }

    #[test]
    fn the_api_domain_is_https_or_loopback_and_an_origin() {
        let target = Target::parse("v8", "Leads").unwrap();
        for good in [
            "https://www.zohoapis.com",
            "http://127.0.0.1:81",
            "http://[::1]:8080",
            "http://localhost:1",
        ] {
            assert_eq!(target.at(good).unwrap().0.as_str(), format!("{good}/crm/v8/Leads"));
        }
        for bad in [
            "http://www.zohoapis.com",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "ftp://127.0.0.1",
            "https://user@www.zohoapis.com",
            "https://www.zohoapis.com/crm",
            "https://www.zohoapis.com?x",
            "www.zohoapis.com",
            "",
        ] {
            assert!(target.at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_ids_are_words() {
        assert!(module_name("Custom_Module__s").is_ok());
        assert!(record_id("5000000000000300001").is_ok());
        assert!(field_name("$approved").is_ok());
        assert!(field_name("Owner.email").is_ok());
        for bad in ["", "Leads/1", "Leads?x", "..", "Le ads", "L\u{e9}ads", "a,b"] {
            assert!(module_name(bad).is_err(), "{bad}");
            assert!(record_id(bad).is_err(), "{bad}");
        }
        assert!(record_id("12a").is_err());
        assert!(record_id("\u{661}").is_err(), "a digit, but none of ours");
        assert!(field_name("a,b").is_err());
    }
}
