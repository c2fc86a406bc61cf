//! What the URLs of both stores say: `scheme:NAME?region=…&profile=…&role=…&endpoint=…`.

use std::time::Duration;

use tokenkeep_connect::{Parameters, decoded};
use tokenkeep_core::{StoreError, StoreErrorKind};
use url::Url;

use crate::AwsAccess;

/// What both stores have in their URLs, and the parameters that are left.
pub(crate) struct StoreUrl {
    /// The table or the secret.
    pub(crate) name: String,
    pub(crate) access: AwsAccess,
    pub(crate) timeout: Option<Duration>,
    pub(crate) parameters: Parameters,
}

impl StoreUrl {
    /// Takes a URL with one of these schemes apart. What is wrong is told without it.
    pub(crate) fn parse(text: &str, schemes: &[&str]) -> Result<Self, StoreError> {
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        if !schemes.contains(&scheme) {
            return Err(invalid(format!("the URL does not begin with {}:", schemes[0])));
        }
        let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A name may begin with a slash, but not with what begins a host.
        let name = decoded(name.strip_prefix("//").unwrap_or(name))?;
        if name.is_empty() {
            return Err(invalid(format!("the URL names nothing after {scheme}:")));
        }
        let mut parameters = Parameters::parse(query)?;
        let mut access = AwsAccess::new();
        if let Some(region) = parameters.text("region")? {
            access = access.region(region);
        }
        if let Some(profile) = parameters.text("profile")? {
            access = access.profile(profile);
        }
        if let Some(role) = parameters.text("role")? {
            access = access.role(role);
        }
        if let Some(endpoint) = parameters.text("endpoint")? {
            access = access.endpoint(checked(endpoint)?);
        }
        let timeout = parameters.seconds("timeout")?;
        Ok(Self { name, access, timeout, parameters })
    }
}

/// That nothing is left, such as a key.
pub(crate) fn finish(parameters: Parameters) -> Result<(), StoreError> {
    parameters.finish().map_err(|error| {
        let hint = error.hint().unwrap_or_default();
        let hint = format!("{hint}; keys come from the environment or a profile");
        error.with_hint(hint)
    })
}

/// An endpoint, which is shown.
fn checked(endpoint: String) -> Result<String, StoreError> {
    let url = Url::parse(&endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| {
        invalid("the endpoint in the URL is not a URL".to_owned())
            .with_hint("write it like endpoint=https://dynamodb.eu-central-1.example.com")
    })?;
    if url.username().is_empty() && url.password().is_none() {
        Ok(endpoint)
    } else {
        Err(invalid("the endpoint in the URL has a login".to_owned())
            .with_hint("keys come from the environment or a profile"))
    }
}

fn invalid(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_stores_have_is_taken() {
        let text = "aws-x:prod%2Ftokens?region=eu-west-1&profile=p&role=arn:aws:iam::1:role/r\
                    &endpoint=http%3A%2F%2F127.0.0.1:1&timeout=2.5&more=1";
        let mut url = StoreUrl::parse(text, &["aws-x"]).unwrap();
        assert_eq!((&*url.name, url.timeout), ("prod/tokens", Some(Duration::from_millis(2_500))));
        let shown = format!("{:?}", url.access);
        for part in ["eu-west-1", "\"p\"", "arn:aws:iam::1:role/r", "http://127.0.0.1:1"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(url.parameters.number("more").unwrap(), Some(1));
        finish(url.parameters).unwrap();
    }

    #[test]
    fn a_name_may_begin_with_a_slash() {
        let name = |text| StoreUrl::parse(text, &["x", "aws-x"]).unwrap().name;
        assert_eq!(name("x:/prod/tokens"), "/prod/tokens");
        assert_eq!(name("aws-x://prod/tokens?region=eu"), "prod/tokens");
        let arn = "arn:aws:dynamodb:eu-west-1:1:table/t";
        assert_eq!(name(&format!("x:{arn}")), arn);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_url() {
        for text in [
            "aws-x:",
            "aws-y:test-secret",
            "test-secret",
            "aws-x:?region=test-secret",
            "aws-x:t?secret_key=test-secret",
            "aws-x:t?test-secret=1",
            "aws-x:t?timeout=test-secret",
            "aws-x:t?region=a&region=test-secret",
            "aws-x:t?endpoint=test-secret",
            "aws-x:t?endpoint=https://id:test-secret@host",
            "aws-x:t?endpoint=file:///test-secret",
            "aws-x:%ff",
        ] {
            let error = StoreUrl::parse(text, &["aws-x"])
                .and_then(|url| finish(url.parameters))
                .expect_err(text);
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(!format!("{error} {error:?}").contains("test-secret"), "{error:?}");
        }
    }

    #[test]
    fn an_unknown_parameter_says_where_keys_come_from() {
        let url = StoreUrl::parse("aws-x:t?region=eu&key=test-secret", &["aws-x"]).unwrap();
        let error = finish(url.parameters).unwrap_err();
        assert_eq!(error.to_string(), "parameter 2 of the URL is not known");
        assert_eq!(
            error.hint(),
            Some(
                "known are region, profile, role, endpoint and timeout; keys come from the \
                 environment or a profile"
            )
        );
    }
}
