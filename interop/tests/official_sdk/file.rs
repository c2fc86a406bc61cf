//! What holds on the SDK's `FileStore` file.

use std::{fs, io};

use tokenkeep_core::{Field, StoreErrorKind, TokenStore};
use tokenkeep_store_file::{Dialect, FileConfig};

use crate::{
    language::workspace,
    scene::{Ours, Scene},
    token::Columns,
};

/// A name that is written in quotes.
const QUOTED: &str = "O'Neil, \"Bob\" \\x \u{e9}";

pub(crate) async fn the_python_fixture_is_what_the_sdk_writes(mut scene: Scene) {
    scene.open_sdk();
    let token = |user: &str, number: u32| {
        Columns::default()
            .with(Field::UserName, user)
            .with(Field::ClientId, "1000.TESTCLIENT")
            .with(Field::ClientSecret, "test-client-secret")
            .with(Field::RefreshToken, format!("test-refresh-token-{number}"))
    };
    let url = "https://example.com/callback";
    let alice = token("alice@example.com", 1)
        .with(Field::AccessToken, "test-access-token-1")
        .with(Field::ExpiryTime, "1764000000000")
        .with(Field::RedirectUrl, url)
        .with(Field::ApiDomain, "https://www.zohoapis.com");
    let bob = token(QUOTED, 2)
        .with(Field::AccessToken, "test-access-token-2")
        .with(Field::GrantToken, "test-grant-token-2")
        .with(Field::ExpiryTime, "1764000000001")
        .with(Field::RedirectUrl, format!("{url}?a=1,2"))
        .with(Field::ApiDomain, "https://www.zohoapis.eu");
    let carol = token("carol@example.com", 3).with(Field::Id, "10");
    for token in [alice, bob, carol] {
        scene.sdk.save(&token);
    }
    let fixture = fs::read(workspace().join("fixtures/token-files/python.csv")).unwrap();
    let written = fs::read(scene.path()).unwrap();
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&fixture));
}

pub(crate) async fn a_file_that_the_sdk_has_just_made_is_used(mut scene: Scene) {
    let ours = scene.open_both().await;
    scene.expect(&ours, &[]).await;
    let alice = ours.save(&Columns::of("alice@example.com", 1)).await;
    scene.expect(&ours, &[alice]).await;
}

pub(crate) async fn crlf_becomes_lf_and_the_header_stays(mut scene: Scene) {
    let ours = scene.open_both().await;
    let alice = scene.sdk.save(&Columns::of("alice@example.com", 1));
    let before = text(&scene);
    assert!(before.contains("redirect_uri,api_domain\r\n"), "the SDK writes {before}");

    let bob = ours.save(&Columns::of("bob@example.com", 2)).await;
    let after = text(&scene);
    assert!(!after.contains('\r'), "we write {after}");
    assert_eq!(after.lines().next(), before.lines().next());
    assert!(after.ends_with('\n') && !after.ends_with("\n\n"));
    scene.open_sdk();
    scene.expect(&ours, &[alice, bob]).await;
}

pub(crate) async fn who_has_the_file_open_reads_it_whole(mut scene: Scene) {
    let ours = scene.open_both().await;
    let alice = scene.sdk.save(&Columns::of("alice@example.com", 1));
    let before = text(&scene);
    let opened = fs::File::open(scene.path()).unwrap();
    let bob = ours.save(&Columns::of("bob@example.com", 2)).await;
    assert_eq!(io::read_to_string(opened).unwrap(), before, "our save replaces the file");
    scene.expect(&ours, &[alice, bob]).await;
}

pub(crate) async fn quoted_names_of_the_sdk_survive_our_saves(mut scene: Scene) {
    let ours = scene.open_both().await;
    let url = "https://example.com/callback?a=1,2";
    let bob = scene.sdk.save(&Columns::of(QUOTED, 1).with(Field::RedirectUrl, url));
    assert_eq!(ours.find_user(QUOTED).await.as_ref(), Some(&bob));

    // Another row is added.
    let alice = ours.save(&Columns::of("alice@example.com", 2)).await;
    scene.expect(&ours, &[bob.clone(), alice.clone()]).await;

    // The row itself is changed, in columns that need no quotes.
    let update = Columns::update(QUOTED, 3);
    assert_eq!(ours.save(&update).await, bob.merged(&update));
    scene.expect(&ours, &[bob.merged(&update), alice.clone()]).await;

    // And by the SDK, after us.
    let bob = bob.merged(&update);
    let update = Columns::update(QUOTED, 4);
    scene.sdk.save(&update);
    scene.expect(&ours, &[bob.merged(&update), alice]).await;
}

