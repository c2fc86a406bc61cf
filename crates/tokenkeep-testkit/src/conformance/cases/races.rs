//! Races of many spawned tasks on several threads.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokenkeep_core::{
    Field, LeaseAttempt, OAuthToken, Replaced, SharedStore, StateReplaced, StoreErrorKind,
    Timestamp, TokenId, TokenState, TokenStore, update_state,
};
use tokio::task::yield_now;

use super::{ALICE, BOB, check_holds, found, full, id_of, leases::TTL, of, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, check_same, shared},
    race::race,
};

pub(super) const CASES: &[Case] = &[
    case!(racing_saves_of_one_user_make_one_token).baseline(&["F10"]),
    case!(racing_saves_of_many_users_are_all_there),
    case!(racing_updates_of_different_fields_are_all_kept),
    case!(a_save_that_races_a_deletion_is_whole_or_absent),
    case!(one_of_racing_deletions_says_it_was_there),
    case!(readers_beside_a_writer_always_find_the_token),
    case!(racing_saves_through_two_instances_make_one_token).needs(Needs::PERSISTENT),
    case!(a_dropped_save_happened_wholly_or_not_at_all),
    case!(one_of_racing_replacements_wins).needs(Needs::SHARED),
    case!(one_of_racing_replacements_wins_across_instances).needs(Needs::SHARED_PERSISTENT),
    case!(one_of_racing_leases_is_granted).needs(Needs::SHARED),
    case!(one_of_racing_leases_is_granted_across_instances).needs(Needs::SHARED_PERSISTENT),
    case!(one_of_racing_writes_of_state_wins).needs(Needs::SHARED),
    case!(one_of_racing_writes_of_state_wins_across_instances).needs(Needs::SHARED_PERSISTENT),
    case!(racing_updates_of_state_are_all_kept).needs(Needs::SHARED),
    case!(racing_updates_of_state_are_all_kept_across_instances).needs(Needs::SHARED_PERSISTENT),
];

const RACERS: usize = 32;

const ROUNDS: usize = 10;

async fn race_one_user(stores: [Arc<dyn TokenStore>; 2]) -> CaseResult {
    for round in 0..ROUNDS {
        let name = format!("user{round}@example.com");
        let saved = race(RACERS, |number| {
            let store = Arc::clone(&stores[number % 2]);
            let token = OAuthToken::builder()
                .user_name(&name)
                .access_token(format!("test-access-{number}"))
                .build();
            async move { id_of(&store.save_token(&token?).await?) }
        })
        .await?;
        let distinct: BTreeSet<_> = saved.into_iter().collect();
        check!(distinct.len() == 1, "saves of one user were stored under {distinct:?}");
        let tokens = stores[0].get_tokens().await?;
        check!(tokens.len() == round + 1, "{} tokens of {} users", tokens.len(), round + 1);
    }
    Ok(())
}

async fn racing_saves_of_one_user_make_one_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    race_one_user([Arc::clone(&store), store]).await
}

async fn racing_saves_through_two_instances_make_one_token(cx: &Context) -> CaseResult {
    race_one_user([cx.open().await?, cx.open().await?]).await
}

async fn racing_saves_of_many_users_are_all_there(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for round in 0..ROUNDS {
        let saved = race(RACERS, |number| {
            let store = Arc::clone(&store);
            let token = of(&format!("user{round}-{number}@example.com")).build();
            async move { Ok(store.save_token(&token?).await?) }
        })
        .await?;
        let distinct: BTreeSet<_> = saved.iter().filter_map(OAuthToken::id).collect();
        check_eq!(distinct.len(), RACERS);
        for token in &saved {
            let read = store.find_token(&user(token.user_name().unwrap_or_default())?).await?;
            check_eq!(read.as_ref(), Some(token));
        }
        check_eq!(store.get_tokens().await?.len(), (round + 1) * RACERS);
    }
    Ok(())
}

