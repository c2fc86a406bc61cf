//! Many tokens at once: what is read page by page, and what a batch that is saved leaves.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, mpsc},
};

use tokenkeep_core::{
    BulkStore, Columns, Entry, Field, Fingerprint, InFlight, ListStore, OAuthToken, StoreError,
    StoreErrorKind, Timestamp, TokenId, TokenState, TokenStore,
};
use tokio::task::yield_now;

use super::{ALICE, BOB, EU, US, check_holds, full, id, id_of, ids, of, refused};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, check_same, shared},
    race::race,
};

pub(super) const CASES: &[Case] = &[
    case!(entries_come_in_the_order_of_ids).needs(Needs::BULK),
    case!(entries_of_an_empty_store_are_none).needs(Needs::BULK),
    case!(entries_of_one_id_stand_on_one_page).needs(Needs::BULK),
    case!(entries_that_nobody_changes_are_on_one_page_exactly).needs(Needs::BULK),
    case!(many_entries_are_saved_and_read).needs(Needs::BULK),
    case!(entries_are_saved_by_the_rules_of_one_token).needs(Needs::BULK),
    case!(entries_with_odd_values_are_kept_exactly_or_refused).needs(Needs::BULK),
    case!(refused_entries_do_not_keep_others_from_being_saved).needs(Needs::BULK),
    case!(entries_bring_their_state_along).needs(Needs::SHARED_BULK),
    case!(entries_leave_known_state_as_it_is).needs(Needs::SHARED_BULK),
    case!(entries_do_not_bring_a_refresh_under_way).needs(Needs::SHARED_BULK),
    case!(a_batch_is_seen_whole_or_not_at_all).needs(Needs::BULK),
    case!(racing_batches_of_the_same_users_make_one_token_each).needs(Needs::BULK),
    case!(a_dropped_batch_is_saved_wholly_or_not_at_all).needs(Needs::BULK),
];

/// What became of each of `tokens`, saved at once.
async fn save(
    store: &dyn BulkStore,
    tokens: Vec<OAuthToken>,
) -> Result<Vec<Result<OAuthToken, StoreError>>, Failure> {
    let entries: Vec<_> = tokens.into_iter().map(Entry::new).collect();
    let answers = store.save_entries(&entries).await?;
    check_eq!(answers.len(), entries.len());
    Ok(answers)
}

/// All entries, in pages of this size.
async fn through(store: &dyn BulkStore, limit: usize) -> Result<Vec<Entry>, Failure> {
    let mut all: Vec<Entry> = Vec::new();
    let mut after: Option<TokenId> = None;
    loop {
        let page = store.read_entries(after.as_ref(), limit).await?;
        check!(page.damage.is_empty(), "there is damage: {:?}", page.damage);
        if page.next.is_some() {
            check!(page.entries.len() >= limit, "a page that is not the last is not full");
            check_eq!(page.next.as_ref(), page.entries.last().and_then(|last| last.token.id()));
        }
        all.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// A scan shows what the pages hold: each token once, with what is known of it.
async fn check_scan(store: &dyn BulkStore, entries: &[Entry]) -> CaseResult {
    let (show, shown) = mpsc::channel();
    let look = move |columns: &Columns<'_>, state: Option<&TokenState>| {
        let columns = columns.each_ref().map(|column| column.as_deref().map(str::to_owned));
        match show.send((columns, state.cloned())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let damage = store.scan(Box::new(look)).await?;
    check!(damage.is_empty(), "there is damage: {damage:?}");
    let mut seen = Vec::new();
    for (columns, state) in shown.try_iter() {
        seen.push(Entry::new(OAuthToken::from_columns(columns)?).with_state(state));
    }
    seen.sort_by(|one, other| one.token.id().cmp(&other.token.id()));
    check_eq!(seen.len(), entries.len());
    for (seen, entry) in seen.iter().zip(entries) {
        check_same("what was shown", &seen.token, &entry.token)?;
        check_eq!(&seen.state, &entry.state);
    }
    // Who has seen enough is shown no more.
    let (show, shown) = mpsc::channel();
    let look = move |_: &Columns<'_>, _: Option<&TokenState>| {
        _ = show.send(());
        ControlFlow::Break(())
    };
    store.scan(Box::new(look)).await?;
    check_eq!(shown.try_iter().count(), entries.len().min(1));
    Ok(())
}

fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry.token.id().map(TokenId::as_str)).collect()
}

