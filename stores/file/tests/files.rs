//! The file as a file: paths, modes, who may open it, what else stands beside it.
#![expect(clippy::unwrap_used, reason = "in what tests are made with")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use support::{HEADER, Space, access, find, id, token};
use tokenkeep_core::{
    Lease, LeaseAttempt, Outcome, Replaced, SharedStore as _, StateReplaced, StoreErrorKind,
    TokenId, TokenState, TokenStatus, TokenStore as _,
};
use tokenkeep_store_file::{Dialect, FileConfig, FileStore, LineEnds, ProblemKind, Sdk};
use tokenkeep_testkit::ManualClock;

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
#[tokio::test]
async fn all_files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let space = Space::with(format!("{HEADER}\n1,alice,,,test-a,,,,,\n"));
    std::fs::set_permissions(space.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = space.open();
    assert!(find(&store, "alice").await.is_some());
    assert_eq!(mode(&space.path()), 0o644);
    store.save_token(&token("bob")).await.unwrap();
    store.replace_state(&id("1"), None, &TokenState::default()).await.unwrap();
    assert_eq!(mode(&space.path()), 0o600);
    assert_eq!(space.others(), ["tokens.csv.lock", "tokens.csv.tokenkeep"]);
    for name in space.others() {
        assert_eq!(mode(&space.directory().join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_refused_with_a_hint() {
    let space = Space::new();
    let error = FileStore::open(space.directory()).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.to_string().ends_with("is a directory"), "{error}");
    assert!(error.hint().is_some());
    let error = FileStore::open(space.directory().join("no/such/tokens.csv")).unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(error.hint().unwrap().contains("create the directory"), "{error:?}");
    space.write("");
    assert!(FileStore::open(space.path().join("tokens.csv")).is_err());
    assert!(FileStore::open("/").is_err());
    assert!(FileStore::open("").is_err());
    #[cfg(unix)]
    assert!(FileStore::open("/dev/null").unwrap_err().to_string().contains("not a regular file"));
    // And if it becomes one while in use.
    let store = space.open();
    std::fs::remove_file(space.path()).unwrap();
    std::fs::create_dir(space.path()).unwrap();
    assert_eq!(store.get_tokens().await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let error = store.save_token(&token("alice")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (StoreErrorKind::Unavailable, Outcome::NotApplied));
}

#[cfg(unix)]
#[tokio::test]
async fn a_symbolic_link_is_written_through() {
    let space = Space::new();
    let real = space.directory().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = space.directory().join("link.csv");
    std::os::unix::fs::symlink("real/tokens.csv", &link).unwrap();
    for user in ["alice", "bob"] {
        FileStore::open(&link).unwrap().save_token(&token(user)).await.unwrap();
    }
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        FileStore::open(real.join("tokens.csv")).unwrap().get_tokens().await.unwrap().len(),
        2
    );
    assert!(real.join("tokens.csv.lock").exists());
    std::os::unix::fs::symlink("self", space.directory().join("self")).unwrap();
    assert!(FileStore::open(space.directory().join("self")).is_err());
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_nothing_else() {
    let space = Space::new();
    space.open().save_token(&token("alice")).await.unwrap();
    let keep =
        [".tokens.csv.swp", ".tokens.csv.notes.tokenkeep-tmp", ".other.csv.Ab12Cd.tokenkeep-tmp"];
    for name in keep.into_iter().chain([".tokens.csv.Ab12Cd.tokenkeep-tmp"]) {
        support::write(&space.directory().join(name), "");
    }
    let store = space.open();
    let mut names = keep.to_vec();
    names.push("tokens.csv.lock");
    names.sort_unstable();
    assert_eq!(space.others(), names);
    assert!(find(&store, "alice").await.is_some());
}

#[tokio::test]
async fn changes_of_others_are_seen_at_once() {
    let space = Space::new();
    let (ours, theirs) = (space.open(), space.open());
    for round in 0..50 {
        let text = format!("test-access-{round}");
        theirs.save_token(&access("alice", &text)).await.unwrap();
        let found = find(&ours, "alice").await.unwrap();
        assert_eq!(found.access_token().unwrap().expose_secret(), text);
        // Same length, same inode, within a tick of the clock.
        let text = format!("test-ACCESS-{round}");
        space.write(space.text().replace("test-access", "test-ACCESS"));
        let found = find(&ours, "alice").await.unwrap();
        assert_eq!(found.access_token().unwrap().expose_secret(), text);
    }
}

#[tokio::test]
async fn a_dropped_future_is_a_change_or_none() {
    let space = Space::new();
    let store = space.open();
    for round in 0..30 {
        let token = token(&format!("user{round}"));
        let mut save = store.save_token(&token);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(save.as_mut().poll(&mut context).is_pending());
    }
    // Waits for those under way: changes are made one at a time.
    store.save_token(&token("last")).await.unwrap();
    let tokens = space.open().get_tokens().await.unwrap();
    assert!(tokens.iter().all(|token| token.refresh_token().is_some()));
    assert!(find(&store, "last").await.is_some());
}

#[tokio::test]
async fn state_leases_and_fences_are_shared_by_all_who_open_the_file() {
    let space = Space::new();
    let clock = Arc::new(ManualClock::default());
    let open =
        || FileConfig::new(space.path()).clock(Arc::<ManualClock>::clone(&clock)).open().unwrap();
    let (ours, theirs) = (open(), open());
    let stored = ours.save_token(&token("alice")).await.unwrap();
    let one = stored.id().unwrap();
    let ttl = Duration::from_secs(10);
    let take = async |store: &FileStore, holder: &str| -> Option<Lease> {
        let attempt = store.try_lease(one, holder, ttl).await.unwrap();
        if let LeaseAttempt::Granted(lease) = attempt { Some(lease) } else { None }
    };
    let first = take(&ours, "us").await.unwrap();
    assert_eq!(take(&theirs, "them").await, None);
    clock.advance(ttl);
    let second = take(&theirs, "them").await.unwrap();
    assert!(second.generation > first.generation);
    let new = access("alice", "test-access-new");
    let lost = ours.replace_token(&stored, &new, Some(&first)).await.unwrap();
    assert_eq!(lost, Replaced::LeaseLost(Some(stored.clone())));
    let Replaced::Saved(saved) = theirs.replace_token(&stored, &new, Some(&second)).await.unwrap()
    else {
        panic!("the newest lease may write");
    };
    let changed = ours.replace_token(&stored, &token("alice"), None).await.unwrap();
    assert_eq!(changed, Replaced::Changed(Some(saved)));
    assert_eq!(ours.renew_lease(&first, ttl).await.unwrap(), None);
    assert!(theirs.renew_lease(&second, ttl).await.unwrap().is_some());
    assert!(theirs.release_lease(&second).await.unwrap());

    let mut state = TokenState::default();
    state.status = TokenStatus::NeedsLogin;
    let written = ours.replace_state(one, None, &state).await.unwrap();
    assert_eq!(written, StateReplaced::Written);
    assert_eq!(theirs.state(one).await.unwrap().as_ref(), Some(&state));
    let changed = theirs.replace_state(one, None, &TokenState::default()).await.unwrap();
    assert_eq!(changed, StateReplaced::Changed(Some(Box::new(state))));
    let missing = ours.replace_state(&id("9"), None, &TokenState::default()).await.unwrap();
    assert_eq!(missing, StateReplaced::NoToken);
    assert!(ours.delete_token(one).await.unwrap());
    assert_eq!(theirs.state(one).await.unwrap(), None);
    let side = std::fs::read_to_string(space.directory().join("tokens.csv.tokenkeep")).unwrap();
    assert_eq!(side, r#"{"version":1,"last_id":1,"tokens":{}}"#);
}

#[tokio::test]
async fn plain_saves_write_no_side_file() {
    let space = Space::new();
    let store = space.open();
    for user in ["alice", "bob", "alice"] {
        store.save_token(&token(user)).await.unwrap();
    }
    store.delete_token(&id("1")).await.unwrap();
    assert_eq!(space.others(), ["tokens.csv.lock"]);
    store.delete_token(&id("2")).await.unwrap();
    assert_eq!(space.others(), ["tokens.csv.lock", "tokens.csv.tokenkeep"]);
}

#[tokio::test]
async fn a_state_moves_with_a_token_that_is_absorbed() {
    let space = Space::new();
    let store = space.open();
    let named = store.save_token(&access("alice", "test-access-old")).await.unwrap();
    let nameless = tokenkeep_core::OAuthToken::builder().grant_token("test-grant").build().unwrap();
    let nameless = store.save_token(&nameless).await.unwrap();
    let mut state = TokenState::default();
    state.data_center = Some("eu".to_owned());
    store.replace_state(nameless.id().unwrap(), None, &state).await.unwrap();
    let both = nameless.clone().without_id().with_user_name("alice").unwrap();
    let saved = store.save_token(&both).await.unwrap();
    assert_eq!(saved.id(), named.id());
    assert_eq!(store.state(saved.id().unwrap()).await.unwrap(), Some(state));
    assert_eq!(store.get_tokens().await.unwrap().len(), 1);
    // The id of the absorbed one was the highest.
    assert_eq!(store.save_token(&token("bob")).await.unwrap().id(), Some(&id("3")));
}

#[tokio::test]
async fn pages_go_through_all_tokens_in_order() {
    let space = Space::new();
    let store = space.open();
    for user in 0..11 {
        store.save_token(&token(&format!("user{user}"))).await.unwrap();
    }
    let (mut after, mut seen) = (None, Vec::<TokenId>::new());
    loop {
        let page = store.page(after.as_ref(), 4).await.unwrap();
        seen.extend(page.tokens.into_iter().map(|token| token.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (1..=11).map(TokenId::from_number).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_inspection_says_what_is_wrong_and_for_whom() {
    let space = Space::with(format!(
        "{HEADER}\r\n\
         1,alice,c,,test-a,,,soon,,\r\n\
         \n\
         python_bob,bob,c,,test-b,,,,\r\n\
         3,\"a, \\b\",c,,test-c,,,,,\r\n\
         3,alice,c,,test-d,,,,,\r\n\
         99999999999,erin,c,,test-e,,,,,\r\n\
         4,fr"
    ));
    let inspection = space.open().inspect().await.unwrap();
    assert_eq!((inspection.tokens, inspection.columns), (5, 10));
    assert_eq!(inspection.line_ends, LineEnds::Mixed);
    let lines = |kind| {
        let problem = inspection.problems.iter().find(|problem| problem.kind == kind);
        problem.map(|problem| problem.lines.clone())
    };
    for (kind, expected) in [
        (ProblemKind::Backslash, Some(vec![5])),
        (ProblemKind::BlankLine, Some(vec![3])),
        (ProblemKind::DamagedRow, Some(vec![8])),
        (ProblemKind::DuplicateId, Some(vec![5, 6])),
        (ProblemKind::DuplicateUser, Some(vec![2, 6])),
        (ProblemKind::LargeId, Some(vec![7])),
        (ProblemKind::LineBreak, None),
        (ProblemKind::LineEnds, Some(vec![])),
        (ProblemKind::MissingHeader, None),
        (ProblemKind::NineColumns, Some(vec![4])),
        (ProblemKind::Quotes, Some(vec![5])),
        (ProblemKind::SideFile, None),
        (ProblemKind::TextId, Some(vec![4])),
        (ProblemKind::UnreadableExpiry, Some(vec![2])),
    ] {
        assert_eq!(lines(kind), expected, "{kind:?}");
    }
    assert!(inspection.problems[0].affects_us);
    let quotes = inspection.problems.iter().find(|p| p.kind == ProblemKind::Quotes).unwrap();
    assert_eq!(quotes.affects, [Sdk::Node, Sdk::TypeScript, Sdk::CSharp]);
    assert!(!format!("{inspection:?}").contains("test-"));

    let clean = Space::new();
    let store = clean.open();
    assert!(!store.inspect().await.unwrap().exists);
    store.save_token(&token("alice")).await.unwrap();
    let inspection = store.inspect().await.unwrap();
    assert_eq!(inspection.problems, []);
    assert_eq!((inspection.tokens, inspection.line_ends), (1, LineEnds::Lf));
}

#[tokio::test]
async fn debug_shows_no_token() {
    let space = Space::new();
    let store = FileConfig::new(space.path()).dialect(Dialect::Quoted).open().unwrap();
    store.save_token(&token("alice")).await.unwrap();
    let shown = format!("{store:?}");
    assert!(shown.contains("tokens.csv") && shown.contains("Quoted"), "{shown}");
    assert!(!shown.contains("test-refresh"), "{shown}");
    assert_eq!(store.dialect().name().parse::<Dialect>().unwrap(), Dialect::Quoted);
    assert!("excel".parse::<Dialect>().is_err());
}
