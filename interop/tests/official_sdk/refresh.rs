//! Both sides refresh the same token at the emulator.

use tokenkeep_core::{AccessToken, Field, TokenId};
use tokenkeep_emulator::{Config, Emulator};
use tokenkeep_manager::TokenManager;
use tokenkeep_oauth::{AccountsServer, ApiDomain};

use crate::{
    scene::{Ours, Scene},
    token::Columns,
};

const USER: &str = "alice@example.com";

/// An accounts server, and a manager over a store of ours.
struct World {
    emulator: Emulator,
    manager: TokenManager,
    /// A token of the emulator's user whose access token has expired.
    expired: Columns,
}

impl World {
    async fn new(ours: &Ours) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let manager = manager(&emulator, ours);
        let expired = Columns::of(USER, "expired");
        let user =
            emulator.add_user(USER, expired.get(Field::ClientId), expired.get(Field::ClientSecret));
        let expired = expired
            .with(Field::RefreshToken, user.refresh_token)
            .with(Field::ExpiryTime, "1")
            .with(Field::ApiDomain, emulator.url());
        Self { emulator, manager, expired }
    }

    /// The access token that the SDK would make a call with.
    fn sdk_access_token(&self, scene: &mut Scene) -> String {
        let user = Columns::default().with(Field::UserName, USER);
        scene.sdk.access_token(&user, self.emulator.url())
    }

    fn refreshes(&self) -> u64 {
        self.emulator.stats().token_requests_of("refresh_token")
    }
}

/// A manager that sends everything to the emulator.
fn manager(emulator: &Emulator, ours: &Ours) -> TokenManager {
    TokenManager::builder(ours.store())
        .accounts_server(AccountsServer::parse(emulator.url()).unwrap())
        .api_domain(ApiDomain::parse(emulator.url()).unwrap())
        .build()
        .unwrap()
}

/// The access token that we would make a call with.
async fn access_token(manager: &TokenManager, id: &TokenId) -> String {
    let handle = manager.handle_by_id(id).await.unwrap();
    handle.access_token().await.unwrap().access_token().expose_secret().to_owned()
}

/// Has the stored access token expired, as time would.
async fn expire(scene: &mut Scene, ours: &Ours) {
    let stored = scene.sdk.find_user(USER).unwrap().with(Field::ExpiryTime, "1");
    scene.sdk.save(&stored.clone().without(Field::Id));
    scene.expect(ours, &[stored]).await;
}

pub(crate) async fn the_sdk_finds_what_we_refreshed(mut scene: Scene) {
    let ours = scene.open_both().await;
    let world = World::new(&ours).await;
    let id = scene.sdk.save(&world.expired).id();
    let access_token = access_token(&world.manager, &id).await;
    assert_eq!(world.refreshes(), 1);

    let found = scene.sdk.find_user(USER).unwrap();
    assert_eq!(found.get(Field::AccessToken), access_token);
    assert_eq!(found.get(Field::RefreshToken), world.expired.get(Field::RefreshToken));
    scene.open_sdk();
    assert_eq!(world.sdk_access_token(&mut scene), access_token);
    assert_eq!(world.refreshes(), 1, "the SDK has no need to refresh");
    scene.expect(&ours, &[found]).await;
}

pub(crate) async fn we_adopt_what_the_sdk_refreshed(mut scene: Scene) {
    let ours = scene.open_both().await;
    let world = World::new(&ours).await;
    let id = ours.save(&world.expired).await.id();
    let handle = world.manager.handle_by_id(&id).await.unwrap();
    let access_token = world.sdk_access_token(&mut scene);
    assert_eq!(world.refreshes(), 1);

    let live = handle.access_token().await.unwrap();
    assert_eq!(live.access_token().expose_secret(), access_token);
    assert_eq!(world.refreshes(), 1, "we have no need to refresh");
    let found = ours.find_user(USER).await.unwrap();
    assert_eq!(found.get(Field::ExpiryTime), live.expires_at().as_millis().to_string());
    scene.expect(&ours, &[found]).await;
}

pub(crate) async fn we_adopt_what_the_sdk_refreshed_after_a_rejection(mut scene: Scene) {
    let ours = scene.open_both().await;
    let world = World::new(&ours).await;
    let id = ours.save(&world.expired).await.id();
    let handle = world.manager.handle_by_id(&id).await.unwrap();
    let old = handle.access_token().await.unwrap();
    expire(&mut scene, &ours).await;
    let access_token = world.sdk_access_token(&mut scene);
    assert_ne!(access_token, old.access_token().expose_secret());
    assert_eq!(world.refreshes(), 2);

    let live = handle.rejected(old.access_token()).await.unwrap();
    assert_eq!(*live.access_token(), AccessToken::new(access_token).unwrap());
    assert_eq!(world.refreshes(), 2, "the SDK's token is not the rejected one");
}

pub(crate) async fn a_refresh_token_that_the_sdk_got_anew_is_used_by_us(mut scene: Scene) {
    let ours = scene.open_both().await;
    let world = World::new(&ours).await;
    world.emulator.configure(Config::new().rotate_refresh_tokens(true));
    let id = ours.save(&world.expired).await.id();
    let mut refresh_tokens = vec![world.expired.get(Field::RefreshToken).to_owned()];
    for turn in 0..4 {
        if turn % 2 == 0 {
            world.sdk_access_token(&mut scene);
        } else {
            // As a program does that has just been started and has no token in memory.
            access_token(&manager(&world.emulator, &ours), &id).await;
        }
        let found = scene.sdk.find_user(USER).unwrap();
        let refresh_token = found.get(Field::RefreshToken).to_owned();
        assert!(!refresh_tokens.contains(&refresh_token), "turn {turn} used an old refresh token");
        refresh_tokens.push(refresh_token);
        scene.expect(&ours, &[found]).await;
        expire(&mut scene, &ours).await;
    }
    assert_eq!(world.refreshes(), 4);
}