/// The token of a user who is one of many.
fn user(number: usize) -> Result<OAuthToken, Failure> {
    full(&format!("user{number}@example.com"))
}

async fn entries_come_in_the_order_of_ids(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let mut given = Vec::new();
    for (number, text) in ["crm-b", "11", "9", "crm-a", "10", "100"].into_iter().enumerate() {
        given.push(user(number)?.with_id(id(text)?));
    }
    for answer in save(&*store, given).await? {
        answer?;
    }
    let stored = store.get_tokens().await?;
    for limit in [1, 2, 3, 5, 6, 7, 1_000, usize::MAX] {
        let entries = through(&*store, limit).await?;
        check_eq!(texts(&entries), ["9", "10", "11", "100", "crm-a", "crm-b"]);
        for (entry, stored) in entries.iter().zip(&stored) {
            check_same("an entry", &entry.token, stored)?;
            check_eq!(entry.state, None);
        }
    }
    check_scan(&*store, &through(&*store, 10).await?).await?;
    for (after, left) in [("8", 6), ("99", 3), ("101", 2), ("crm-a", 1), ("crm-b", 0)] {
        let page = store.read_entries(Some(&id(after)?), 10).await?;
        check!(page.entries.len() == left, "{} after {after}, not {left}", page.entries.len());
        check_eq!(page.next, None);
    }
    Ok(())
}

async fn entries_of_an_empty_store_are_none(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    check_eq!(store.read_entries(None, 10).await?, tokenkeep_core::Entries::default());
    check!(store.save_entries(&[]).await?.is_empty(), "nothing was saved, and became something");
    check_scan(&*store, &[]).await?;
    check_holds(&*store, &[]).await
}

/// Where storage can hold several rows of one id, as other programs leave them.
async fn entries_of_one_id_stand_on_one_page(cx: &Context) -> CaseResult {
    let mut rows = Vec::new();
    for (number, text) in ["1", "2", "2", "2", "3"].into_iter().enumerate() {
        rows.push(user(number)?.with_id(id(text)?));
    }
    // A primary key keeps such rows out, and so does a store without a way to bring them in.
    if !matches!(cx.space().preload(&rows).await, Ok(true)) {
        return Ok(());
    }
    let store = cx.open_bulk().await?;
    for limit in 1..=5 {
        check_eq!(texts(&through(&*store, limit).await?), ["1", "2", "2", "2", "3"]);
    }
    let page = store.read_entries(None, 2).await?;
    check_eq!(texts(&page.entries), ["1", "2", "2", "2"]);
    check_eq!(page.next, Some(id("2")?));
    Ok(())
}

async fn entries_that_nobody_changes_are_on_one_page_exactly(cx: &Context) -> CaseResult {
    const ROUNDS: usize = 5;
    let store = cx.open_bulk().await?;
    let kept: Vec<_> = (0..40).map(|n| full(&format!("kept{n}@example.com"))).collect();
    for (number, token) in kept.into_iter().enumerate() {
        store.save_token(&token?).await?;
        store.save_token(&user(number)?).await?;
    }
    let others = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in (0..40).chain(0..40) {
                let stored = store.save_token(&user(number)?).await?;
                if number % 3 != 0 {
                    store.delete_token(&id_of(&stored)?).await?;
                }
                store.save_token(&user(1_000 + number)?).await?;
                yield_now().await;
            }
            Ok::<(), Failure>(())
        }
    });
    for _ in 0..ROUNDS {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for entry in through(&*store, 7).await? {
            let name = entry.token.user_name().unwrap_or_default();
            if name.starts_with("kept") {
                *seen.entry(name.to_owned()).or_default() += 1;
            }
        }
        check_eq!(seen.len(), 40);
        check!(seen.values().all(|times| *times == 1), "some are on two pages: {seen:?}");
    }
    others.await?
}

