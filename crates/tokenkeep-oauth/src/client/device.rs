//! The requests of the device flow.

use tokenkeep_core::ClientCredentials;

use super::OAuthClient;
use crate::{
    AccountsServer, DeviceAuthorization, DevicePoll, OAuthError, OAuthErrorKind,
    reply::{parse_device_authorization, parse_device_poll},
};

impl OAuthClient {
    /// Begins a login on a machine that has no browser: `POST {server}/oauth/v3/device/code` with
    /// `grant_type=device_request`.
    ///
    /// `server` is that of the data centre where the *client* is registered. With `offline` the
    /// user is asked for consent each time, because only then there is a refresh token each time.
    ///
    /// ```no_run
    /// use tokenkeep_core::{ClientCredentials, ClientSecret};
    /// use tokenkeep_oauth::{DataCenter, DevicePoll, OAuthClient};
    ///
    /// # async fn example(app: ClientCredentials) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = OAuthClient::builder().build()?;
    /// let mut server = DataCenter::by_code("us")?.accounts_server();
    /// let device = client.device_code(&server, app.id(), &["ZohoCRM.users.READ"], true).await?;
    /// println!("open {} and type in {}", device.verification_url, device.user_code);
    /// let mut interval = device.interval;
    /// let reply = loop {
    ///     tokio::time::sleep(interval).await;
    ///     match client.device_token(&server, &app, &device).await? {
    ///         DevicePoll::Issued(reply) => break reply,
    ///         DevicePoll::SlowDown => interval += std::time::Duration::from_secs(5),
    ///         DevicePoll::OtherDataCenter(code) => {
    ///             server = DataCenter::by_code(&code)?.accounts_server();
    ///         }
    ///         _ => {}
    ///     }
    /// };
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]; [`InvalidInput`](OAuthErrorKind::InvalidInput) if there is no
    /// scope, or one has a blank or a comma in it.
    pub async fn device_code(
        &self,
        server: &AccountsServer,
        client_id: &str,
        scopes: &[impl AsRef<str> + Sync],
        offline: bool,
    ) -> Result<DeviceAuthorization, OAuthError> {
        let scopes: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        let is_scope = |scope: &&str| {
            !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
        };
        if scopes.is_empty() || !scopes.iter().all(is_scope) {
            return Err(OAuthError::new(
                OAuthErrorKind::InvalidInput,
                "a login needs scopes, each without blanks and commas",
            )
            .with_hint("for example ZohoCRM.modules.ALL"));
        }
        let scope = scopes.join(",");
        let mut fields = vec![
            ("grant_type", "device_request"),
            ("client_id", client_id),
            ("scope", &scope),
            ("access_type", if offline { "offline" } else { "online" }),
        ];
        if offline {
            fields.push(("prompt", "consent"));
        }
        let result =
            self.post(server, "/oauth/v3/device/code", &fields, parse_device_authorization);
        // A code that nobody gets to see expires by itself.
        let result = result.await.map_err(|error| error.applied(false).at(server));
        match &result {
            Ok(device) => {
                let expires_in = device.expires_in.as_secs();
                tracing::debug!(%server, expires_in, "a device flow has begun");
            }
            Err(error) => tracing::debug!(%server, kind = ?error.kind(), "no device flow"),
        }
        result
    }

    /// Asks once for the tokens of a device: `POST {server}/oauth/v3/device/token` with
    /// `grant_type=device_token`.
    ///
    /// Wait for the [interval](DeviceAuthorization::interval) first, each time. `server` is where
    /// the flow was begun, until [`DevicePoll::OtherDataCenter`] names another one.
    ///
    /// # Errors
    ///
    /// See [`OAuthErrorKind`]. The flow is over with [`AccessDenied`](OAuthErrorKind::AccessDenied)
    /// (the user refused) and [`CodeExpiredOrUsed`](OAuthErrorKind::CodeExpiredOrUsed) (nobody
    /// decided in time). After a [transient](OAuthError::is_transient) error one may poll again;
    /// should the lost answer have been the tokens, the code is used up.
    pub async fn device_token(
        &self,
        server: &AccountsServer,
        client: &ClientCredentials,
        device: &DeviceAuthorization,
    ) -> Result<DevicePoll, OAuthError> {
        let secrets = [client.secret().expose_secret(), device.device_code.expose_secret()];
        let fields = [
            ("grant_type", "device_token"),
            ("client_id", client.id()),
            ("client_secret", secrets[0]),
            ("code", secrets[1]),
        ];
        let result = self.post(server, "/oauth/v3/device/token", &fields, parse_device_poll);
        let mut result = result.await.map_err(|error| {
            let expired = error.kind() == OAuthErrorKind::CodeExpiredOrUsed;
            let error = error.at(server).without_echo(&secrets);
            if expired { error.with_hint("begin the login again") } else { error }
        });
        match &mut result {
            Ok(DevicePoll::Issued(reply)) => {
                reply.forget_loopback_unless(server.is_loopback());
                let refresh_token = reply.refresh_token.is_some();
                tracing::debug!(%server, refresh_token, "the device's tokens received");
            }
            Ok(poll) => tracing::debug!(%server, ?poll, "no tokens for the device yet"),
            Err(error) => {
                tracing::debug!(%server, kind = ?error.kind(), "no tokens for the device");
            }
        }
        result
    }
}
