//! What a program tells an emulator, and what it counted.

use crate::{
    clients::Registration, config::Config, in_process::InProcess, state::NewUser, stats::Stats,
};

impl InProcess {
    /// What it counted: `GET /emulator/stats`.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// The number of its organisation, as in `soid=ZohoCRM.{zgid}`.
    #[must_use]
    pub fn zgid(&self) -> String {
        self.shared.lock().site.zgid.clone()
    }

    /// Registers a client and a user, who gets a self-client code and a refresh token with all
    /// scopes: `POST /emulator/users`. A client that is known gets the secret that is given here.
    pub fn add_user(
        &self,
        email: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
    ) -> NewUser {
        self.register(email.into(), client_id.into(), client_secret.into(), None)
    }

    /// [`add_user`](Self::add_user) with no more than these scopes, separated by commas.
    pub fn add_user_with_scope(
        &self,
        email: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        scope: impl Into<String>,
    ) -> NewUser {
        self.register(email.into(), client_id.into(), client_secret.into(), Some(scope.into()))
    }

    fn register(
        &self,
        email: String,
        client_id: String,
        client_secret: String,
        scope: Option<String>,
    ) -> NewUser {
        let registration =
            Registration { email, client_id, client_secret, scope, redirect_uris: Vec::new() };
        self.shared.lock().register(self.shared.now(), registration)
    }

    /// Registers a client without a user, as the API console does. Without `redirect_uris` codes
    /// may be sent to any `http` or `https` address.
    pub fn add_client<'a>(
        &self,
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        redirect_uris: impl IntoIterator<Item = &'a str>,
    ) {
        let mut state = self.shared.lock();
        let client = state.clients.entry(client_id.into()).or_default();
        client.secret = client_secret.into();
        client.redirect_uris = redirect_uris.into_iter().map(ToOwned::to_owned).collect();
    }

    /// Accepts (`Some(email)`) or refuses (`None`) a device: `POST /emulator/device/accept`.
    /// `false` if no device waits with this code.
    pub fn decide_device(&self, user_code: &str, email: Option<&str>) -> bool {
        self.shared.lock().decide_device(self.shared.now(), user_code, email)
    }

    /// Changes what `config` names: `POST /emulator/config`.
    pub fn configure(&self, config: Config) {
        self.shared.lock().configure(config);
    }

    /// Names another data centre's accounts server in `/oauth/serverinfo`.
    pub fn add_location(&self, location: impl Into<String>, accounts_server: impl Into<String>) {
        self.shared.lock().locations.insert(location.into(), accounts_server.into());
    }

    /// Expires every access token on the server's side: `POST /emulator/expire`.
    pub fn expire_access_tokens(&self) {
        self.shared.lock().expire_access_tokens();
    }

    /// Forgets everything, settings and counters included: `POST /emulator/reset`.
    pub fn reset(&self) {
        self.shared.lock().reset();
    }
}
