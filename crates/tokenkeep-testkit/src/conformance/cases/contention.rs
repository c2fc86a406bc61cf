//! Races of threads that crowd before the store: what a store that lets go between looking and
//! writing gets away with elsewhere. `tests/broken.rs` shows that these catch it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokenkeep_core::{
    ChangeMark, Field, LeaseAttempt, OAuthToken, Replaced, StateReplaced, TokenStore,
};

use super::{ALICE, found, full, id_of, ids, leases::TTL, of, races::update_until_done, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, shared},
    race::contend,
};

pub(super) const CASES: &[Case] = &[
    case!(crowding_saves_of_one_user_never_make_two_tokens).baseline(&["F10"]),
    case!(crowding_saves_of_many_users_are_all_there).baseline(&["F04"]),
    case!(crowding_updates_lose_nothing),
    case!(crowding_replacements_form_a_chain).needs(Needs::SHARED),
    case!(crowding_holders_never_share_a_lease).needs(Needs::SHARED),
    case!(crowding_writes_of_state_form_a_chain).needs(Needs::SHARED),
    case!(crowding_updates_of_state_lose_nothing).needs(Needs::SHARED),
    case!(crowding_readers_who_trust_the_mark_read_nothing_stale).needs(Needs::SHARED),
];

/// Instances for the threads to use: one, then two, where the store can.
async fn instances(cx: &Context) -> Result<Vec<[Arc<dyn TokenStore>; 2]>, Failure> {
    let one = cx.open().await?;
    let mut instances = vec![[Arc::clone(&one), Arc::clone(&one)]];
    if cx.capabilities().persistent {
        instances.push([one, cx.open().await?]);
    }
    Ok(instances)
}

async fn crowding_saves_of_one_user_never_make_two_tokens(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let store = Arc::clone(&stores[0]);
        let front = Arc::new(AtomicUsize::new(0));
        let users = Arc::clone(&front);
        contend(move |thread, _turn| {
            let (store, front) = (Arc::clone(&stores[thread % 2]), Arc::clone(&front));
            async move {
                // All save the user at the front, until one has and goes on to the next.
                let user = front.load(Ordering::SeqCst);
                store.save_token(&of(&format!("user{user}@example.com")).build()?).await?;
                front.fetch_max(user + 1, Ordering::SeqCst);
                Ok(())
            }
        })
        .await?;
        check_eq!(ids(&*store).await?.len(), users.load(Ordering::SeqCst));
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn crowding_saves_of_many_users_are_all_there(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let store = Arc::clone(&stores[0]);
        let given = contend(move |thread, turn| {
            let store = Arc::clone(&stores[thread % 2]);
            async move {
                let name = format!("user{turn}.of{thread}@example.com");
                id_of(&store.save_token(&of(&name).build()?).await?)
            }
        })
        .await?;
        let saves = given.iter().map(Vec::len).sum::<usize>();
        let distinct: HashSet<_> = given.into_iter().flatten().collect();
        check_eq!(distinct.len(), saves);
        check_eq!(ids(&*store).await?.len(), saves);
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn crowding_updates_lose_nothing(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        stores[0].save_token(&full(ALICE)?).await?;
        contend(move |thread, turn| {
            let store = Arc::clone(&stores[thread % 2]);
            async move {
                // Three threads write one field each, which a stale save of another would take
                // back; the rest crowd.
                let value = |turn: usize| format!("test-value-{turn}-of-{thread}");
                let token = OAuthToken::builder().user_name(ALICE);
                let (token, field) = match thread % 3 {
                    0 => (token.access_token(value(turn)), Field::AccessToken),
                    1 => (token.grant_token(value(turn)), Field::GrantToken),
                    _ => (token.refresh_token(value(turn)), Field::RefreshToken),
                };
                if thread < 3 && turn > 0 {
                    let stored = found(&*store, &user(ALICE)?).await?;
                    let stored = &stored.expose_columns()[field as usize];
                    check!(stored.as_deref() == Some(&value(turn - 1)), "an update was lost");
                }
                if thread < 3 {
                    store.save_token(&token.build()?).await?;
                } else {
                    store.get_tokens().await?;
                }
                Ok(())
            }
        })
        .await?;
    }
    Ok(())
}

async fn crowding_replacements_form_a_chain(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
        let replaced = Arc::new(Mutex::new(HashSet::new()));
        contend(move |thread, turn| {
            let (store, id) = (Arc::clone(&stores[thread % 2]), id.clone());
            let replaced = Arc::clone(&replaced);
            async move {
                let expected = store.find_token_by_id(&id).await?;
                let expected = expected.ok_or_else(|| Failure::new("the token is gone"))?;
                let access = format!("test-access-{turn}-of-{thread}");
                let token = OAuthToken::builder().access_token(access).build()?;
                let answer = shared(&*store)?.replace_token(&expected, &token, None).await?;
                if matches!(answer, Replaced::Saved(_)) {
                    let value = expected.access_token().map(|t| t.expose_secret().to_owned());
                    let first =
                        replaced.lock().unwrap_or_else(PoisonError::into_inner).insert(value);
                    check!(first, "one token was replaced twice");
                }
                Ok(())
            }
        })
        .await?;
    }
    Ok(())
}

