use std::{slice::from_ref, sync::Arc};

use tokenkeep_core::{
    ClientCredentials, ClientSecret, Environment, GrantToken, ListStore, Operation, RefreshToken,
    StoreErrorKind, TokenQuery, TokenStore,
};
use tokenkeep_emulator::{Config, DropWhen, Emulator, Fault};
use tokenkeep_manager::{Login, ManagerErrorKind, TokenManager};
use tokenkeep_oauth::{AccountsServer, DataCenter, DevicePoll, TokenReply};
use tokenkeep_testkit::{ManualClock, When};

use crate::calls::client_of;
use crate::scene::{CLIENT_ID, CLIENT_SECRET, HOUR, START, Scene, client};

fn code(text: &str) -> GrantToken {
    GrantToken::new(text).unwrap()
}

#[tokio::test]
async fn a_code_becomes_a_token_under_the_users_name() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let login = Login::grant_token(client(), code(&user.grant_token));
    let logged_in = scene.manager.log_in(login).await.unwrap();
    assert_eq!(logged_in.warning, None);
    assert_eq!(logged_in.token.user_name(), Some("alice@example.com"));
    assert!(logged_in.token.refresh_token().is_some());
    let live = logged_in.handle.access_token().await.unwrap();
    assert_eq!(Some(live.access_token()), logged_in.token.access_token());
    assert_eq!(scene.store.get_tokens().await.unwrap(), [logged_in.token]);
    assert_eq!(scene.refreshes(), 0);
}

#[tokio::test]
async fn a_grant_that_was_taken_before_is_not_exchanged_again() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let login = || Login::grant_token(client(), code(&user.grant_token));
    let first = scene.manager.log_in(login()).await.unwrap();
    let second = scene.manager.log_in(login()).await.unwrap();
    assert_eq!(first.token, second.token);
    assert_eq!(scene.emulator.stats().token_requests_of("authorization_code"), 1);
}

#[tokio::test]
async fn a_second_login_takes_the_place_of_the_first() {
    let scene = Scene::new();
    let alice = scene.user("alice@example.com").await;
    let user = scene.new_user("alice@example.com");
    let login = Login::grant_token(client(), code(&user.grant_token));
    let again = scene.manager.log_in(login).await.unwrap();
    assert_eq!(again.token.id(), Some(alice.id()));
    assert_eq!(scene.store.get_tokens().await.unwrap().len(), 1);
    let live = alice.access_token().await.unwrap();
    assert_eq!(Some(live.access_token()), again.token.access_token());
}

#[tokio::test]
async fn a_missing_users_scope_is_a_warning() {
    let scene = Scene::new();
    let scope = "ZohoCRM.modules.ALL";
    let user =
        scene.emulator.add_user_with_scope("alice@example.com", CLIENT_ID, CLIENT_SECRET, scope);
    let login = Login::grant_token(client(), code(&user.grant_token));
    let logged_in = scene.manager.log_in(login).await.unwrap();
    assert!(logged_in.warning.unwrap().contains("ZohoCRM.users.READ"));
    assert_eq!(logged_in.token.user_name(), None);
    logged_in.handle.access_token().await.unwrap();
}

#[tokio::test]
async fn a_used_code_needs_a_login_and_leaves_nothing() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let login = || Login::grant_token(client(), code(&user.grant_token));
    scene.manager.log_in(login()).await.unwrap();
    scene.store.delete_tokens().await.unwrap();
    let error = scene.manager.log_in(login()).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::NeedsLogin);
    assert_eq!(scene.store.get_tokens().await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_client_is_told_which_data_centres_to_try() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let secret = ClientSecret::new(CLIENT_SECRET).unwrap();
    let stranger = ClientCredentials::new("test-unknown-client", secret).unwrap();
    let login = Login::grant_token(stranger, code(&user.grant_token));
    let error = scene.manager.log_in(login).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::WrongClient);
    assert!(error.hint().unwrap().contains("data centre"), "{:?}", error.hint());
    assert_eq!(scene.store.get_tokens().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_costs_no_grant() {
    let (scene, store) = Scene::faulty();
    let user = scene.new_user("alice@example.com");
    let login = || Login::grant_token(client(), code(&user.grant_token));
    store.fail_all(Operation::SaveToken, When::Before, StoreErrorKind::PermissionDenied);
    let error = scene.manager.log_in(login()).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Store);
    assert_eq!(scene.emulator.stats().token_requests_of("authorization_code"), 0);
    store.heal(Operation::SaveToken);
    scene.manager.log_in(login()).await.unwrap();
}

#[tokio::test]
async fn what_was_issued_and_cannot_be_stored_is_given_to_the_caller() {
    let (scene, store) = Scene::faulty();
    let user = scene.new_user("alice@example.com");
    store.fail_all(Operation::ReplaceToken, When::Before, StoreErrorKind::Full);
    let login = Login::grant_token(client(), code(&user.grant_token));
    let error = scene.manager.log_in(login).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Store);
    let rescued = error.unsaved_token().unwrap();
    store.heal(Operation::ReplaceToken);
    let stored = scene.store.save_token(rescued).await.unwrap();
    let handle = scene.manager.handle_by_id(stored.id().unwrap()).await.unwrap();
    handle.refresh().await.unwrap();
}

