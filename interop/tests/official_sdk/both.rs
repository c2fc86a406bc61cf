//! What holds on the SDK's file, on the article's database and on the SDK's table in MySQL alike.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokenkeep_core::{Field, LeaseAttempt, Replaced, StateReplaced, TokenState};

use crate::{
    language::Language,
    scene::{Kind, Scene, queries, sdk_queries},
    sdk::Sdk,
    token::Columns,
};

const TTL: Duration = Duration::from_secs(3600);

/// Tokens with all fields, with as few as a token can have, and with characters that are hard on
/// formats, as far as every SDK can live with them.
fn various(sdk: &Sdk) -> Vec<Columns> {
    // The SDK for Node speaks UTF-8 of three bytes at most with its database.
    let smile = if sdk.language == Language::Node { "" } else { "\u{1f600}" };
    vec![
        Columns::of("alice@example.com", 1),
        Columns::default()
            .with(Field::UserName, "bob@example.com")
            .with(Field::RefreshToken, "1000.test-refresh-token-2"),
        Columns::default()
            .with(Field::ClientId, "1000.TESTCLIENT")
            .with(Field::ClientSecret, "test-client-secret")
            .with(Field::GrantToken, "1000.test-grant-token-3"),
        Columns::of(&format!("Jose\u{301} \u{65e5}\u{672c} {smile};|\t<&>@example.com"), 4),
        Columns::of("JOSE@example.com", 5).without(Field::ExpiryTime),
        Columns::of("jose@example.com", 6).without(Field::RedirectUrl).without(Field::GrantToken),
        Columns::of("long@example.com", "t".repeat(200)),
    ]
}

