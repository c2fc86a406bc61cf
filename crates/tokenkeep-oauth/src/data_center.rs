//! [`DataCenter`]: where Zoho keeps its users, as data.

use std::{borrow::Cow, fmt};

use tokenkeep_core::Environment;

use crate::{AccountsServer, ApiDomain};

/// One of Zoho's data centres, or one of your own: its accounts server and its API domains.
///
/// A user lives in one data centre for good. Codes are exchanged and tokens are refreshed at that
/// one's accounts server; any other answers `invalid_client` or `invalid_code`.
///
/// ```
/// use tokenkeep_core::Environment;
/// use tokenkeep_oauth::DataCenter;
///
/// let eu = DataCenter::by_code("eu")?;
/// assert_eq!(eu.accounts_server().as_str(), "https://accounts.zoho.eu");
/// assert_eq!(eu.api_domain(Environment::Sandbox), "https://sandbox.zohoapis.eu");
///
/// let error = DataCenter::by_code("mars").unwrap_err();
/// assert!(error.to_string().contains("us, eu, in, au, cn, jp, ca, sa, uk, ae"));
/// # Ok::<(), tokenkeep_oauth::UnknownDataCenter>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCenter {
    code: Cow<'static, str>,
    accounts: AccountsServer,
    production: ApiDomain,
    sandbox: ApiDomain,
    developer: ApiDomain,
    upload: Option<ApiDomain>,
}

/// A row of the table: code, accounts host, API suffix, upload host.
macro_rules! zoho {
    ($code:literal, $accounts:literal, $apis:literal, $upload:expr) => {
        DataCenter {
            code: Cow::Borrowed($code),
            accounts: AccountsServer::of_table(concat!("https://", $accounts)),
            production: ApiDomain::of_table(concat!("https://www.", $apis)),
            sandbox: ApiDomain::of_table(concat!("https://sandbox.", $apis)),
            developer: ApiDomain::of_table(concat!("https://developer.", $apis)),
            upload: match $upload {
                Some(url) => Some(ApiDomain::of_table(url)),
                None => None,
            },
        }
    };
}

/// From Zoho's multi-DC pages and its SDKs. No official SDK knows `uk` and `ae`: their upload
/// hosts are not documented, and their sandbox and developer domains follow the pattern of the
/// others.
static ZOHO: [DataCenter; 10] = [
    zoho!("us", "accounts.zoho.com", "zohoapis.com", Some("https://content.zohoapis.com")),
    zoho!("eu", "accounts.zoho.eu", "zohoapis.eu", Some("https://content.zohoapis.eu")),
    zoho!("in", "accounts.zoho.in", "zohoapis.in", Some("https://content.zohoapis.in")),
    zoho!("au", "accounts.zoho.com.au", "zohoapis.com.au", Some("https://content.zohoapis.com.au")),
    zoho!("cn", "accounts.zoho.com.cn", "zohoapis.com.cn", Some("https://content.zohoapis.com.cn")),
    zoho!("jp", "accounts.zoho.jp", "zohoapis.jp", Some("https://content.zohoapis.jp")),
    zoho!("ca", "accounts.zohocloud.ca", "zohoapis.ca", Some("https://upload.zohocloud.ca")),
    zoho!("sa", "accounts.zoho.sa", "zohoapis.sa", Some("https://files.zoho.sa")),
    zoho!("uk", "accounts.zoho.uk", "zohoapis.uk", None),
    zoho!("ae", "accounts.zoho.ae", "zohoapis.ae", None),
];

impl DataCenter {
    /// Zoho's data centres, `us` first.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &ZOHO
    }

    /// Zoho's data centre with this code, for example `eu`, in either case.
    ///
    /// # Errors
    ///
    /// [`UnknownDataCenter`], which lists the known codes.
    pub fn by_code(code: &str) -> Result<&'static Self, UnknownDataCenter> {
        ZOHO.iter()
            .find(|data_center| data_center.code.eq_ignore_ascii_case(code.trim()))
            .ok_or_else(|| UnknownDataCenter::new(code))
    }

    /// Zoho's data centre that `domain` belongs to, and the environment it is the domain of.
    ///
    /// `domain` is what a token's `api_domain` says, for example `https://www.zohoapis.eu`.
    #[must_use]
    pub fn of_api_domain(domain: &str) -> Option<(&'static Self, Environment)> {
        let domain = ApiDomain::parse(domain).ok()?;
        ZOHO.iter().find_map(|data_center| {
            Environment::ALL
                .into_iter()
                .find(|environment| *data_center.api(*environment) == domain)
                .map(|environment| (data_center, environment))
        })
    }

    /// Zoho's data centre with this accounts server.
    #[must_use]
    pub fn of_accounts_server(server: &AccountsServer) -> Option<&'static Self> {
        ZOHO.iter().find(|data_center| data_center.accounts == *server)
    }

    /// A data centre that is not in the table: a new one, a private one, or a test server on
    /// loopback. All environments have the one API domain until you say otherwise.
    ///
    /// ```
    /// use tokenkeep_core::Environment;
    /// use tokenkeep_oauth::{AccountsServer, ApiDomain, DataCenter};
    ///
    /// let local = DataCenter::other(
    ///     "local",
    ///     AccountsServer::parse("http://127.0.0.1:8080")?,
    ///     ApiDomain::parse("http://127.0.0.1:8080")?,
    /// );
    /// assert_eq!(local.api_domain(Environment::Production), "http://127.0.0.1:8080");
    /// # Ok::<(), tokenkeep_oauth::OAuthError>(())
    /// ```
    #[must_use]
    pub fn other(
        code: impl Into<Cow<'static, str>>,
        accounts: AccountsServer,
        api: ApiDomain,
    ) -> Self {
        Self {
            code: code.into(),
            accounts,
            production: api.clone(),
            sandbox: api.clone(),
            developer: api,
            upload: None,
        }
    }

    /// With another API domain for one environment.
    #[must_use]
    pub fn with_api_domain(mut self, environment: Environment, domain: ApiDomain) -> Self {
        match environment {
            Environment::Sandbox => self.sandbox = domain,
            Environment::Developer => self.developer = domain,
            Environment::Production | _ => self.production = domain,
        }
        self
    }

    /// With the host that takes uploads.
    #[must_use]
    pub fn with_upload_host(mut self, host: ApiDomain) -> Self {
        self.upload = Some(host);
        self
    }

    /// Its code, for example `eu`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Where its users log in and its tokens are refreshed.
    #[must_use]
    pub fn accounts_server(&self) -> AccountsServer {
        self.accounts.clone()
    }

    /// Where API calls go in this environment, for example `https://www.zohoapis.eu`.
    #[must_use]
    pub fn api_domain(&self, environment: Environment) -> &str {
        self.api(environment).as_str()
    }

    /// Where API calls go in this environment.
    #[must_use]
    pub fn api(&self, environment: Environment) -> &ApiDomain {
        match environment {
            Environment::Sandbox => &self.sandbox,
            Environment::Developer => &self.developer,
            Environment::Production | _ => &self.production,
        }
    }

    /// Where uploads for bulk writes go, where that is known.
    #[must_use]
    pub fn upload_host(&self) -> Option<&str> {
        self.upload.as_ref().map(ApiDomain::as_str)
    }

    /// The codes of all of Zoho's data centres but the one at `server`.
    pub(crate) fn codes_without(server: &AccountsServer) -> Vec<&'static str> {
        ZOHO.iter().filter(|known| known.accounts != *server).map(Self::code).collect()
    }
}

