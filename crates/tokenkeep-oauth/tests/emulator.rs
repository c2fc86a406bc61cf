//! The client against the emulator, which has Zoho's rules.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as tests do")]

use tokenkeep_core::{ClientCredentials, ClientSecret, GrantToken, RefreshToken};
use tokenkeep_emulator::{Config, Emulator, NewUser};
use tokenkeep_oauth::{
    AccountsServer, ApiDomain, CodeExchange, DataCenter, DeviceAuthorization, DevicePoll,
    OAuthClient, OAuthErrorKind, Revocation, THROTTLE_WINDOW,
};

fn app(secret: &str) -> ClientCredentials {
    ClientCredentials::new("test-client", ClientSecret::new(secret).unwrap()).unwrap()
}

struct Login {
    emulator: Emulator,
    user: NewUser,
    server: AccountsServer,
    client: OAuthClient,
    app: ClientCredentials,
    refresh_token: RefreshToken,
}

impl Login {
    async fn start() -> Self {
        let emulator = Emulator::builder().location("eu").start().await.unwrap();
        let user = emulator.add_user("ada@example.com", "test-client", "test-secret");
        Self {
            server: AccountsServer::parse(emulator.url()).unwrap(),
            refresh_token: RefreshToken::new(user.refresh_token.clone()).unwrap(),
            client: OAuthClient::builder().build().unwrap(),
            app: app("test-secret"),
            emulator,
            user,
        }
    }

    async fn refresh_error(&self, app: &ClientCredentials) -> OAuthErrorKind {
        self.client.refresh(&self.server, app, &self.refresh_token).await.unwrap_err().kind()
    }
}

#[tokio::test]
async fn a_login_from_code_to_revocation() {
    let login = Login::start().await;
    let code = GrantToken::new(login.user.grant_token.clone()).unwrap();
    let exchange = CodeExchange { client: &login.app, code: &code, redirect_url: None, pkce: None };
    let reply = login.client.exchange_code(&login.server, &exchange).await.unwrap();
    assert_eq!(reply.expires_in.as_secs(), 3600);
    assert_eq!(reply.api_domain.as_deref(), Some(login.emulator.url()));
    let refresh_token = reply.refresh_token.expect("a self client's code is an offline one");

    let error = login.client.exchange_code(&login.server, &exchange).await.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::CodeExpiredOrUsed);

    let domain = ApiDomain::parse(&reply.api_domain.unwrap()).unwrap();
    let user = login.client.current_user(&domain, &reply.access_token).await.unwrap();
    assert_eq!(user.email, "ada@example.com");
    assert_eq!(user.id, login.user.user_id);

    let again = login.client.refresh(&login.server, &login.app, &refresh_token).await.unwrap();
    assert_ne!(again.access_token, reply.access_token);
    assert_eq!(again.refresh_token, None);

    let revoke = || login.client.revoke(&login.server, &refresh_token);
    assert_eq!(revoke().await.unwrap(), Revocation::Done);
    assert_eq!(revoke().await.unwrap(), Revocation::AlreadyGone);
    let refused = login.client.refresh(&login.server, &login.app, &refresh_token).await;
    assert_eq!(refused.unwrap_err().kind(), OAuthErrorKind::NeedsLogin);
    let refused = login.client.current_user(&domain, &again.access_token).await;
    assert_eq!(refused.unwrap_err().kind(), OAuthErrorKind::AccessTokenRefused);
}

#[tokio::test]
async fn a_wrong_client_and_a_wrong_secret_differ() {
    let login = Login::start().await;
    let stranger =
        ClientCredentials::new("other-client", ClientSecret::new("test-secret").unwrap()).unwrap();
    assert_eq!(login.refresh_error(&stranger).await, OAuthErrorKind::WrongClient);
    let kind = login.refresh_error(&app("other-secret")).await;
    assert_eq!(kind, OAuthErrorKind::WrongClientSecret);
}

#[tokio::test]
async fn a_token_at_another_data_centre_is_told_where_it_belongs() {
    let login = Login::start().await;
    let elsewhere = Emulator::builder().location("in").start().await.unwrap();
    elsewhere.add_client("test-client", "test-secret", []);
    let wrong = AccountsServer::parse(elsewhere.url()).unwrap();
    let refused = login.client.refresh(&wrong, &login.app, &login.refresh_token).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::NeedsLogin);
    let error = error.with_known_server(&login.server);
    assert_eq!(error.kind(), OAuthErrorKind::WrongDataCenter);
    assert_eq!(error.hint(), Some(&*format!("it belongs to {}", login.server)));
}

