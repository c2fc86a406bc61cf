//! Leases, by a clock that is moved by hand.

use std::time::Duration;

use tokenkeep_core::{Clock, Lease, LeaseAttempt, TokenId, TokenState, TokenStore, update_state};

use super::{ALICE, BOB, full, id, id_of};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(a_lease_is_granted_once).needs(Needs::SHARED),
    case!(a_lease_that_ended_passes_on).needs(Needs::SHARED),
    case!(a_released_lease_passes_on).needs(Needs::SHARED),
    case!(a_renewed_lease_lives_longer).needs(Needs::SHARED),
    case!(a_lease_renewed_after_its_end_holds_off_others).needs(Needs::SHARED),
    case!(a_lease_renewed_for_longer_is_held_for_longer).needs(Needs::SHARED),
    case!(a_lost_lease_is_neither_renewed_nor_released).needs(Needs::SHARED),
    case!(generations_grow_however_a_lease_ends).needs(Needs::SHARED),
    case!(a_clock_set_back_frees_the_lease_of_a_dead_holder).needs(Needs::SHARED),
    case!(a_clock_set_back_a_little_ends_no_lease).needs(Needs::SHARED),
    case!(leases_of_two_tokens_are_apart).needs(Needs::SHARED),
    case!(there_is_no_lease_without_a_token).needs(Needs::SHARED),
    case!(a_lease_ends_with_its_token).needs(Needs::SHARED),
    case!(a_save_keeps_the_lease).needs(Needs::SHARED),
    case!(a_lease_is_seen_by_other_instances).needs(Needs::SHARED_PERSISTENT),
];

pub(super) const TTL: Duration = Duration::from_secs(10);

pub(super) async fn stored(store: &dyn TokenStore, name: &str) -> Result<TokenId, Failure> {
    id_of(&store.save_token(&full(name)?).await?)
}

pub(super) async fn attempt(
    store: &dyn TokenStore,
    id: &TokenId,
    holder: &str,
) -> Result<LeaseAttempt, Failure> {
    Ok(shared(store)?.try_lease(id, holder, TTL).await?)
}

pub(super) async fn granted(
    store: &dyn TokenStore,
    id: &TokenId,
    holder: &str,
) -> Result<Lease, Failure> {
    let attempt = attempt(store, id, holder).await?;
    let LeaseAttempt::Granted(lease) = attempt else {
        return Err(Failure::new(format!("{holder} does not get the lease: {attempt:?}")));
    };
    check!(lease.holder == holder, "the lease is {}'s, not {holder}'s", lease.holder);
    check!(lease.token_id == *id, "the lease is of {}, not of {id}", lease.token_id);
    Ok(lease)
}

async fn a_lease_is_granted_once(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    let until = cx.clock().now().plus(TTL);
    check_eq!(lease.until, until);
    check!(lease.generation > 0, "the first generation is 0");
    for holder in ["b", "a"] {
        check_eq!(attempt(&*store, &id, holder).await?, LeaseAttempt::Held { until });
    }
    cx.clock().advance(TTL - Duration::from_millis(1));
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    Ok(())
}

async fn a_lease_that_ended_passes_on(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let mut generation = 0;
    for holder in ["a", "b", "b", "a"] {
        let lease = granted(&*store, &id, holder).await?;
        check!(lease.generation > generation, "the generation does not grow");
        generation = lease.generation;
        cx.clock().advance(TTL);
    }
    Ok(())
}

async fn a_released_lease_passes_on(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let first = granted(&*store, &id, "a").await?;
    check!(shared(&*store)?.release_lease(&first).await?, "the lease cannot be given back");
    let second = granted(&*store, &id, "b").await?;
    check!(second.generation > first.generation, "the generation does not grow");
    Ok(())
}

async fn a_renewed_lease_lives_longer(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    cx.clock().advance(TTL / 2);
    let until = cx.clock().now().plus(TTL);
    let renewed = renewed(&*store, &lease, TTL).await?;
    check_eq!((renewed.generation, renewed.until), (lease.generation, until));
    cx.clock().advance(TTL / 2);
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    Ok(())
}

async fn renewed(store: &dyn TokenStore, lease: &Lease, ttl: Duration) -> Result<Lease, Failure> {
    let renewed = shared(store)?.renew_lease(lease, ttl).await?;
    renewed.ok_or_else(|| Failure::new("the lease cannot be renewed"))
}

async fn a_lease_renewed_after_its_end_holds_off_others(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    cx.clock().advance(TTL * 100);
    let until = cx.clock().now().plus(TTL);
    let renewed = renewed(&*store, &lease, TTL).await?;
    check_eq!((renewed.generation, renewed.until), (lease.generation, until));
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    cx.clock().advance(TTL);
    let next = granted(&*store, &id, "b").await?;
    check!(next.generation > lease.generation, "the generation does not grow");
    Ok(())
}

async fn a_lease_renewed_for_longer_is_held_for_longer(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    // Nobody may take this for a lease of a clock that was set back.
    let until = cx.clock().now().plus(TTL * 10);
    renewed(&*store, &lease, TTL * 10).await?;
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    cx.clock().advance(TTL * 10 - Duration::from_millis(1));
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    let until = cx.clock().now().plus(TTL / 10);
    renewed(&*store, &lease, TTL / 10).await?;
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    cx.clock().advance(TTL / 10);
    granted(&*store, &id, "b").await?;
    Ok(())
}