async fn racing_updates_of_different_fields_are_all_kept(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let full = full(ALICE)?;
    let columns = full.expose_columns().map(|column| column.map(String::from));
    for _ in 0..ROUNDS {
        store
            .save_token(&OAuthToken::builder().user_name(ALICE).access_token("test-a").build()?)
            .await?;
        race(9, |number| {
            let store = Arc::clone(&store);
            let mut part: [Option<String>; 10] = Default::default();
            for field in [Field::UserName as usize, number + 1] {
                part[field].clone_from(&columns[field]);
            }
            // A save needs some token; this one is the same for all.
            let refresh = Field::RefreshToken as usize;
            part[refresh].clone_from(&columns[refresh]);
            let token = OAuthToken::from_columns(part);
            async move { Ok(store.save_token(&token?).await?) }
        })
        .await?;
        let merged = found(&*store, &user(ALICE)?).await?;
        check_same("what all updates left", &merged.without_id(), &full)?;
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn a_save_that_races_a_deletion_is_whole_or_absent(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let bob = store.save_token(&full(BOB)?).await?;
    for _ in 0..ROUNDS {
        let saved = store.save_token(&full(ALICE)?).await?;
        let id = id_of(&saved)?;
        race(8, |number| {
            let (store, id, token) = (Arc::clone(&store), id.clone(), full(ALICE));
            async move {
                if number % 2 == 0 {
                    store.save_token(&token?).await?;
                } else {
                    store.delete_token(&id).await?;
                }
                Ok(())
            }
        })
        .await?;
        let mut rest = store.get_tokens().await?;
        rest.retain(|token| token.id() != bob.id());
        check!(rest.len() <= 1, "a save and a deletion left {} tokens", rest.len());
        for token in &rest {
            check_same("what is left", &token.clone().without_id(), &full(ALICE)?)?;
            check!(store.delete_token(&id_of(token)?).await?, "it is listed, but not there");
        }
        check_holds(&*store, std::slice::from_ref(&bob)).await?;
    }
    Ok(())
}

async fn one_of_racing_deletions_says_it_was_there(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for _ in 0..ROUNDS {
        let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
        let deleted = race(8, |_number| {
            let (store, id) = (Arc::clone(&store), id.clone());
            async move { Ok(store.delete_token(&id).await?) }
        })
        .await?;
        check_eq!(deleted.into_iter().filter(|deleted| *deleted).count(), 1);
    }
    Ok(())
}

async fn readers_beside_a_writer_always_find_the_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    race(8, |number| {
        let store = Arc::clone(&store);
        async move {
            for round in 0..25 {
                if number == 0 {
                    store
                        .save_token(&of(BOB).access_token(format!("test-{round}")).build()?)
                        .await?;
                } else {
                    found(&*store, &user(ALICE)?).await?;
                    let tokens = store.get_tokens().await?;
                    check!(
                        tokens.iter().any(|token| token.user_name() == Some(ALICE)),
                        "a list that lacks a token"
                    );
                }
                yield_now().await;
            }
            Ok(())
        }
    })
    .await?;
    Ok(())
}

async fn a_dropped_save_happened_wholly_or_not_at_all(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let bob = store.save_token(&full(BOB)?).await?;
    for round in 0..ROUNDS {
        let saving = tokio::spawn({
            let (store, token) = (Arc::clone(&store), full(ALICE)?);
            async move { store.save_token(&token).await.map(drop) }
        });
        for _ in 0..round % 5 {
            yield_now().await;
        }
        saving.abort();
        match saving.await {
            Ok(saved) => saved?,
            Err(error) => check!(error.is_cancelled(), "the save panicked"),
        }
        // It waits for what the dropped save may still be doing.
        let again = store.save_token(&full(ALICE)?).await?;
        check_same("a save after a dropped one", &again.clone().without_id(), &full(ALICE)?)?;
        check_eq!(store.get_tokens().await?.len(), 2);
        check!(store.delete_token(&id_of(&again)?).await?, "it was saved, but is not there");
        check_holds(&*store, std::slice::from_ref(&bob)).await?;
    }
    Ok(())
}

async fn race_replacements(stores: [Arc<dyn TokenStore>; 2]) -> CaseResult {
    for round in 0..ROUNDS {
        let expected = stores[0].save_token(&full(ALICE)?).await?;
        let answers = race(8, |number| {
            let (store, expected) = (Arc::clone(&stores[number % 2]), expected.clone());
            async move {
                let access = format!("test-access-{round}-{number}");
                let token = OAuthToken::builder().access_token(access).build()?;
                Ok(shared(&*store)?.replace_token(&expected, &token, None).await?)
            }
        })
        .await?;
        let mut winners = Vec::new();
        let mut seen = Vec::new();
        for answer in answers {
            if let Replaced::Saved(token) = answer {
                winners.push(token);
            } else if let Replaced::Changed(Some(token)) = answer {
                seen.push(token);
            } else {
                return Err(Failure::new(format!("a replacement gives {answer:?}")));
            }
        }
        check!(winners.len() == 1, "{} of 8 replacements were saved", winners.len());
        for token in &seen {
            check_same("what a loser was given", token, &winners[0])?;
        }
        check_holds(&*stores[0], &winners).await?;
    }
    Ok(())
}

async fn one_of_racing_replacements_wins(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    race_replacements([Arc::clone(&store), store]).await
}

async fn one_of_racing_replacements_wins_across_instances(cx: &Context) -> CaseResult {
    race_replacements([cx.open().await?, cx.open().await?]).await
}

async fn race_leases(cx: &Context, stores: [Arc<dyn TokenStore>; 2]) -> CaseResult {
    let mut generation = 0;
    let id: TokenId = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
    for round in 0..ROUNDS {
        let answers = race(8, |number| {
            let (store, id) = (Arc::clone(&stores[number % 2]), id.clone());
            async move {
                let holder = format!("holder {number}");
                Ok(shared(&*store)?.try_lease(&id, &holder, TTL).await?)
            }
        })
        .await?;
        let granted: Vec<_> =
            answers
                .into_iter()
                .filter_map(|answer| {
                    if let LeaseAttempt::Granted(lease) = answer { Some(lease) } else { None }
                })
                .collect();
        check!(granted.len() == 1, "{} of 8 have the lease", granted.len());
        check!(granted[0].generation > generation, "the generation does not grow");
        generation = granted[0].generation;
        // The holder dies, and its lease ends in either way.
        if round % 2 == 0 {
            cx.clock().advance(TTL);
        } else {
            cx.clock().go_back(Duration::from_secs(3600));
        }
    }
    Ok(())
}

async fn one_of_racing_leases_is_granted(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    race_leases(cx, [Arc::clone(&store), store]).await
}

async fn one_of_racing_leases_is_granted_across_instances(cx: &Context) -> CaseResult {
    race_leases(cx, [cx.open().await?, cx.open().await?]).await
}

async fn race_writes_of_state(stores: [Arc<dyn TokenStore>; 2]) -> CaseResult {
    let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
    let mut expected = None;
    for round in 0..ROUNDS {
        let answers = race(8, |number| {
            let (store, id) = (Arc::clone(&stores[number % 2]), id.clone());
            let expected: Option<TokenState> = expected.clone();
            async move {
                let mut state = TokenState::default();
                state.org_id = Some(format!("{round}-{number}"));
                let shared = shared(&*store)?;
                let answer = shared.replace_state(&id, expected.as_ref(), &state).await?;
                Ok((state, answer))
            }
        })
        .await?;
        let (winners, losers): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_state, answer)| *answer == StateReplaced::Written);
        check!(winners.len() == 1, "{} of 8 wrote the state", winners.len());
        let winner = &winners[0].0;
        for (_state, answer) in losers {
            check_eq!(answer, StateReplaced::Changed(Some(Box::new(winner.clone()))));
        }
        expected = shared(&*stores[0])?.state(&id).await?;
        check_eq!(expected.as_ref(), Some(winner));
    }
    Ok(())
}