async fn many_entries_are_saved_and_read(cx: &Context) -> CaseResult {
    const MANY: usize = 3_000;
    let many = MANY.min(cx.capabilities().most.unwrap_or(MANY));
    let store = cx.open_bulk().await?;
    if many < MANY {
        let entries = (0..=many).map(|number| Ok(Entry::new(user(number)?)));
        let entries = entries.collect::<Result<Vec<_>, Failure>>()?;
        refused(store.save_entries(&entries).await, StoreErrorKind::Full, "saving too many")?;
        check_holds(&*store, &[]).await?;
    }
    let tokens = (0..many).map(user).collect::<Result<Vec<_>, _>>()?;
    for (number, answer) in save(&*store, tokens).await?.into_iter().enumerate() {
        check_same(
            "a saved entry",
            &answer?,
            &user(number)?.with_id(id(&format!("{}", number + 1))?),
        )?;
    }
    let entries = through(&*store, 999).await?;
    check_eq!(entries.len(), many);
    for (number, entry) in entries.into_iter().enumerate() {
        check_same("an entry", &entry.token.without_id(), &user(number)?)?;
    }
    if many < MANY {
        one_more_is_refused(&*store, many).await?;
    }
    Ok(())
}

/// The store holds as many tokens as it takes.
async fn one_more_is_refused(store: &dyn BulkStore, most: usize) -> CaseResult {
    let one_more = user(most)?;
    refused(store.save_token(&one_more).await, StoreErrorKind::Full, "saving one more")?;
    let entry = [Entry::new(one_more.clone())];
    refused(store.save_entries(&entry).await, StoreErrorKind::Full, "saving one more entry")?;
    check_eq!(store.get_tokens().await?.len(), most);
    // What is there can be changed, and what goes makes room.
    let changed = of("user0@example.com").access_token("test-access-changed").build()?;
    check_eq!(id_of(&store.save_token(&changed).await?)?.as_str(), "1");
    check!(store.delete_token(&id("1")?).await?, "id 1 is not there to delete");
    store.save_token(&one_more).await?;
    check_eq!(store.get_tokens().await?.len(), most);
    Ok(())
}

/// Tokens of few users, clients, domains and values, so that most have something in common.
fn alike(count: usize) -> Result<Vec<Entry>, Failure> {
    let mut seed = 20_251_122_u64;
    let mut pick = |of: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % of
    };
    let mut entries = Vec::new();
    while entries.len() < count {
        let mut columns: [Option<String>; 10] = Default::default();
        let mut set = |field: Field, number: u64, of: &dyn Fn(u64) -> String| {
            columns[field as usize] = (number > 0).then(|| of(number));
        };
        set(Field::Id, pick(12).saturating_sub(8), &|n| format!("{}", n * 7));
        set(Field::UserName, pick(5), &|n| format!("user{n}@example.com"));
        set(Field::ClientId, pick(3), &|n| format!("test-client-{n}"));
        set(Field::ClientSecret, pick(2), &|n| format!("test-client-secret-{n}"));
        set(Field::RefreshToken, pick(8), &|n| format!("test-refresh-{n}"));
        set(Field::AccessToken, pick(9), &|n| format!("test-access-{n}"));
        set(Field::GrantToken, pick(6).saturating_sub(3), &|n| format!("test-grant-{n}"));
        set(Field::ExpiryTime, pick(3), &|n| format!("176400000000{n}"));
        set(Field::ApiDomain, pick(3), &|n| [EU, US][n as usize - 1].to_owned());
        let state = (pick(2) == 1).then(|| {
            let mut state = TokenState::default();
            state.org_id = Some(entries.len().to_string());
            state
        });
        let token = OAuthToken::from_columns(columns)?;
        let token = if pick(10) == 0 { token.clear(Field::AccessToken) } else { token };
        entries.push(Entry::new(token).with_state(state));
    }
    Ok(entries)
}

/// In batches of any size they become what they become one by one in the reference store.
async fn entries_are_saved_by_the_rules_of_one_token(cx: &Context) -> CaseResult {
    let entries = alike(400)?;
    let store = cx.open_bulk().await?;
    let reference = ListStore::new();
    let mut rest = &entries[..];
    let mut refusals = 0;
    for size in [1, 2, 7, 30, 100].into_iter().cycle() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        let answers = store.save_entries(batch).await?;
        check_eq!(answers.len(), batch.len());
        for (entry, answer) in batch.iter().zip(answers) {
            let expected = reference.save_entries(std::slice::from_ref(entry)).await?.remove(0);
            match (answer, expected) {
                (Ok(answer), Ok(expected)) => check_same("an answer", &answer, &expected)?,
                (Err(answer), Err(expected)) => {
                    check_eq!(answer.kind(), expected.kind());
                    check_eq!(answer.ids(), expected.ids());
                    refusals += 1;
                }
                (answer, expected) => {
                    return Err(Failure::new(format!("{answer:?} and not {expected:?}")));
                }
            }
        }
        check_holds(&*store, &reference.get_tokens().await?).await?;
        if rest.is_empty() {
            break;
        }
    }
    check!(refusals > 10, "only {refusals} were refused");
    if cx.capabilities().shared {
        let (ours, theirs) = (through(&*store, 50).await?, through(&reference, 50).await?);
        for (one, other) in ours.iter().zip(&theirs) {
            check!(one.state == other.state, "{one:?} and not {other:?}");
        }
    }
    Ok(())
}

