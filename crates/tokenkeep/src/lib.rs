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
//! # Tokens that must not be lost
//!
//! A new token is stored before anyone gets it. Where the store fails, it is used, kept in memory
//! and stored as soon as that works. With a [spool](FileSpool) it survives the end of the process
//! too: [`TokenManager::recover`] stores what an earlier one left behind, and so does the next
//! refresh of the token in question.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let directory = dir.path().join("spool"); // "/var/lib/app/spool"
//! # let key = "746573742d6b65792d6e6f742d612d7265616c2d6b65792d3031323334353637";
//! use tokenkeep::{EventKind, FileSpool, SpoolKey, TokenManager, open_store};
//!
//! // A private directory; what waits there is encrypted where there is a key.
//! let spool = FileSpool::in_directory(directory)?.sealed_with(SpoolKey::parse(key)?);
//! let manager = TokenManager::builder(open_store("list:").await?)
//!     .spool(spool)
//!     .on_event(|event| {
//!         if let EventKind::Unsaved { message, .. } = &event.kind {
//!             eprintln!("token {} waits to be stored: {message}", event.token_id);
//!         }
//!     })
//!     .build()?;
//!
//! let recovery = manager.recover().await?; // when the program starts
//! assert_eq!((recovery.stored, recovery.waiting), (0, 0));
//! # Ok(())
//! # }
//! ```
//!
//! # What happens, and how much of it
//!
//! [`TokenManager::events`] is a stream of all that happens to tokens, and
//! [`on_event`](TokenManagerBuilder::on_event) calls back: refreshed and why, failed, who must log
//! in again, what could not be stored. The [`metrics`] have the counts, `tracing` the log.
//!
//! A [`Keeper`] renews tokens in the background, so that nobody ever waits for one:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let manager = tokenkeep::TokenManager::builder(tokenkeep::ListStore::new()).build()?;
//! let keeper = manager.keeper().start()?;
//! // … until the program ends:
//! keeper.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Other providers than Zoho
//!
//! [`ProviderRules`] say what a provider allows: how often a token may be refreshed, and whether a
//! refresh token may be sent again when an answer was lost. Before Zoho would block a user, the
//! error has the time until which to wait ([`ManagerError::retry_at`]). Requests go by https; a
//! [`Transport`](oauth::Transport) of your own may carry them instead.
//!
//! ```
//! # fn main() -> Result<(), tokenkeep::ManagerError> {
//! use std::time::Duration;
//! use tokenkeep::{Budget, ListStore, ProviderRules, Replay, TokenManager};
//!
//! let rules = ProviderRules::generic()
//!     .with_budget(Some(Budget::new(60, Duration::from_secs(3600))))
//!     .with_replay(Replay::Within(Duration::from_secs(30)));
//! let manager = TokenManager::builder(ListStore::new()).provider_rules(rules).build()?;
//! # drop(manager);
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
//! | `mysql://…` | `mysql` | a MySQL or MariaDB table of the SDKs |
//! | `postgres://…` | `postgres` | the same table in PostgreSQL |
//! | `redis://…`, `rediss://…` | `redis` | Redis: one server, Sentinel or Cluster |
//! | `dynamodb:TABLE` | `aws` | a table of DynamoDB |
//! | `aws-secretsmanager:NAME` | `aws` | AWS Secrets Manager |
//! | `vault+https://…` | `vault` | Vault or OpenBao, KV version 2 |
//! | `keyring:SERVICE` | `keyring` | the keyring of the person who runs the program |
//! | `list:` | | memory |
//!
//! [`StoreUrl`] has the details; [`StoreUrl::open`] gives the store by its own type. A store of
//! your own implements the six operations of [`TokenStore`] and goes to
//! [`TokenManager::builder`] as it is. [`migrate`] moves all tokens from any store to any other.
//!
//! # When something goes wrong
//!
//! Errors say what the caller can do. [`ManagerError::kind`] tells a user who must log in again
//! from a provider that throttles and a network that is down; [`StoreError::outcome`] says whether
//! a change was made. Many have a `hint` for a person. None contains a secret.
//!
//! # Features
//!
//! `crm`, `file` and `sqlite` are on by default; `aws`, `keyring`, `mysql`, `postgres`, `redis` and
//! `vault` are not. Without any there are the list store, logins and the manager.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod migrate;
mod open;
mod server_url;
mod store_url;

pub use tokenkeep_core::*;
pub use tokenkeep_manager::*;
pub use tokenkeep_oauth::{
    AccountsServer, AllowedServers, ApiDomain, Authorization, AuthorizationRequest, Budget,
    Callback, DataCenter, OAuthClient, OAuthClientBuilder, OAuthError, OAuthErrorKind,
    PkceVerifier, ProviderRules, Replay, UnknownDataCenter,
};

pub use self::{
    open::{OpenedStore, open_store},
    server_url::ServerUrl,
    store_url::{FileDialect, StoreUrl, StoreUrlError},
};

/// Accounts servers: logins, exchange, refresh and revocation without a store, and
/// [`Transport`](oauth::Transport), by which other than https can carry the requests.
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
    /// `dynamodb:TABLE` and `aws-secretsmanager:NAME`
    #[cfg(feature = "aws")]
    pub mod aws {
        pub use tokenkeep_store_aws::*;
    }

    /// `file:PATH`
    #[cfg(feature = "file")]
    pub mod file {
        pub use tokenkeep_store_file::*;
    }

    /// `keyring:SERVICE`
    #[cfg(feature = "keyring")]
    pub mod keyring {
        pub use tokenkeep_store_keyring::*;
    }

    /// `mysql://…`
    #[cfg(feature = "mysql")]
    pub mod mysql {
        pub use tokenkeep_store_mysql::*;
    }

    /// `postgres://…`
    #[cfg(feature = "postgres")]
    pub mod postgres {
        pub use tokenkeep_store_postgres::*;
    }

    /// `redis://…`
    #[cfg(feature = "redis")]
    pub mod redis {
        pub use tokenkeep_store_redis::*;
    }

    /// `sqlite:PATH`
    #[cfg(feature = "sqlite")]
    pub mod sqlite {
        pub use tokenkeep_store_sqlite::*;
    }

    /// `vault+https://…`
    #[cfg(feature = "vault")]
    pub mod vault {
        pub use tokenkeep_store_vault::*;
    }
}