async fn one_of_racing_writes_of_state_wins(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    race_writes_of_state([Arc::clone(&store), store]).await
}

async fn one_of_racing_writes_of_state_wins_across_instances(cx: &Context) -> CaseResult {
    race_writes_of_state([cx.open().await?, cx.open().await?]).await
}

/// Updates the state, as often as it takes: who loses to others too often is told to try again.
pub(super) async fn update_until_done(
    shared: &dyn SharedStore,
    id: &TokenId,
    change: impl Fn(&mut TokenState) + Send + Sync,
) -> CaseResult {
    loop {
        match update_state(shared, id, &change).await {
            Err(error) if error.kind() == StoreErrorKind::Busy => yield_now().await,
            Ok(None) => return Err(Failure::new("the token is gone")),
            written => return Ok(written.map(drop)?),
        }
    }
}

/// Adds a moment to the state.
pub(in crate::conformance) async fn add_moment(
    store: &dyn TokenStore,
    id: &TokenId,
    moment: usize,
) -> CaseResult {
    let moment = Timestamp::from_millis(i64::try_from(moment)?);
    update_until_done(shared(store)?, id, |state| state.asked_at.push(moment)).await
}

/// Fails unless the state has these moments, each once.
pub(super) async fn check_moments(
    store: &dyn TokenStore,
    id: &TokenId,
    moments: usize,
) -> CaseResult {
    let state = shared(store)?.state(id).await?.unwrap_or_default();
    check_eq!(state.asked_at.len(), moments);
    let distinct: BTreeSet<_> = state.asked_at.into_iter().collect();
    check_eq!(distinct.len(), moments);
    Ok(())
}

async fn race_updates_of_state(stores: [Arc<dyn TokenStore>; 2]) -> CaseResult {
    const UPDATES: usize = 20;
    let id = id_of(&stores[0].save_token(&full(ALICE)?).await?)?;
    race(8, |number| {
        let (store, id) = (Arc::clone(&stores[number % 2]), id.clone());
        async move {
            for update in 0..UPDATES {
                add_moment(&*store, &id, number * UPDATES + update).await?;
                yield_now().await;
            }
            Ok(())
        }
    })
    .await?;
    check_moments(&*stores[0], &id, 8 * UPDATES).await
}

async fn racing_updates_of_state_are_all_kept(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    race_updates_of_state([Arc::clone(&store), store]).await
}

async fn racing_updates_of_state_are_all_kept_across_instances(cx: &Context) -> CaseResult {
    race_updates_of_state([cx.open().await?, cx.open().await?]).await
}
