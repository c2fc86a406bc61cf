//! The client and the place of a login, for the verbs that begin one.

use std::ffi::OsStr;

use clap::{
    Arg, Args, Command, ValueEnum,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use tokenkeep::{
    AccountsServer, ClientCredentials, ClientSecret, DataCenter, Environment, Fingerprint, Login,
    OAuthToken, Spool, Spooled, TokenManager,
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

/// Puts the token of a login that could not be stored into the spool. Says what is to be done.
async fn keep(context: &Context, manager: &TokenManager, token: &OAuthToken) -> String {
    let id = token.id();
    let kept = async {
        let spool = context.spool().ok().flatten()?;
        let stored = manager.store().find_token_by_id(id?).await.ok().flatten()?;
        if stored.refresh_token() == token.refresh_token() {
            return Some("the token itself is stored".to_owned());
        }
        let grant = Fingerprint::of_grant(&stored)?;
        let entry = Spooled::new(id?.clone(), grant, token.clone(), context.clock.now());
        if let Err(error) = spool.put(&entry).await {
            tracing::warn!(%error, "the token of the login could not be put into the spool");
            return None;
        }
        Some(format!("it is kept in {}", spool.directory().display()))
    };
    match (kept.await, id) {
        (Some(kept), Some(id)) => format!(
            "the login went through and {kept}: make room in the store or make it writable, then \
             `tokenkeep recover` and `tokenkeep token --id {id}`"
        ),
        _ => "the login went through and could not be stored: make room in the store or make it \
              writable, then log in again"
            .to_owned(),
    }
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
    let logged_in = match manager.log_in(login).await {
        Ok(logged_in) => logged_in,
        Err(error) => {
            let hint = match error.unsaved_token() {
                Some(token) => Some(keep(context, manager, token).await),
                None => None,
            };
            let failure = Failure::from(error);
            return Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            });
        }
    };
    if let Some(warning) = &logged_in.warning {
        context.printer.warn(warning);
    }
    show::print(context, manager.store(), &logged_in.token).await
}