#[tokio::test]
async fn a_login_whose_answer_is_lost_stays_in_the_store() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let fault = Fault::dropping("/oauth/v2/token", DropWhen::After);
    scene.emulator.configure(Config::new().fail_next([fault]));
    let login = Login::refresh_token(client(), RefreshToken::new(user.refresh_token).unwrap());
    let error = scene.manager.log_in(login).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Network);
    let [stored] = &scene.store.get_tokens().await.unwrap()[..] else { panic!("one token") };
    scene.manager.handle_by_id(stored.id().unwrap()).await.unwrap().access_token().await.unwrap();
}

#[tokio::test]
async fn two_users_in_two_data_centres_work_at_the_same_time_with_one_manager() {
    let clock = Arc::new(ManualClock::new(START));
    let us = Emulator::builder().clock(clock.clone()).location("us").start().await.unwrap();
    let eu = Emulator::builder().clock(clock.clone()).location("eu").start().await.unwrap();
    let store = Arc::new(ListStore::with_clock(clock.clone()));
    let manager = TokenManager::builder(store.clone()).clock(clock.clone()).build().unwrap();
    // The same e-mail address in both.
    let mut handles = Vec::new();
    for emulator in [&us, &eu] {
        let user = emulator.add_user("alice@example.com", CLIENT_ID, CLIENT_SECRET);
        let login = Login::grant_token(client(), code(&user.grant_token))
            .accounts_server(AccountsServer::parse(emulator.url()).unwrap());
        handles.push(manager.log_in(login).await.unwrap().handle);
    }
    assert_eq!(store.get_tokens().await.unwrap().len(), 2);
    clock.advance(HOUR);
    let (a, b) = tokio::join!(handles[0].access_token(), handles[1].access_token());
    assert_eq!(a.unwrap().api_domain(), us.url());
    assert_eq!(b.unwrap().api_domain(), eu.url());
    for emulator in [&us, &eu] {
        assert_eq!(emulator.stats().token_requests_of("refresh_token"), 1);
    }
    let query = TokenQuery::user("alice@example.com").unwrap();
    let error = manager.handle(&query).await.unwrap_err();
    assert_eq!(error.store_error().unwrap().kind(), StoreErrorKind::Ambiguous);
    let in_eu = manager.handle(&query.with_api_domain(eu.url()).unwrap()).await.unwrap();
    assert_eq!(in_eu.id(), handles[1].id());
}

#[tokio::test]
async fn the_data_centre_and_environment_of_a_login_are_remembered() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let login = Login::grant_token(client(), code(&user.grant_token))
        .data_center(DataCenter::by_code("in").unwrap())
        .environment(Environment::Sandbox)
        .accounts_server(AccountsServer::parse(scene.emulator.url()).unwrap());
    let manager = scene.manager_of_zoho();
    let token = manager.build().unwrap().log_in(login).await.unwrap().token;
    let shared = scene.store.shared().unwrap();
    let state = shared.state(token.id().unwrap()).await.unwrap().unwrap();
    assert_eq!(state.data_center.as_deref(), Some("in"));
    assert_eq!(state.environment, Some(Environment::Sandbox));
    assert_eq!(state.accounts_server.as_deref(), Some(scene.emulator.url()));
    // It was not Zoho that issued the token, so it does not go to Zoho.
    assert_eq!(token.api_domain(), Some(scene.emulator.url()));
}

/// What a device flow gives.
async fn issued(scene: &Scene, email: &str) -> TokenReply {
    scene.emulator.add_client(CLIENT_ID, CLIENT_SECRET, []);
    let oauth = client_of(&scene.emulator);
    let server = AccountsServer::parse(scene.emulator.url()).unwrap();
    let scopes = ["ZohoCRM.modules.ALL", "ZohoCRM.users.READ"];
    let device = oauth.device_code(&server, CLIENT_ID, &scopes, true).await.unwrap();
    assert!(scene.emulator.decide_device(&device.user_code, Some(email)));
    let poll = oauth.device_token(&server, &client(), &device).await.unwrap();
    let reply = if let DevicePoll::Issued(reply) = poll { Some(reply) } else { None };
    reply.unwrap()
}

