//! The client and the place of a login, for the verbs that begin one.

use std::ffi::OsStr;

use clap::{
    Arg, Args, Command, ValueEnum,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
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
    #[arg(value_parser = DataCenterCode, hide_possible_values = true)]
    dc: String,
    /// production, sandbox or developer [default: the one that the provider names]
    #[arg(long, value_enum, hide_possible_values = true)]
    environment: Option<Kind>,
}

/// Takes any text, because [`DataCenter::by_code`] says what is wrong with it and does not repeat a
/// secret; a shell completes the codes that there are.
#[derive(Clone)]
pub(crate) struct DataCenterCode;

impl TypedValueParser for DataCenterCode {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(DataCenter::all().iter().map(|known| PossibleValue::new(known.code()))))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Production,
    Sandbox,
    Developer,
}

impl Place {
    pub(crate) fn data_center(&self) -> Result<&'static DataCenter, Failure> {
        data_center(&self.dc)
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

/// The data centre with this code.
pub(crate) fn data_center(code: &str) -> Result<&'static DataCenter, Failure> {
    DataCenter::by_code(code).map_err(|error| Failure::usage(error.to_string()))
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