async fn crowding_holders_never_share_a_lease(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
        let held = Arc::new(AtomicBool::new(false));
        let generations = contend(move |thread, _turn| {
            let (store, id) = (Arc::clone(&stores[thread % 2]), id.clone());
            let held = Arc::clone(&held);
            async move {
                let shared = shared(&*store)?;
                let attempt = shared.try_lease(&id, &format!("holder {thread}"), TTL).await?;
                let LeaseAttempt::Granted(lease) = attempt else { return Ok(None) };
                check!(!held.swap(true, Ordering::SeqCst), "two holders have the lease");
                held.store(false, Ordering::SeqCst);
                let released = shared.release_lease(&lease).await?;
                check!(released, "the holder's lease has passed to somebody else");
                Ok(Some(lease.generation))
            }
        })
        .await?;
        let granted: Vec<u64> = generations.into_iter().flatten().flatten().collect();
        let distinct: HashSet<_> = granted.iter().collect();
        check_eq!(distinct.len(), granted.len());
    }
    Ok(())
}

async fn crowding_writes_of_state_form_a_chain(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
        let replaced = Arc::new(Mutex::new(HashSet::new()));
        contend(move |thread, turn| {
            let (store, id) = (Arc::clone(&stores[thread % 2]), id.clone());
            let replaced = Arc::clone(&replaced);
            async move {
                let shared = shared(&*store)?;
                let expected = shared.state(&id).await?;
                let mut state = expected.clone().unwrap_or_default();
                state.org_id = Some(format!("{turn} of {thread}"));
                let answer = shared.replace_state(&id, expected.as_ref(), &state).await?;
                if answer == StateReplaced::Written {
                    let value = expected.map(|state| state.org_id);
                    let first =
                        replaced.lock().unwrap_or_else(PoisonError::into_inner).insert(value);
                    check!(first, "one state was replaced twice");
                }
                Ok(())
            }
        })
        .await?;
        cx.open().await?.delete_tokens().await?;
    }
    Ok(())
}

async fn crowding_updates_of_state_lose_nothing(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
        contend(move |thread, turn| {
            let (store, id) = (Arc::clone(&stores[thread % 2]), id.clone());
            async move {
                // Each thread counts for itself, which a stale write of another would take back.
                let (shared, key) = (shared(&*store)?, thread.to_string());
                let state = shared.state(&id).await?.unwrap_or_default();
                let counted = state.unknown.get(&key).and_then(Value::as_u64);
                check!(counted.unwrap_or(0) == u64::try_from(turn)?, "an update was lost");
                update_until_done(shared, &id, |state| {
                    state.unknown.insert(key.clone(), (turn + 1).into());
                })
                .await
            }
        })
        .await?;
        cx.open().await?.delete_tokens().await?;
    }
    Ok(())
}

/// A copy of a number that a reader keeps, and the mark that was shown before it was read.
type Copies = [Mutex<Option<(ChangeMark, usize)>>; 8];

async fn crowding_readers_who_trust_the_mark_read_nothing_stale(cx: &Context) -> CaseResult {
    for stores in instances(cx).await? {
        let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
        let written = Arc::new(AtomicUsize::new(0));
        let copies: Arc<Copies> = Arc::default();
        contend(move |thread, turn| {
            let (store, id) = (Arc::clone(&stores[thread % 2]), id.clone());
            let (written, copies) = (Arc::clone(&written), Arc::clone(&copies));
            async move {
                if thread == 0 && turn % 4 > 0 {
                    // Time for a reader with an old copy to ask whether it is good.
                    std::thread::yield_now();
                    return Ok(());
                }
                if thread == 0 {
                    // Of one length, and faster than a file system's clock ticks.
                    let token = OAuthToken::builder().user_name(ALICE);
                    let token = token.access_token(format!("test-{:09}", turn + 1)).build()?;
                    store.save_token(&token).await?;
                    written.store(turn + 1, Ordering::SeqCst);
                    return Ok(());
                }
                let due = written.load(Ordering::SeqCst);
                let mark = shared(&*store)?.change_mark().await?;
                let copy = *copies[thread].lock().unwrap_or_else(PoisonError::into_inner);
                let read = match copy {
                    Some((shown, read)) if shown == mark => read,
                    _ => {
                        let token = store.find_token_by_id(&id).await?;
                        let access = token.as_ref().and_then(OAuthToken::access_token);
                        let digits = access.and_then(|token| {
                            token.expose_secret().strip_prefix("test-")?.parse().ok()
                        });
                        digits.unwrap_or(0)
                    }
                };
                *copies[thread].lock().unwrap_or_else(PoisonError::into_inner) = Some((mark, read));
                check!(read >= due, "by the mark, the copy of number {read} is good at {due}");
                Ok(())
            }
        })
        .await?;
        cx.open().await?.delete_tokens().await?;
    }
    Ok(())
}