#[tokio::test]
async fn tokens_that_were_issued_are_stored_under_the_users_name() {
    let scene = Scene::new();
    let reply = issued(&scene, "alice@example.com").await;
    let before = scene.emulator.stats();
    let logged_in = scene.manager.log_in(Login::issued(client(), reply.clone())).await.unwrap();
    assert_eq!(logged_in.warning, None);
    assert_eq!(logged_in.token.user_name(), Some("alice@example.com"));
    assert_eq!(logged_in.token.refresh_token(), reply.refresh_token.as_ref());
    assert_eq!(logged_in.token.expiry_time(), Some(START.plus(HOUR)));
    assert_eq!(scene.store.get_tokens().await.unwrap()[..], *from_ref(&logged_in.token));
    assert_eq!(scene.emulator.stats().token_requests, before.token_requests);
    // Again, as after a crash: the same token.
    let again = scene.manager.log_in(Login::issued(client(), reply)).await.unwrap();
    assert_eq!(again.token, logged_in.token);
    // A later login takes its place.
    let later = issued(&scene, "alice@example.com").await;
    let later = scene.manager.log_in(Login::issued(client(), later)).await.unwrap();
    assert_eq!(later.token.id(), logged_in.token.id());
    assert_eq!(scene.store.get_tokens().await.unwrap().len(), 1);
    scene.clock.advance(HOUR);
    later.handle.access_token().await.unwrap();
}

#[tokio::test]
async fn tokens_that_were_issued_are_stored_first_thing() {
    let (scene, store) = Scene::faulty();
    let reply = issued(&scene, "alice@example.com").await;
    // Whatever the store can do besides, and whoever the user is.
    for operation in [Operation::FindToken, Operation::GetTokens, Operation::ReplaceToken] {
        store.fail_all(operation, When::Before, StoreErrorKind::Unavailable);
    }
    scene
        .emulator
        .configure(Config::new().fail_next([Fault::dropping("/crm/v8/users", DropWhen::Before)]));
    let logged_in = scene.manager.log_in(Login::issued(client(), reply.clone())).await.unwrap();
    assert!(logged_in.warning.unwrap().contains("the provider did not say"));
    assert_eq!(logged_in.token.access_token(), Some(&reply.access_token));
}

#[tokio::test]
async fn tokens_that_were_issued_and_cannot_be_stored_are_given_back() {
    let (scene, store) = Scene::faulty();
    let reply = issued(&scene, "alice@example.com").await;
    store.fail_all(Operation::SaveToken, When::Before, StoreErrorKind::Full);
    // A name that is none does not matter before they are stored.
    let login = Login::issued(client(), reply.clone()).user_name("");
    let error = scene.manager.log_in(login).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Store);
    let rescued = error.unsaved_token().unwrap();
    assert_eq!(rescued.refresh_token(), reply.refresh_token.as_ref());
    store.heal(Operation::SaveToken);
    scene.manager.log_in(Login::issued(client(), reply)).await.unwrap();
}

#[tokio::test]
async fn where_issued_tokens_belong_is_remembered() {
    let scene = Scene::new();
    let reply = issued(&scene, "alice@example.com").await;
    let manager = scene.manager_of_zoho();
    let login = Login::issued(client(), reply)
        .data_center(DataCenter::by_code("eu").unwrap())
        .accounts_server(AccountsServer::parse(scene.emulator.url()).unwrap());
    let token = manager.build().unwrap().log_in(login).await.unwrap().token;
    let shared = scene.store.shared().unwrap();
    let state = shared.state(token.id().unwrap()).await.unwrap().unwrap();
    assert_eq!(state.data_center.as_deref(), Some("eu"));
    assert_eq!(state.accounts_server.as_deref(), Some(scene.emulator.url()));
    assert_eq!(token.api_domain(), Some(scene.emulator.url()));
}

#[tokio::test]
async fn where_a_login_belongs_is_remembered_though_its_answer_was_lost() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let fault = Fault::dropping("/oauth/v2/token", DropWhen::After);
    scene.emulator.configure(Config::new().fail_next([fault]));
    // This manager knows no server but Zoho's.
    let manager = scene.manager_of_zoho();
    let manager = manager.build().unwrap();
    let login = Login::refresh_token(client(), RefreshToken::new(user.refresh_token).unwrap())
        .accounts_server(AccountsServer::parse(scene.emulator.url()).unwrap());
    let error = manager.log_in(login).await.unwrap_err();
    assert_eq!(error.kind(), ManagerErrorKind::Network);
    let [stored] = &scene.store.get_tokens().await.unwrap()[..] else { panic!("one token") };
    let handle = manager.handle_by_id(stored.id().unwrap()).await.unwrap();
    let live = handle.access_token().await.unwrap();
    assert_eq!(live.api_domain(), scene.emulator.url());
}

#[tokio::test]
async fn a_grant_that_was_taken_before_stays_where_it_is() {
    let scene = Scene::new();
    let user = scene.new_user("alice@example.com");
    let login = || Login::grant_token(client(), code(&user.grant_token));
    let token = scene.manager.log_in(login()).await.unwrap().token;
    let shared = scene.store.shared().unwrap();
    let state = shared.state(token.id().unwrap()).await.unwrap();
    let elsewhere = login().data_center(DataCenter::by_code("jp").unwrap());
    scene.manager.log_in(elsewhere).await.unwrap();
    assert_eq!(shared.state(token.id().unwrap()).await.unwrap(), state);
}