const ODD: [&str; 9] = [
    "'; drop table oauthtoken; --",
    "a,b",
    "a\\b\"c\"",
    " x ",
    "x\r\ny",
    "\u{1f600} \u{e9}e\u{301}",
    "%s {0} $1 ?1",
    "a\0b",
    "NULL",
];

async fn entries_with_odd_values_are_kept_exactly_or_refused(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let refuses = cx.capabilities().refuses;
    for field in [Field::UserName, Field::ClientSecret, Field::RefreshToken, Field::RedirectUrl] {
        let mut given = Vec::new();
        for (number, value) in ODD.into_iter().enumerate() {
            let mut columns = user(number)?.expose_columns().map(|column| column.map(String::from));
            columns[field as usize] = Some(value.to_owned());
            given.push(OAuthToken::from_columns(columns)?);
        }
        let mut kept = Vec::new();
        let answers = save(&*store, given.clone()).await?;
        for ((answer, given), value) in answers.into_iter().zip(given).zip(ODD) {
            match answer {
                Ok(stored) => {
                    check_same("an odd entry", &stored.clone().without_id(), &given)?;
                    kept.push(stored);
                }
                Err(error) => {
                    check!(refuses(field, value), "{value:?} in {field} is refused: {error:?}");
                    check_eq!(error.kind(), StoreErrorKind::Invalid);
                }
            }
        }
        check_holds(&*store, &kept).await?;
        let read: Vec<_> =
            through(&*store, 4).await?.into_iter().map(|entry| entry.token).collect();
        check_eq!(read, kept);
        check_scan(&*store, &through(&*store, 4).await?).await?;
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn refused_entries_do_not_keep_others_from_being_saved(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let bob = store.save_token(&full(BOB)?).await?;
    let nothing = OAuthToken::builder().user_name("nobody@example.com").build()?;
    let taken = of("carol@example.com").id(id_of(&bob)?).build()?;
    let answers =
        save(&*store, vec![nothing, full(ALICE)?, taken, of("dora@example.com").build()?]).await?;
    let [nothing, alice, taken, dora] =
        <[_; 4]>::try_from(answers).map_err(|_wrong| Failure::new("not four answers"))?;
    refused(nothing, StoreErrorKind::Invalid, "saving nothing")?;
    refused(taken, StoreErrorKind::Conflict, "taking another's id")?;
    let (alice, dora) = (alice?, dora?);
    check_eq!(ids(&*store).await?, ["1", "2", "3"]);
    check_holds(&*store, &[bob, alice, dora]).await
}

fn state(org: &str) -> TokenState {
    let mut state = TokenState::default();
    state.org_id = Some(org.to_owned());
    state.unknown.insert("colour".to_owned(), "blue".into());
    state
}

async fn entries_bring_their_state_along(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let entry = Entry::new(full(ALICE)?.with_id(id("7")?)).with_state(Some(state("1")));
    let answers = store.save_entries(&[entry.clone(), Entry::new(full(BOB)?)]).await?;
    check!(answers.iter().all(Result::is_ok), "something is refused: {answers:?}");
    check_eq!(shared(&*store)?.state(&id("7")?).await?, Some(state("1")));
    check_eq!(shared(&*store)?.state(&id("8")?).await?, None);
    let read = through(&*store, 1).await?;
    check_eq!(read.first(), Some(&entry));
    check_scan(&*store, &read).await?;
    // And back, into the emptied store.
    store.delete_tokens().await?;
    let answers = store.save_entries(&read).await?;
    check!(answers.iter().all(Result::is_ok), "something is refused: {answers:?}");
    check_eq!(through(&*store, 10).await?, read);
    Ok(())
}

async fn entries_leave_known_state_as_it_is(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let stored = store.save_token(&full(ALICE)?).await?;
    shared(&*store)?.replace_state(&id_of(&stored)?, None, &state("1")).await?;
    let entry = Entry::new(full(ALICE)?).with_state(Some(state("2")));
    check_eq!(store.save_entries(&[entry]).await?.remove(0)?, stored);
    check_eq!(shared(&*store)?.state(&id_of(&stored)?).await?, Some(state("1")));
    Ok(())
}

async fn entries_do_not_bring_a_refresh_under_way(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let stored = store.save_token(&full(ALICE)?).await?;
    let mut under_way = state("1");
    let grant = Fingerprint::of_grant(&stored).ok_or_else(|| Failure::new("no grant"))?;
    under_way.in_flight = Some(InFlight::new(grant, Timestamp::from_millis(1), 1));
    shared(&*store)?.replace_state(&id_of(&stored)?, None, &under_way).await?;
    let read = through(&*store, 10).await?;
    check_eq!(read, [Entry::new(stored.clone()).with_state(Some(state("1")))]);
    check_scan(&*store, &read).await?;
    store.delete_tokens().await?;
    let mut entry = Entry::new(stored.clone());
    entry.state = Some(under_way);
    store.save_entries(&[entry]).await?.remove(0)?;
    check_eq!(shared(&*store)?.state(&id_of(&stored)?).await?, Some(state("1")));
    Ok(())
}

/// As many as there are in a batch that is watched.
const BATCH: usize = 20;

fn batch(of: usize) -> Result<Vec<Entry>, Failure> {
    (0..BATCH).map(|number| Ok(Entry::new(user(of * BATCH + number)?))).collect()
}

async fn a_batch_is_seen_whole_or_not_at_all(cx: &Context) -> CaseResult {
    const BATCHES: usize = 10;
    let store = cx.open_bulk().await?;
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..BATCHES {
                store.save_entries(&batch(number)?).await?;
            }
            Ok::<(), Failure>(())
        }
    });
    loop {
        let done = writing.is_finished();
        let seen = store.get_tokens().await?.len();
        check!(seen % BATCH == 0, "{seen} tokens are seen while batches of {BATCH} are saved");
        if done {
            check_eq!(seen, BATCHES * BATCH);
            return writing.await?;
        }
        yield_now().await;
    }
}