pub(crate) async fn what_the_sdk_stored_is_found_by_us(mut scene: Scene) {
    scene.open_sdk();
    if scene.kind == Kind::Mysql {
        drop(scene.open_ours().await);
    }
    let tokens = various(&scene.sdk);
    let stored: Vec<_> = tokens.iter().map(|token| scene.sdk.save(token)).collect();
    let ours = scene.open_ours().await;
    for token in &stored {
        for query in queries(token) {
            assert_eq!(ours.find(&query).await.as_ref(), Some(token));
        }
        assert_eq!(ours.find_by_id(&token.id()).await.as_ref(), Some(token));
    }
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn what_we_stored_is_found_by_the_sdk(mut scene: Scene) {
    let ours = scene.open_ours().await;
    let mut stored = Vec::new();
    for token in various(&scene.sdk) {
        stored.push(ours.save(&token).await);
    }
    scene.open_sdk();
    for token in &stored {
        assert_eq!(scene.sdk.find_by_id(&token.id()).unwrap(), *token);
    }
    let full = &stored[0];
    for query in sdk_queries(full) {
        assert_eq!(scene.sdk.find(&query).as_ref(), Some(full));
    }
    assert_eq!(scene.sdk.find_user("JOSE@example.com").as_ref(), Some(&stored[4]));
    assert_eq!(scene.sdk.find_user("nobody@example.com"), None);
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn each_updates_what_the_other_stored(mut scene: Scene) {
    let ours = scene.open_both().await;
    let alice = ours.save(&Columns::of("alice@example.com", 1)).await;
    let bob = scene.sdk.save(&Columns::of("bob@example.com", 2));
    scene.expect(&ours, &[alice.clone(), bob.clone()]).await;

    let update = Columns::update("alice@example.com", 3);
    scene.sdk.save(&update);
    let alice = alice.merged(&update);
    scene.expect(&ours, &[alice.clone(), bob.clone()]).await;

    let update = Columns::update("bob@example.com", 4);
    let saved = ours.save(&update).await;
    let bob = bob.merged(&update);
    assert_eq!(saved, bob);
    scene.expect(&ours, &[alice.clone(), bob.clone()]).await;

    // By refresh token and client, as a program saves that does not know its user.
    let known_by = [Field::ClientId, Field::ClientSecret, Field::RefreshToken];
    let update = alice.only(&known_by).with(Field::AccessToken, "1000.test-access-token-5");
    scene.sdk.save(&update);
    let alice = alice.merged(&update);
    scene.expect(&ours, &[alice.clone(), bob.clone()]).await;

    let update = bob.only(&known_by).with(Field::AccessToken, "1000.test-access-token-6");
    ours.save(&update).await;
    let bob = bob.merged(&update);
    scene.expect(&ours, &[alice.clone(), bob]).await;

    // What was read before the SDK's save is not written over it.
    let stale = alice.token();
    let update = Columns::update("alice@example.com", 7);
    scene.sdk.save(&update);
    let alice = alice.merged(&update);
    let new = Columns::update("alice@example.com", 8).token();
    let replaced = ours.shared().replace_token(&stale, &new, None).await.unwrap();
    assert_eq!(replaced, Replaced::Changed(Some(alice.token())));
}

pub(crate) async fn ids_go_on_whoever_inserts(mut scene: Scene) {
    let ours = scene.open_both().await;
    let mut stored = Vec::new();
    for number in 1..=13 {
        let token = Columns::of(&format!("user{number}@example.com"), number);
        let by_sdk = number % 2 == 0 && (!scene.kind.counts_by_text() || number <= 10);
        let saved = if by_sdk { scene.sdk.save(&token) } else { ours.save(&token).await };
        assert_eq!(saved.get(Field::Id), number.to_string());
        stored.push(saved);
    }
    scene.expect(&ours, &stored).await;

    if scene.kind.counts_by_text() {
        let raised = scene.sdk.try_save(&Columns::of("late@example.com", 14)).unwrap_err();
        if scene.kind == Kind::Sqlite {
            assert!(raised.message.contains("UNIQUE"), "{raised}");
        }
        scene.expect(&ours, &stored).await;
    }
    for (at, token) in stored.iter_mut().enumerate() {
        let update = Columns::update(token.user(), 100 + at);
        if at % 2 == 0 {
            scene.sdk.save(&update);
        } else {
            ours.save(&update).await;
        }
        *token = token.merged(&update);
    }
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn what_one_deleted_is_gone_for_the_other(mut scene: Scene) {
    let ours = scene.open_both().await;
    let mut stored = Vec::new();
    for number in 1..=4 {
        stored.push(ours.save(&Columns::of(&format!("user{number}@example.com"), number)).await);
    }
    let theirs = stored.remove(1);
    scene.sdk.delete(&theirs.id());
    assert!(!ours.delete(&theirs.id()).await);
    scene.expect(&ours, &stored).await;
    assert_eq!(ours.find_user(theirs.user()).await, None);
    assert_eq!(ours.find_by_id(&theirs.id()).await, None);

    let mine = stored.remove(2);
    assert!(ours.delete(&mine.id()).await);
    assert_eq!(scene.sdk.find_user(mine.user()), None);
    scene.sdk.find_by_id(&mine.id()).unwrap_err();
    scene.expect(&ours, &stored).await;

    // The largest id was ours to delete, and we do not give it again.
    let saved = ours.save(&Columns::of("user5@example.com", 5)).await;
    assert_eq!(saved.get(Field::Id), "5");
    stored.push(saved);
    scene.expect(&ours, &stored).await;
}

pub(crate) async fn what_one_emptied_is_empty_for_the_other(mut scene: Scene) {
    let ours = scene.open_both().await;
    ours.save(&Columns::of("alice@example.com", 1)).await;
    scene.sdk.delete_all();
    assert_eq!(ours.delete_all().await, 0);
    scene.expect(&ours, &[]).await;

    scene.sdk.save(&Columns::of("bob@example.com", 2));
    assert_eq!(ours.delete_all().await, 1);
    scene.expect(&ours, &[]).await;

    let carol = scene.sdk.save(&Columns::of("carol@example.com", 3));
    let dave = ours.save(&Columns::of("dave@example.com", 4)).await;
    scene.expect(&ours, &[carol, dave]).await;
}

pub(crate) async fn an_id_that_the_sdk_gave_to_another_user_inherits_nothing(mut scene: Scene) {
    let ours = scene.open_both().await;
    let alice = ours.save(&Columns::of("alice@example.com", 1)).await;
    let id = alice.id();
    let mut state = TokenState::default();
    state.org_id = Some("alice-org".to_owned());
    let written = ours.shared().replace_state(&id, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    let LeaseAttempt::Granted(lease) = ours.shared().try_lease(&id, "alice", TTL).await.unwrap()
    else {
        unreachable!("nobody else has it")
    };

    scene.sdk.delete(&id);
    let bob = scene.sdk.save(&Columns::of("bob@example.com", 2));
    assert_eq!(bob.id(), id, "the SDK gives a free id again");
    ours.settle(std::slice::from_ref(&bob)).await;

    let shared = ours.shared();
    assert_eq!(shared.state(&id).await.unwrap(), None);
    let page = shared.page(None, 10).await.unwrap();
    assert!(page.tokens.iter().all(|token| token.state.is_none()));
    assert_eq!(shared.renew_lease(&lease, TTL).await.unwrap(), None);
    assert!(!shared.release_lease(&lease).await.unwrap());
    let update = Columns::update("bob@example.com", 3);
    let replaced = shared.replace_token(&bob.token(), &update.token(), Some(&lease)).await.unwrap();
    assert_eq!(replaced, Replaced::LeaseLost(Some(bob.token())));
    let attempt = shared.try_lease(&id, "bob", TTL).await.unwrap();
    assert!(matches!(attempt, LeaseAttempt::Granted(_)), "{attempt:?}");
    assert_eq!(shared.renew_lease(&lease, TTL).await.unwrap(), None);
    assert_eq!(shared.state(&id).await.unwrap(), None);

    // What belongs to Bob stays with him when the SDK saves his token.
    let mut state = TokenState::default();
    state.org_id = Some("bob-org".to_owned());
    let written = shared.replace_state(&id, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    scene.sdk.save(&update);
    scene.expect(&ours, &[bob.merged(&update)]).await;
    assert_eq!(shared.state(&id).await.unwrap(), Some(state));
}

pub(crate) async fn a_reader_of_ours_beside_a_saving_sdk_never_misses(mut scene: Scene) {
    // A `DBStore` connects anew each time.
    let count = if scene.kind == Kind::Mysql { 100 } else { 300 };
    let ours = scene.open_both().await;
    let mut stored = Vec::new();
    for number in 1..=9 {
        stored.push(ours.save(&Columns::of(&format!("user{number}@example.com"), number)).await);
    }
    let Scene { mut sdk, .. } = scene;
    let (user, untouched) = (stored[3].user().to_owned(), &stored[8]);
    let (done, saved) = (Stop(Arc::default()), Arc::new(AtomicUsize::new(0)));
    let saves = tokio::task::spawn_blocking({
        let (done, saved) = (Arc::clone(&done.0), Arc::clone(&saved));
        move || {
            for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let value = format!("{number}-{}", "t".repeat(number % 200));
                sdk.save(&Columns::update(&user, value));
                saved.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    // So many of both, however the machine shares its time between them.
    let mut reads = 0;
    while reads <= count / 10 || saved.load(Ordering::Relaxed) < count {
        assert!(!saves.is_finished(), "the SDK stopped after {saved:?} saves");
        assert_eq!(ours.find_user(untouched.user()).await.as_ref(), Some(untouched));
        assert_eq!(ours.find_by_id(&untouched.id()).await.as_ref(), Some(untouched));
        assert_eq!(ours.tokens().await.len(), stored.len());
        reads += 1;
    }
    drop(done);
    saves.await.unwrap();
}

pub(crate) async fn a_reading_sdk_beside_our_saves_never_misses(mut scene: Scene) {
    // A `DBStore` connects anew each time.
    let reads = if scene.kind == Kind::Mysql { 100 } else { 1000 };
    let ours = scene.open_both().await;
    let mut stored = Vec::new();
    for number in 1..=9 {
        stored.push(ours.save(&Columns::of(&format!("user{number}@example.com"), number)).await);
    }
    let done = Stop(Arc::default());
    let saves = tokio::spawn({
        let (ours, done, user) = (ours.clone(), Arc::clone(&done.0), stored[3].user().to_owned());
        async move {
            for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                ours.save(&Columns::update(&user, format!("{number}-{}", "t".repeat(number % 99))))
                    .await;
            }
        }
    });
    let untouched = stored[8].id();
    for _ in 0..reads {
        assert_eq!(scene.sdk.find_by_id(&untouched).unwrap(), stored[8]);
        assert_eq!(scene.sdk.tokens().len(), stored.len());
    }
    drop(done);
    saves.await.unwrap();
}

/// Tells another task to stop, also when a test fails.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
