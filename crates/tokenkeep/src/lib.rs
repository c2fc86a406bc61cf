//! Keeps OAuth tokens alive and safe for programs that call Zoho CRM.
//!
//! A token is never lost, never refreshed twice, and never readable where it should not be. It is
//! stored exactly as the official Zoho CRM SDKs store it, so a program on any of them can share
//! the database or the file.
//!
//! # A first program
//!
//! Add `tokenkeep` and `tokio` to a program. A [store](open_store) keeps tokens, a [`TokenManager`]
//! keeps them fresh, and a [`CrmClient`](crm::CrmClient) uses them. This one runs against the
//! emulator, so it needs no account; take out the lines that are about it, and it is yours.
//!
//! ```
//! # #[cfg(all(feature = "crm", feature = "sqlite"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let url = format!("sqlite:{}/tokens.db", dir.path().display());
//! use tokenkeep::{
//!     AccountsServer, ClientCredentials, ClientSecret, GrantToken, Login, TokenManager,
//!     crm::{CrmClient, ListOptions},
//!     open_store,
//! };
//! use tokenkeep_emulator::Emulator;
//!
//! let emulator = Emulator::builder().location("eu").start().await?;
//! let user = emulator.add_user("alice@example.com", "1000.CLIENT", "test-client-secret");
//!
//! // A store, and a manager over it. There is no global state: have as many as you like.
//! let store = open_store(&url).await?; // url = "sqlite:/var/lib/app/tokens.db"
//! let manager = TokenManager::builder(store).build()?;
//!
//! // Once for each user: the code of a login becomes a stored token.
//! let client = ClientCredentials::new("1000.CLIENT", ClientSecret::new("test-client-secret")?)?;
//! let login = Login::grant_token(client, GrantToken::new(user.grant_token)?)
//!     .accounts_server(AccountsServer::parse(emulator.url())?); // or a `DataCenter`'s
//! manager.log_in(login).await?;
//!
//! // From then on, in this process or another one: the user's name is enough.
//! let crm = CrmClient::new(manager.user("alice@example.com").await?)?;
//! let mut leads = crm.records("Leads").list(ListOptions::new(["Last_Name"]));
//! while let Some(page) = leads.next().await? {
//!     for lead in &page.records {
//!         println!("{}", lead["Last_Name"]);
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "crm", feature = "sqlite")))]
//! # fn main() {}
//! ```
//!
//! # Where a login comes from
//!
//! - **A browser.** [`AuthorizationRequest`] makes the URL to send the user to, [`Callback`] reads
//!   and checks what comes back, and [`Login::grant_token`] takes the code.
//! - **A self client.** The API console shows a code: [`Login::grant_token`] without a redirect.
//! - **Another program.** It has a refresh token already: [`Login::refresh_token`].
//! - **An official SDK.** It has a token file or a database: open that as the store.
//!
//! The user's data centre says at which accounts server a login and a refresh have to be made; see
//! [`DataCenter`]. It is remembered with each token, so users of several live side by side.
//!
//! # Using a token without the CRM client
//!
//! [`TokenManager::user`] gives a [`TokenHandle`]: cheap to clone, to be kept, to be asked before
//! each call. While the token is fresh that costs nanoseconds. Once it is not, all who ask wait
//! for one refresh, other processes on the same store included.
//!
//! ```no_run
//! # async fn example(manager: tokenkeep::TokenManager) -> Result<(), tokenkeep::ManagerError> {
//! let handle = manager.user("alice@example.com").await?;
//! let token = handle.access_token().await?;
//! let url = format!("{}/crm/v8/org", token.api_domain());
//! let header = format!("Zoho-oauthtoken {}", token.access_token().expose_secret());
//! // The API says 401? Then that very token is dropped, and another one is got:
//! let newer = handle.rejected(token.access_token()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Stores
//!
//! | URL | feature | store |
//! |---|---|---|
//! | `sqlite:PATH`, `sqlite::memory:` | `sqlite` | the layout of the SDKs' database, with ours beside it |
//! | `file:PATH` | `file` | the SDKs' token file (CSV) |
//! | `list:` | | memory |
//!
//! [`StoreUrl`] has the details; [`StoreUrl::open`] gives the store by its own type. A store of
//! your own implements the six operations of [`TokenStore`] and goes to
//! [`TokenManager::builder`] as it is.
//!
//! # When something goes wrong
//!
//! Errors say what the caller can do. [`ManagerError::kind`] tells a user who must log in again
//! from a provider that throttles and a network that is down; [`StoreError::outcome`] says whether
//! a change was made. Many have a `hint` for a person. None contains a secret.
//!
//! # Features
//!
//! `crm`, `file` and `sqlite`, all on by default. Without them there are the list store, logins
//! and the manager.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod open;
mod store_url;

pub use tokenkeep_core::*;
pub use tokenkeep_manager::*;
pub use tokenkeep_oauth::{
    AccountsServer, AllowedServers, ApiDomain, Authorization, AuthorizationRequest, Callback,
    DataCenter, OAuthClient, OAuthError, OAuthErrorKind, PkceVerifier, UnknownDataCenter,
};

pub use self::{
    open::{OpenedStore, open_store},
    store_url::{FileDialect, StoreUrl, StoreUrlError},
};

/// Accounts servers: logins, exchange, refresh and revocation without a store.
pub mod oauth {
    pub use tokenkeep_oauth::*;
}

/// The Zoho CRM client.
#[cfg(feature = "crm")]
pub mod crm {
    pub use tokenkeep_crm::*;
}

/// The stores by their own types, with what each has beyond a [`TokenStore`].
pub mod stores {
    /// `file:PATH`
    #[cfg(feature = "file")]
    pub mod file {
        pub use tokenkeep_store_file::*;
    }

    /// `sqlite:PATH`
    #[cfg(feature = "sqlite")]
    pub mod sqlite {
        pub use tokenkeep_store_sqlite::*;
    }
}