impl fmt::Display for DataCenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)
    }
}

/// There is no data centre with this code; the message lists those there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; known are {}", self.what(), self.known().join(", "))]
pub struct UnknownDataCenter {
    /// What was asked for, if it looks like a code.
    code: Option<String>,
}

impl UnknownDataCenter {
    /// `code` is shown only if it looks like one: it may be a secret in the wrong place.
    fn new(code: &str) -> Self {
        let looks_like_a_code = (1..=8).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        Self { code: looks_like_a_code.then(|| code.to_owned()) }
    }

    fn what(&self) -> String {
        match &self.code {
            Some(code) => format!("there is no data centre `{code}`"),
            None => "that is not the code of a data centre".to_owned(),
        }
    }

    /// The codes there are.
    #[must_use]
    pub fn known(&self) -> Vec<&'static str> {
        ZOHO.iter().map(DataCenter::code).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_parsing_its_text_gives() {
        for data_center in DataCenter::all() {
            let accounts = AccountsServer::parse(data_center.accounts.as_str()).unwrap();
            assert_eq!(accounts, data_center.accounts);
            assert_eq!(DataCenter::of_accounts_server(&accounts), Some(data_center));
            assert_eq!(DataCenter::by_code(data_center.code()), Ok(data_center));
            for environment in Environment::ALL {
                let domain = data_center.api_domain(environment);
                assert_eq!(ApiDomain::parse(domain).unwrap(), *data_center.api(environment));
                assert_eq!(
                    DataCenter::of_api_domain(domain),
                    Some((data_center, environment)),
                    "{domain}"
                );
            }
            if let Some(host) = data_center.upload_host() {
                assert_eq!(ApiDomain::parse(host).unwrap().as_str(), host);
            }
        }
    }

    #[test]
    fn canada_and_saudi_arabia_differ_from_the_pattern() {
        let ca = DataCenter::by_code("ca").unwrap();
        assert_eq!(ca.accounts_server().as_str(), "https://accounts.zohocloud.ca");
        assert_eq!(ca.api_domain(Environment::Production), "https://www.zohoapis.ca");
        assert_eq!(ca.upload_host(), Some("https://upload.zohocloud.ca"));
        assert_eq!(
            DataCenter::by_code("SA ").unwrap().upload_host(),
            Some("https://files.zoho.sa")
        );
    }

    #[test]
    fn an_unknown_code_lists_the_known_ones_and_shows_no_secret() {
        let error = DataCenter::by_code("xx").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no data centre `xx`; known are us, eu, in, au, cn, jp, ca, sa, uk, ae"
        );
        let error = DataCenter::by_code("1000.test-refresh-token").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("test-refresh"));
    }

    #[test]
    fn an_api_domain_of_nobody_is_nobodys() {
        for domain in ["https://api.example.com", "", "www.zohoapis.eu", "https://zohoapis.eu"] {
            assert_eq!(DataCenter::of_api_domain(domain), None, "{domain}");
        }
    }

    #[test]
    fn other_takes_a_domain_for_each_environment() {
        let server = AccountsServer::parse("https://accounts.example.org").unwrap();
        let api = ApiDomain::parse("https://api.example.org").unwrap();
        let sandbox = ApiDomain::parse("https://sandbox.example.org").unwrap();
        let dc = DataCenter::other("own", server, api)
            .with_api_domain(Environment::Sandbox, sandbox.clone())
            .with_upload_host(sandbox);
        assert_eq!(dc.api_domain(Environment::Production), "https://api.example.org");
        assert_eq!(dc.api_domain(Environment::Developer), "https://api.example.org");
        assert_eq!(dc.api_domain(Environment::Sandbox), "https://sandbox.example.org");
        assert_eq!(dc.upload_host(), Some("https://sandbox.example.org"));
    }
}
