//! The client and the place of a login, for the verbs that begin one.

use clap::{Args, ValueEnum};
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, DataCenter, Environment, Login, TokenManager,
};
use zeroize::Zeroizing;

use crate::{context::Context, error::Failure, verbs::show};

/// Where the user is at home, and in which kind of organisation.
#[derive(Args)]
pub(crate) struct Place {
    /// The data centre: us, eu, in, au, cn, jp, ca, sa, uk or ae
    #[arg(long, value_name = "DC", default_value = "us")]
    dc: String,
    /// production, sandbox or developer
    #[arg(long, value_enum, hide_possible_values = true)]
    environment: Option<Kind>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Production,
    Sandbox,
    Developer,
}

impl Place {
    pub(crate) fn data_center(&self) -> Result<&'static DataCenter, Failure> {
        DataCenter::by_code(&self.dc).map_err(|error| Failure::usage(error.to_string()))
    }

    fn environment(&self) -> Option<Environment> {
        self.environment.map(|kind| match kind {
            Kind::Production => Environment::Production,
            Kind::Sandbox => Environment::Sandbox,
            Kind::Developer => Environment::Developer,
        })
    }

    /// The accounts server: `--accounts-server`, else the data centre's.
    pub(crate) fn accounts_server(&self, context: &Context) -> Result<AccountsServer, Failure> {
        let data_center = self.data_center()?;
        Ok(context.accounts_server()?.unwrap_or_else(|| data_center.accounts_server()))
    }
}

pub(crate) fn credentials(
    id: &str,
    secret: &Zeroizing<String>,
) -> Result<ClientCredentials, Failure> {
    Ok(ClientCredentials::new(id, ClientSecret::new(secret.as_str())?)?)
}

/// Logs in, and shows the token that it made and what was not as it should be.
pub(crate) async fn log_in(
    context: &Context,
    manager: &TokenManager,
    mut login: Login,
    user: Option<String>,
    place: &Place,
) -> Result<(), Failure> {
    if let Some(user) = user {
        login = login.user_name(user);
    }
    if let Some(environment) = place.environment() {
        login = login.environment(environment);
    }
    let logged_in = manager.log_in(login).await.map_err(|error| {
        let lost = error.unsaved_token().is_some();
        let failure = Failure::from(error);
        if lost {
            failure.hint(
                "the login went through and could not be stored: make room in the store or make \
                 it writable, then log in again",
            )
        } else {
            failure
        }
    })?;
    if let Some(warning) = &logged_in.warning {
        context.printer.warn(warning);
    }
    show::print(context, manager.store(), &logged_in.token).await
}
