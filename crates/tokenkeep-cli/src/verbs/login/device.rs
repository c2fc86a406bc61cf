//! `tokenkeep login --device`: a login for a machine without a browser.

use std::time::Duration;

use tokenkeep::{
    AccountsServer, ClientCredentials, DataCenter, Login, OAuthClient, OAuthError, OAuthErrorKind,
    TokenQuery,
    oauth::{DeviceAuthorization, DevicePoll, TokenReply},
};
use tokio::time::{Instant, sleep_until};

use super::Args;
use crate::{client, context::Context, error::Failure, exit, signals};

/// What the interval grows by when the provider says that a poll came too early, or says nothing.
const SLOWER: Duration = Duration::from_secs(5);

pub(super) async fn run(
    args: Args,
    client: ClientCredentials,
    context: &Context,
) -> Result<(), Failure> {
    if let Some(user) = &args.user {
        // Before it costs a login.
        TokenQuery::user(user)?;
    }
    let own_server = context.accounts_server()?.is_some();
    let mut flow = Flow {
        oauth: OAuthClient::builder().build()?,
        server: args.place.accounts_server(context)?,
        data_center: args.place.data_center()?,
        own_server,
        client,
    };
    // The store is opened first: a login must not be lost because it cannot be written.
    let manager = context.manager().await?;
    let stop = signals::told_to_stop()?;
    let device = flow.oauth.device_code(&flow.server, flow.client.id(), &args.scopes, true).await?;
    show(context, &device);
    // The last poll comes when the code has expired, so that the provider says so.
    let last = device.expires_in + device.interval;
    let patience = args.timeout.map_or(last, |seconds| last.min(Duration::from_secs(seconds)));
    let reply = flow.wait(&device, patience, stop).await?;

    let login = Login::issued(flow.client, reply)
        .data_center(flow.data_center)
        .accounts_server(flow.server);
    client::log_in(context, &manager, login, args.user, &args.place).await
}

fn show(context: &Context, device: &DeviceAuthorization) {
    let DeviceAuthorization { verification_url: url, user_code, .. } = device;
    let minutes = device.expires_in.as_secs().div_ceil(60);
    let filled_in = match &device.verification_url_complete {
        Some(complete) => format!("\nor, with the code filled in:\n  {complete}"),
        None => String::new(),
    };
    context.printer.prompt(&format!(
        "Open this page in a browser on any device, within {minutes} min:\n  {url}\n\
         and enter the code:\n  {user_code}{filled_in}"
    ));
}

/// A device flow, and where it has got to.
struct Flow {
    oauth: OAuthClient,
    client: ClientCredentials,
    server: AccountsServer,
    data_center: &'static DataCenter,
    /// Whether the accounts server was named by the user.
    own_server: bool,
}

impl Flow {
    /// Polls until the user has decided.
    async fn wait(
        &mut self,
        device: &DeviceAuthorization,
        patience: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<TokenReply, Failure> {
        let mut stop = std::pin::pin!(stop);
        let until = Instant::now() + patience;
        let mut interval = device.interval;
        loop {
            let next = Instant::now() + interval;
            // Only the pause is broken off: an answer on its way may be the tokens.
            tokio::select! {
                biased;
                () = &mut stop => return Err(Failure::failed("the login was given up")),
                () = sleep_until(next.min(until)) => {}
            }
            if next > until {
                return Err(nobody_decided());
            }
            match self.oauth.device_token(&self.server, &self.client, device).await {
                Ok(DevicePoll::Issued(reply)) => return Ok(reply),
                Ok(DevicePoll::SlowDown) => interval += SLOWER,
                Ok(DevicePoll::OtherDataCenter(code)) => self.follow(&code)?,
                Ok(_) => {}
                Err(error) if may_pass(&error) => {
                    tracing::warn!(%error, "a poll failed; another one follows");
                    interval += SLOWER;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Goes on at the data centre that is the user's.
    fn follow(&mut self, code: &str) -> Result<(), Failure> {
        if self.own_server {
            return Err(Failure::failed(format!(
                "the user is of the data centre {code}, and the accounts server was named by hand"
            ))
            .hint("begin again, and name that data centre's with `--accounts-server`"));
        }
        let data_center = DataCenter::by_code(code).map_err(|unknown| {
            Failure::failed(format!("the user is of another data centre: {unknown}"))
        })?;
        tracing::info!(%data_center, "the user is of another data centre");
        self.server = data_center.accounts_server();
        self.data_center = data_center;
        Ok(())
    }
}

/// Whether another poll may get an answer.
fn may_pass(error: &OAuthError) -> bool {
    error.is_transient() && error.kind() != OAuthErrorKind::Throttled
}

fn nobody_decided() -> Failure {
    Failure::new(exit::NEEDS_LOGIN, "nobody entered the code in time")
        .hint("begin the login again with `tokenkeep login --device`")
}

#[cfg(test)]
mod tests {
    use tokenkeep::ClientSecret;

    use super::*;

    fn flow(own_server: bool) -> Flow {
        let us = DataCenter::by_code("us").unwrap();
        let secret = ClientSecret::new("test-secret").unwrap();
        Flow {
            oauth: OAuthClient::builder().build().unwrap(),
            client: ClientCredentials::new("test-client", secret).unwrap(),
            server: us.accounts_server(),
            data_center: us,
            own_server,
        }
    }

    #[test]
    fn a_user_of_another_data_center_is_followed_there() {
        let mut flow = flow(false);
        flow.follow("eu").unwrap();
        assert_eq!(flow.server.as_str(), "https://accounts.zoho.eu");
        assert_eq!(flow.data_center.code(), "eu");
        let unknown = flow.follow("mars").unwrap_err();
        assert_eq!(unknown.code, exit::FAILED);
        assert!(unknown.message.contains("mars"), "{unknown:?}");
    }

    #[test]
    fn a_server_that_was_named_is_not_left() {
        let mut flow = flow(true);
        let failure = flow.follow("eu").unwrap_err();
        assert!(failure.message.contains("data centre eu"), "{failure:?}");
        assert_eq!(flow.server.as_str(), "https://accounts.zoho.com");
    }
}