#[tokio::test]
async fn the_eleventh_refresh_in_ten_minutes_is_throttled() {
    let login = Login::start().await;
    for _ in 0..10 {
        login.client.refresh(&login.server, &login.app, &login.refresh_token).await.unwrap();
    }
    let refused = login.client.refresh(&login.server, &login.app, &login.refresh_token).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(THROTTLE_WINDOW));
    assert!(error.is_transient() && !error.maybe_applied());
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let login = Login::start().await;
    let user = login.emulator.add_user_with_scope(
        "bob@example.com",
        "test-client",
        "test-secret",
        "ZohoCRM.modules.ALL",
    );
    let token = RefreshToken::new(user.refresh_token).unwrap();
    let reply = login.client.refresh(&login.server, &login.app, &token).await.unwrap();
    let domain = ApiDomain::parse(login.emulator.url()).unwrap();
    let error = login.client.current_user(&domain, &reply.access_token).await.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::ScopeMismatch);
    assert_eq!(error.hint(), Some("log in with the scope ZohoCRM.users.READ too"));
    assert_eq!(error.status().map(|status| status / 100), Some(4));
}

#[tokio::test]
async fn a_server_knows_the_others() {
    let login = Login::start().await;
    let us = DataCenter::by_code("us").unwrap().accounts_server();
    login.emulator.add_location("us", us.as_str());
    let servers = login.client.server_info(&login.server).await.unwrap();
    assert_eq!(servers["us"], us);
    assert_eq!(servers["eu"], login.server);
}

#[tokio::test]
async fn a_device_is_accepted() {
    let login = Login::start().await;
    login.emulator.configure(Config::new().device_interval_s(7));
    let scopes = ["ZohoCRM.users.READ", "ZohoCRM.modules.ALL"];
    let begin = || login.client.device_code(&login.server, "test-client", &scopes, true);
    let poll = async |device: &DeviceAuthorization| {
        login.client.device_token(&login.server, &login.app, device).await
    };

    let device = begin().await.unwrap();
    assert_eq!(device.interval.as_secs(), 7);
    assert!(device.verification_url.as_str().starts_with(login.emulator.url()));
    assert!(matches!(poll(&device).await.unwrap(), DevicePoll::Pending));
    assert!(matches!(poll(&device).await.unwrap(), DevicePoll::SlowDown));

    login.emulator.configure(Config::new().enforce_limits(false));
    assert!(login.emulator.decide_device(&device.user_code, Some("ada@example.com")));
    let DevicePoll::Issued(reply) = poll(&device).await.unwrap() else { panic!("issued") };
    let refresh_token = reply.refresh_token.expect("it was asked for offline");
    login.client.refresh(&login.server, &login.app, &refresh_token).await.unwrap();
    let domain = ApiDomain::parse(&reply.api_domain.unwrap()).unwrap();
    let user = login.client.current_user(&domain, &reply.access_token).await.unwrap();
    assert_eq!(user.email, "ada@example.com");
    let used = poll(&device).await.unwrap_err();
    assert_eq!(used.kind(), OAuthErrorKind::CodeExpiredOrUsed);
    assert_eq!(used.hint(), Some("begin the login again"));

    let refused = begin().await.unwrap();
    assert!(login.emulator.decide_device(&refused.user_code, None));
    let error = poll(&refused).await.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::AccessDenied);
}

#[tokio::test]
async fn a_device_flow_that_cannot_begin_says_why() {
    let login = Login::start().await;
    let begin = |id, scopes: &'static [&'static str]| {
        login.client.device_code(&login.server, id, scopes, false)
    };
    let error = begin("other-client", &["ZohoCRM.users.READ"]).await.unwrap_err();
    assert_eq!(error.kind(), OAuthErrorKind::WrongClient);
    for scopes in [&[][..], &[""], &["a b"], &["a,b"]] {
        let error = begin("test-client", scopes).await.unwrap_err();
        assert_eq!(error.kind(), OAuthErrorKind::InvalidInput);
    }
}