async fn racing_batches_of_the_same_users_make_one_token_each(cx: &Context) -> CaseResult {
    let store = cx.open_bulk().await?;
    let other =
        if cx.capabilities().persistent { cx.open_bulk().await? } else { Arc::clone(&store) };
    for round in 0..3 {
        race(8, |number| {
            let store = Arc::clone(if number % 2 == 0 { &store } else { &other });
            async move {
                let answers = store.save_entries(&batch(round)?).await?;
                answers.into_iter().map(|answer| id_of(&answer?)).collect::<Result<Vec<_>, _>>()
            }
        })
        .await?
        .windows(2)
        .try_for_each(|pair| {
            check_eq!(pair[0], pair[1]);
            Ok::<(), Failure>(())
        })?;
        check_eq!(store.get_tokens().await?.len(), (round + 1) * BATCH);
    }
    Ok(())
}

async fn a_dropped_batch_is_saved_wholly_or_not_at_all(cx: &Context) -> CaseResult {
    const ROUNDS: usize = 10;
    let store = cx.open_bulk().await?;
    for round in 0..ROUNDS {
        let saving = tokio::spawn({
            let (store, entries) = (Arc::clone(&store), batch(round)?);
            async move { store.save_entries(&entries).await.map(drop) }
        });
        for _ in 0..round % 5 {
            yield_now().await;
        }
        saving.abort();
        match saving.await {
            Ok(saved) => saved?,
            Err(error) => check!(error.is_cancelled(), "saving a batch panicked"),
        }
        // It waits for what the dropped one may still be doing.
        let bob = id_of(&store.save_token(&full(BOB)?).await?)?;
        store.delete_token(&bob).await?;
        let left = store.get_tokens().await?.len();
        check!(left == 0 || left == BATCH, "{left} of {BATCH} are there");
        store.delete_tokens().await?;
    }
    Ok(())
}
