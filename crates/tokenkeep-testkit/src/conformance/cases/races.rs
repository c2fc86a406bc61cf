//! Races of many spawned tasks on several threads.

use std::{collections::BTreeSet, sync::Arc};

use tokenkeep_core::{Field, LeaseAttempt, OAuthToken, Replaced, TokenId, TokenStore};
use tokio::task::yield_now;

use super::{ALICE, BOB, check_holds, found, full, id_of, of, user};
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

async fn one_of_racing_leases_is_granted(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let mut generation = 0;
    let id: TokenId = id_of(&store.save_token(&full(ALICE)?).await?)?;
    for _ in 0..ROUNDS {
        let answers = race(8, |number| {
            let (store, id) = (Arc::clone(&store), id.clone());
            async move {
                let holder = format!("holder {number}");
                Ok(shared(&*store)?.try_lease(&id, &holder, super::leases::TTL).await?)
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
        cx.clock().advance(super::leases::TTL);
    }
    Ok(())
}
