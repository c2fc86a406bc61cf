//! Zoho's accounts servers: how a login becomes tokens, how tokens are refreshed and revoked, and
//! what the answers mean.
//!
//! - [`DataCenter`] is the table of Zoho's data centres, as data; [`AccountsServer`] and
//!   [`ApiDomain`] are servers that one may talk to: https, or plain http on this machine.
//! - [`AuthorizationRequest`] makes the URL a user logs in at; [`Callback`] checks what comes
//!   back, with [`AllowedServers`] as the list of servers a redirect may name.
//! - [`OAuthClient`] exchanges codes, refreshes, revokes, and asks who a user is; on a machine
//!   without a browser it logs in by the device flow, see [`DeviceAuthorization`].
//! - [`Transport`] carries its requests: https, unless you set another one.
//! - [`OAuthError`] says what went wrong, whether it may work later, and what to do.
//! - [`ProviderRules`] is what a provider allows a client that refreshes, as data.
//! - [`reply`] judges answers: pure functions over a status, a content type and a body.
//!
//! ```no_run
//! use tokenkeep_core::{ClientCredentials, ClientSecret, RefreshToken};
//! use tokenkeep_oauth::{DataCenter, OAuthClient};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = OAuthClient::builder().build()?;
//! let app = ClientCredentials::new("test-client-id", ClientSecret::new("test-client-secret")?)?;
//! let server = DataCenter::by_code("eu")?.accounts_server();
//! let reply = client.refresh(&server, &app, &RefreshToken::new("test-refresh-token")?).await?;
//! println!("good for {} s", reply.expires_in.as_secs());
//! # Ok(())
//! # }
//! ```
//!
//! # Secrets
//!
//! Tokens, client secrets, login states and PKCE verifiers are types with a masked `Debug`. They
//! travel in the body of a POST or in a header, never in a URL (the authorisation URL has the
//! state and the challenge, as it must). No error, log line or `Debug` output holds a body, a
//! header or a URL's query. Request bodies and answers are kept in memory that is zeroized; what
//! the HTTP and TLS layers copy is not.
#![forbid(unsafe_code)]

mod client;
mod data_center;
mod device;
mod error;
mod login;
mod pkce;
pub mod reply;
mod rules;
mod server;
mod transport;

pub use self::{
    client::{CodeExchange, OAuthClient, OAuthClientBuilder},
    data_center::{DataCenter, UnknownDataCenter},
    device::{DeviceAuthorization, DeviceCode},
    error::{MAX_RETRY_AFTER, OAuthError, OAuthErrorKind, THROTTLE_WINDOW},
    login::{Authorization, AuthorizationRequest, Callback},
    pkce::{PkceVerifier, State},
    reply::{CurrentUser, DevicePoll, Revocation, TokenReply},
    rules::{Budget, ProviderRules, Replay},
    server::{AccountsServer, AllowedServers, ApiDomain},
    transport::{
        HttpHeader, HttpMethod, HttpReply, HttpRequest, Transport, TransportError,
        TransportErrorKind,
    },
};
/// What an implementation of [`Transport`] is written with.
pub use async_trait::async_trait;