pub(crate) async fn the_shared_dialect_refuses_what_only_some_sdks_can_read(mut scene: Scene) {
    let ours = scene.open_both().await;
    let alice = scene.sdk.save(&Columns::of("alice@example.com", 1));
    let before = text(&scene);
    for name in ["Neil, Bob", "\"Bob\"", "back\\slash", "line\nbreak", "line\rbreak"] {
        let token = Columns::of(name, 2).token();
        let error = ours.store().save_token(&token).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{name:?}");
    }
    assert_eq!(text(&scene), before);
    scene.expect(&ours, &[alice]).await;
}

pub(crate) async fn the_quoted_dialect_is_read_by_the_sdk(mut scene: Scene) {
    scene.open_sdk();
    let quoted = FileConfig::new(scene.path()).dialect(Dialect::Quoted).open().unwrap();
    let ours = Ours::new(quoted);
    let mut stored = Vec::new();
    let names = [QUOTED, "Neil, Bob", "\"Bob\"", "\"", "\"\"", "back\\slash", "line\nbreak", " x "];
    for (at, name) in names.into_iter().enumerate() {
        stored.push(ours.save(&Columns::of(name, at)).await);
    }
    scene.expect(&ours, &stored).await;
    for (at, token) in stored.iter_mut().enumerate() {
        assert_eq!(scene.sdk.find_user(token.user()).as_ref(), Some(&*token));
        let update = Columns::update(token.user(), 100 + at);
        scene.sdk.save(&update);
        *token = token.merged(&update);
    }
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn a_v2_file_is_used_in_place_by_both(mut scene: Scene) {
    let v2 = "id,user_mail,client_id,client_secret,refresh_token,access_token,grant_token,\
              expiry_time,redirect_uri\r\n\
              python_alice_US_PRD_r1r1,alice@example.com,1000.TESTCLIENT,test-client-secret,\
              test-refresh-token-r1r1,test-access-token-1,,1764000000000,\r\n\
              python_bob_US_PRD_r2r2,bob@example.com,1000.TESTCLIENT,test-client-secret,\
              test-refresh-token-r2r2,test-access-token-2,,1764000000000,\r\n";
    #[expect(clippy::disallowed_methods, reason = "a file as another program left it")]
    fs::write(scene.path(), v2).unwrap();
    let ours = scene.open_ours().await;
    let alice = ours.find_user("alice@example.com").await.unwrap();
    assert_eq!(alice.get(Field::Id), "python_alice_US_PRD_r1r1");
    let bob = ours.find_by_id(&"python_bob_US_PRD_r2r2".parse().unwrap()).await.unwrap();

    let update =
        Columns::update("alice@example.com", 3).with(Field::ApiDomain, "https://www.zohoapis.com");
    ours.save(&update).await;
    let alice = alice.merged(&update);
    scene.open_sdk();
    scene.expect(&ours, &[alice.clone(), bob.clone()]).await;

    let update = Columns::update("bob@example.com", 4);
    scene.sdk.save(&update);
    let bob = bob.merged(&update);
    let carol = ours.save(&Columns::of("carol@example.com", 5)).await;
    assert_eq!(carol.get(Field::Id), "1");
    scene.expect(&ours, &[carol.clone(), alice.clone(), bob.clone()]).await;

    // The SDK cannot count past a text id: it adds nobody, and loses nobody.
    scene.sdk.try_save(&Columns::of("dave@example.com", 6)).unwrap_err();
    scene.expect(&ours, &[carol, alice, bob]).await;
}

#[cfg(unix)]
pub(crate) async fn a_file_open_to_others_is_closed_and_the_sdk_goes_on(mut scene: Scene) {
    use std::os::unix::fs::PermissionsExt;

    let mode = |scene: &Scene| fs::metadata(scene.path()).unwrap().permissions().mode() & 0o777;
    let ours = scene.open_both().await;
    let alice = scene.sdk.save(&Columns::of("alice@example.com", 1));
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let bob = ours.save(&Columns::of("bob@example.com", 2)).await;
    assert_eq!(mode(&scene), 0o600);

    let update = Columns::update("alice@example.com", 3);
    scene.sdk.save(&update);
    assert_eq!(mode(&scene), 0o600);
    scene.expect(&ours, &[alice.merged(&update), bob]).await;
}

#[cfg(not(unix))]
pub(crate) async fn a_file_open_to_others_is_closed_and_the_sdk_goes_on(_: Scene) {}

fn text(scene: &Scene) -> String {
    fs::read_to_string(scene.path()).unwrap()
}
