//! Where a token is refreshed and where its API calls go.

use tokenkeep_core::{Environment, OAuthToken, TokenState};
use tokenkeep_oauth::{AccountsServer, DataCenter};

use crate::{ManagerError, ManagerErrorKind, builder::Settings};

/// The accounts server that refreshes `token`: the configured one, the one it was issued by, the
/// one of the data centre that its API domain belongs to, or that of the default data centre.
///
/// # Errors
///
/// Invalid if the stored accounts server is none.
pub(crate) fn accounts_server(
    settings: &Settings,
    token: &OAuthToken,
    state: Option<&TokenState>,
) -> Result<AccountsServer, ManagerError> {
    if let Some(server) = &settings.accounts_server {
        return Ok(server.clone());
    }
    if let Some(server) = state.and_then(|state| state.accounts_server.as_deref()) {
        return AccountsServer::parse(server).map_err(|error| {
            ManagerError::new(
                ManagerErrorKind::Invalid,
                format!("the stored accounts server cannot be used: {error}"),
            )
        });
    }
    Ok(data_center(settings, token, state).accounts_server())
}

/// Where API calls with `token` go: the configured domain, the stored one, or that of its data
/// centre and environment.
pub(crate) fn api_domain(
    settings: &Settings,
    token: &OAuthToken,
    state: Option<&TokenState>,
) -> String {
    let domain = match (&settings.api_domain, token.api_domain()) {
        (Some(configured), _) => configured.to_string(),
        (None, Some(stored)) => stored.to_owned(),
        (None, None) => data_center(settings, token, state)
            .api_domain(environment(settings, state).unwrap_or_default())
            .to_owned(),
    };
    domain.trim_end_matches('/').to_owned()
}

/// The environment that was asked for, if one was.
pub(crate) fn environment(settings: &Settings, state: Option<&TokenState>) -> Option<Environment> {
    state.and_then(|state| state.environment).or(settings.environment)
}

/// The data centre of `token`.
pub(crate) fn data_center(
    settings: &Settings,
    token: &OAuthToken,
    state: Option<&TokenState>,
) -> &'static DataCenter {
    state
        .and_then(|state| state.data_center.as_deref())
        .and_then(|code| DataCenter::by_code(code).ok())
        .or_else(|| token.api_domain().and_then(DataCenter::of_api_domain).map(|(dc, _)| dc))
        .unwrap_or(settings.data_center)
}