async fn generations_grow_however_a_lease_ends(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let mut generation = 0;
    for round in 0..8 {
        let lease = granted(&*store, &id, &format!("holder {round}")).await?;
        check!(lease.generation > generation, "the generation does not grow in round {round}");
        generation = lease.generation;
        match round % 4 {
            0 => cx.clock().advance(TTL),
            1 => {
                let released = shared(&*store)?.release_lease(&lease).await?;
                check!(released, "the lease cannot be given back");
                // A renewal that comes late does not bring it to life.
                check_eq!(shared(&*store)?.renew_lease(&lease, TTL).await?, None);
            }
            2 => {
                cx.clock().advance(TTL);
                check_eq!(renewed(&*store, &lease, TTL).await?.generation, generation);
                cx.clock().advance(TTL);
            }
            _ => cx.clock().go_back(Duration::from_secs(3600)),
        }
        store.save_token(&full(ALICE)?.clear(tokenkeep_core::Field::GrantToken)).await?;
        let state = |state: &mut TokenState| state.org_id = Some(round.to_string());
        update_state(shared(&*store)?, &id, state).await?;
    }
    Ok(())
}

async fn a_clock_set_back_frees_the_lease_of_a_dead_holder(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let second = Duration::from_secs(1);
    // However far it is set back, nobody waits for longer than twice the time of a lease.
    for back in [second, TTL, TTL + second, TTL * 2, TTL * 9, second * 3600, second * 86_400 * 365]
    {
        let id = stored(&*store, ALICE).await?;
        let dead = granted(&*store, &id, "a").await?;
        cx.clock().go_back(back);
        if back > TTL {
            granted(&*store, &id, "b").await?;
        } else {
            cx.clock().advance(TTL * 2);
            granted(&*store, &id, "b").await?;
        }
        let until = cx.clock().now().plus(TTL);
        check_eq!(shared(&*store)?.renew_lease(&dead, TTL * 9).await?, None);
        check!(!shared(&*store)?.release_lease(&dead).await?, "a lost lease is given back");
        check_eq!(attempt(&*store, &id, "c").await?, LeaseAttempt::Held { until });
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn a_clock_set_back_a_little_ends_no_lease(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    for _ in 0..2 {
        cx.clock().go_back(TTL / 2);
        let held = attempt(&*store, &id, "b").await?;
        check_eq!(held, LeaseAttempt::Held { until: lease.until });
    }
    // A holder that lives renews, and has it for as long as it says by the clock of now.
    cx.clock().go_back(TTL * 100);
    let until = cx.clock().now().plus(TTL);
    check_eq!(renewed(&*store, &lease, TTL).await?.until, until);
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    Ok(())
}

async fn a_lost_lease_is_neither_renewed_nor_released(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lost = granted(&*store, &id, "a").await?;
    cx.clock().advance(TTL);
    granted(&*store, &id, "a").await?;
    let until = cx.clock().now().plus(TTL);
    check_eq!(shared(&*store)?.renew_lease(&lost, TTL * 9).await?, None);
    check!(!shared(&*store)?.release_lease(&lost).await?, "a lost lease is given back");
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::Held { until });
    Ok(())
}

async fn leases_of_two_tokens_are_apart(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = stored(&*store, ALICE).await?;
    let bob = stored(&*store, BOB).await?;
    let lease = granted(&*store, &alice, "a").await?;
    granted(&*store, &bob, "b").await?;
    check!(shared(&*store)?.release_lease(&lease).await?, "the lease cannot be given back");
    let held = attempt(&*store, &bob, "a").await?;
    check!(matches!(held, LeaseAttempt::Held { .. }), "the other lease went too: {held:?}");
    Ok(())
}

async fn there_is_no_lease_without_a_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    check_eq!(attempt(&*store, &id("7")?, "a").await?, LeaseAttempt::NoToken);
    check_eq!(attempt(&*store, &id("crm-a")?, "a").await?, LeaseAttempt::NoToken);
    Ok(())
}

async fn a_lease_ends_with_its_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    store.delete_token(&id).await?;
    check_eq!(shared(&*store)?.renew_lease(&lease, TTL).await?, None);
    check!(!shared(&*store)?.release_lease(&lease).await?, "the lease of no token is given back");
    check_eq!(attempt(&*store, &id, "b").await?, LeaseAttempt::NoToken);

    store.save_token(&full(BOB)?.with_id(id.clone())).await?;
    granted(&*store, &id, "b").await?;
    store.delete_tokens().await?;
    check_eq!(attempt(&*store, &id, "c").await?, LeaseAttempt::NoToken);
    Ok(())
}

async fn a_save_keeps_the_lease(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = stored(&*store, ALICE).await?;
    let lease = granted(&*store, &id, "a").await?;
    store.save_token(&full(ALICE)?.clear(tokenkeep_core::Field::GrantToken)).await?;
    let held = attempt(&*store, &id, "b").await?;
    check_eq!(held, LeaseAttempt::Held { until: lease.until });
    Ok(())
}

async fn a_lease_is_seen_by_other_instances(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let id = stored(&*one, ALICE).await?;
    let first = granted(&*one, &id, "a").await?;
    let held = attempt(&*two, &id, "b").await?;
    check_eq!(held, LeaseAttempt::Held { until: first.until });
    drop(one);
    cx.clock().advance(TTL);
    let second = granted(&*two, &id, "b").await?;
    check!(second.generation > first.generation, "the generation does not grow");
    let three = cx.open().await?;
    check!(!shared(&*three)?.release_lease(&first).await?, "a lost lease is given back");
    check!(shared(&*three)?.release_lease(&second).await?, "the lease cannot be given back");
    Ok(())
}
