//! `--accounts-server` and `--api-domain`: other servers than Zoho's.

use tokenkeep::{AccountsServer, ApiDomain};

use crate::error::Failure;

const RULE: &str = "use https://HOST, or http://127.0.0.1:PORT for an emulator or a test";

pub(crate) fn accounts_server(url: &str) -> Result<AccountsServer, Failure> {
    AccountsServer::parse(url).map_err(|error| {
        Failure::usage(format!("`--accounts-server` cannot be used: {error}")).hint(RULE)
    })
}

pub(crate) fn api_domain(url: &str) -> Result<ApiDomain, Failure> {
    ApiDomain::parse(url).map_err(|error| {
        Failure::usage(format!("`--api-domain` cannot be used: {error}")).hint(RULE)
    })
}
