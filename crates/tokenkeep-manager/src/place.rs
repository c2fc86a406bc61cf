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

/// Where API calls go with what `server` has just issued: the environment that was asked for wins
/// over what the reply says.
pub(crate) fn issued_domain(
    settings: &Settings,
    token: &OAuthToken,
    state: &TokenState,
    server: &AccountsServer,
    replied: Option<&str>,
) -> String {
    if settings.api_domain.is_none()
        && let Some(replied) = replied
    {
        // Only a server of Zoho's says which domain the environment has; what another one issues
        // is not sent there.
        let at_zoho = *server == data_center(settings, token, Some(state)).accounts_server();
        if !at_zoho || environment(settings, Some(state)).is_none() {
            return replied.to_owned();
        }
    }
    match (&settings.api_domain, environment(settings, Some(state))) {
        (None, Some(environment)) => {
            data_center(settings, token, Some(state)).api_domain(environment).to_owned()
        }
        (Some(_), _) | (None, None) => api_domain(settings, token, Some(state)),
    }
}

/// The environment that was asked for, if one was.
pub(crate) fn environment(settings: &Settings, state: Option<&TokenState>) -> Option<Environment> {
    state.and_then(|state| state.environment).or(settings.environment)
}

/// Whether anything says where `token` was issued; otherwise the default data centre is a guess.
pub(crate) fn is_known(
    settings: &Settings,
    token: &OAuthToken,
    state: Option<&TokenState>,
) -> bool {
    settings.accounts_server.is_some()
        || state.is_some_and(|it| it.accounts_server.is_some() || it.data_center.is_some())
        || token.api_domain().and_then(DataCenter::of_api_domain).is_some()
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

#[cfg(test)]
mod tests {
    use tokenkeep_core::{AccessToken, ListStore};

    use super::*;
    use crate::TokenManager;

    #[test]
    fn what_is_issued_goes_to_the_environment_that_was_asked_for_and_never_from_elsewhere_to_zoho()
    {
        let manager = TokenManager::builder(ListStore::new()).build().unwrap();
        let settings = &manager.0.settings;
        let token = OAuthToken::from_access_token(AccessToken::new("test-access").unwrap());
        let eu = DataCenter::by_code("eu").unwrap().accounts_server();
        let own = AccountsServer::parse("https://accounts.example.com").unwrap();
        let (zoho, other) = (Some("https://www.zohoapis.eu"), Some("https://api.example.com"));
        let sandbox = Some(Environment::Sandbox);
        for (server, environment, replied, expected) in [
            (&eu, None, zoho, "https://www.zohoapis.eu"),
            (&eu, None, None, "https://www.zohoapis.eu"),
            (&eu, sandbox, zoho, "https://sandbox.zohoapis.eu"),
            (&eu, sandbox, None, "https://sandbox.zohoapis.eu"),
            (&own, None, other, "https://api.example.com"),
            (&own, sandbox, other, "https://api.example.com"),
        ] {
            let mut state = TokenState::default();
            state.data_center = Some("eu".to_owned());
            state.environment = environment;
            let domain = issued_domain(settings, &token, &state, server, replied);
            assert_eq!(domain, expected, "{server} {environment:?} {replied:?}");
        }
    }
}
