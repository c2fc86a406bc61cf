//! Fencing: who has lost a lease cannot do anything with it, and who has not can.

use tokenkeep_core::{Clock, Lease, LeaseAttempt, OAuthToken, Replaced, TokenStore};

use super::{
    ALICE, BOB, check_holds, full, id_of,
    leases::{TTL, attempt, granted},
    replacing::{access, saved},
};
use crate::conformance::{
    Case, CaseResult, Context, Needs,
    case::{case, check, check_eq, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(the_newest_lease_is_a_fence).needs(Needs::SHARED),
    case!(a_lost_lease_is_no_fence_at_any_later_moment).needs(Needs::SHARED),
    case!(a_lease_lost_to_a_clock_set_back_is_no_fence).needs(Needs::SHARED),
    case!(a_lease_of_another_token_is_no_fence).needs(Needs::SHARED),
    case!(a_lease_of_a_deleted_token_is_no_fence_of_the_next).needs(Needs::SHARED),
    case!(a_lost_lease_is_no_fence_in_another_instance).needs(Needs::SHARED_PERSISTENT),
];

async fn the_newest_lease_is_a_fence(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let expected = store.save_token(&full(ALICE)?).await?;
    let id = id_of(&expected)?;
    let first = granted(&*store, &id, "a").await?;
    let shared = shared(&*store)?;
    let token = access("test-access-1")?;
    let stored = saved(shared.replace_token(&expected, &token, Some(&first)).await?)?;

    cx.clock().advance(TTL * 2);
    // It has ended, but nobody else has taken it.
    let token = access("test-access-2")?;
    let stored = saved(shared.replace_token(&stored, &token, Some(&first)).await?)?;

    let second = granted(&*store, &id, "b").await?;
    let token = access("test-access-3")?;
    let answer = shared.replace_token(&stored, &token, Some(&first)).await?;
    check_eq!(answer, Replaced::LeaseLost(Some(stored.clone())));
    check_holds(&*store, std::slice::from_ref(&stored)).await?;

    let stored = saved(shared.replace_token(&stored, &token, Some(&second)).await?)?;
    store.delete_token(&id).await?;
    let answer = shared.replace_token(&stored, &token, Some(&second)).await?;
    check!(
        matches!(answer, Replaced::LeaseLost(None) | Replaced::Changed(None)),
        "replacing what was deleted gives {answer:?}"
    );
    check_holds(&*store, &[]).await
}

/// Fails unless who lost `lease`, and had read `known` under it, can do nothing to `stored`.
async fn check_powerless(
    store: &dyn TokenStore,
    lease: &Lease,
    known: &OAuthToken,
    stored: &OAuthToken,
    when: &str,
) -> CaseResult {
    let shared = shared(store)?;
    for expected in [known, stored] {
        let token = access("test-access-of-a-dead-holder")?;
        let answer = shared.replace_token(expected, &token, Some(lease)).await?;
        check!(
            answer == Replaced::LeaseLost(Some(stored.clone())),
            "{when}, a lost lease is a fence: {answer:?}"
        );
    }
    let renewed = shared.renew_lease(lease, TTL * 9).await?;
    check!(renewed.is_none(), "{when}, a lost lease is renewed: {renewed:?}");
    check!(!shared.release_lease(lease).await?, "{when}, a lost lease is given back");
    check_holds(store, std::slice::from_ref(stored)).await
}

async fn a_lost_lease_is_no_fence_at_any_later_moment(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let known = store.save_token(&full(ALICE)?).await?;
    let id = id_of(&known)?;
    let lost = granted(&*store, &id, "a").await?;
    cx.clock().advance(TTL);

    let lease = granted(&*store, &id, "b").await?;
    check_powerless(&*store, &lost, &known, &known, "before the next holder saves").await?;
    let shared = shared(&*store)?;
    let token = access("test-access-2")?;
    let stored = saved(shared.replace_token(&known, &token, Some(&lease)).await?)?;
    check_powerless(&*store, &lost, &known, &stored, "after the next holder has saved").await?;
    let until = cx.clock().now().plus(TTL);
    check_eq!(attempt(&*store, &id, "c").await?, LeaseAttempt::Held { until });

    shared.renew_lease(&lease, TTL).await?;
    check_powerless(&*store, &lost, &known, &stored, "after the next holder has renewed").await?;
    cx.clock().advance(TTL);
    check_powerless(&*store, &lost, &known, &stored, "after the next lease has ended").await?;
    let third = granted(&*store, &id, "c").await?;
    check!(shared.release_lease(&third).await?, "the lease cannot be given back");
    for lost in [&lost, &lease] {
        check_powerless(&*store, lost, &known, &stored, "after the last was given back").await?;
    }
    // What has not changed since it was read can be replaced without a lease, as ever.
    saved(shared.replace_token(&stored, &access("test-access-3")?, None).await?)?;
    Ok(())
}

async fn a_lease_lost_to_a_clock_set_back_is_no_fence(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let known = store.save_token(&full(ALICE)?).await?;
    let id = id_of(&known)?;
    let lost = granted(&*store, &id, "a").await?;
    cx.clock().go_back(TTL * 360);
    // As long as nobody has taken it, it holds.
    let token = access("test-access-1")?;
    let stored = saved(shared(&*store)?.replace_token(&known, &token, Some(&lost)).await?)?;
    let lease = granted(&*store, &id, "b").await?;
    check_powerless(&*store, &lost, &known, &stored, "after a clock set back").await?;
    // The clock is put right again: what the dead holder's lease says is in the future.
    cx.clock().advance(TTL * 360);
    check_powerless(&*store, &lost, &known, &stored, "when the clock is right again").await?;
    let token = access("test-access-2")?;
    saved(shared(&*store)?.replace_token(&stored, &token, Some(&lease)).await?)?;
    Ok(())
}

async fn a_lease_of_another_token_is_no_fence(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let alice = store.save_token(&full(ALICE)?).await?;
    let bob = store.save_token(&full(BOB)?).await?;
    let lease = granted(&*store, &id_of(&bob)?, "a").await?;
    let token = access("test-access-2")?;
    let answer = shared(&*store)?.replace_token(&alice, &token, Some(&lease)).await?;
    check_eq!(answer, Replaced::LeaseLost(Some(alice.clone())));
    // Neither is it if both leases have one holder and, as with most stores, one generation.
    let own = granted(&*store, &id_of(&alice)?, "a").await?;
    let answer = shared(&*store)?.replace_token(&alice, &token, Some(&lease)).await?;
    check_eq!(answer, Replaced::LeaseLost(Some(alice.clone())));
    check_holds(&*store, &[alice.clone(), bob]).await?;
    saved(shared(&*store)?.replace_token(&alice, &token, Some(&own)).await?)?;
    Ok(())
}

async fn a_lease_of_a_deleted_token_is_no_fence_of_the_next(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    for name in [ALICE, BOB] {
        let known = store.save_token(&full(ALICE)?).await?;
        let id = id_of(&known)?;
        let lost = granted(&*store, &id, "a").await?;
        store.delete_token(&id).await?;
        let next = store.save_token(&full(name)?.with_id(id.clone())).await?;
        check_powerless(&*store, &lost, &known, &next, "after a deletion").await?;
        let lease = granted(&*store, &id, "b").await?;
        check_powerless(&*store, &lost, &known, &next, "after a deletion and a lease").await?;
        let token = access("test-access-2")?;
        saved(shared(&*store)?.replace_token(&next, &token, Some(&lease)).await?)?;
        store.delete_tokens().await?;
    }
    Ok(())
}

async fn a_lost_lease_is_no_fence_in_another_instance(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let known = one.save_token(&full(ALICE)?).await?;
    let id = id_of(&known)?;
    let lost = granted(&*one, &id, "a").await?;
    // A holder that sleeps, with everything it has read, while another one takes over.
    cx.clock().advance(TTL);
    let lease = granted(&*two, &id, "b").await?;
    check_powerless(&*one, &lost, &known, &known, "before the other instance saves").await?;
    let token = access("test-access-2")?;
    let stored = saved(shared(&*two)?.replace_token(&known, &token, Some(&lease)).await?)?;
    check_powerless(&*one, &lost, &known, &stored, "after the other instance has saved").await?;
    drop((one, two));
    let three = cx.open().await?;
    check_powerless(&*three, &lost, &known, &stored, "after reopening").await?;
    saved(shared(&*three)?.replace_token(&stored, &token, Some(&lease)).await?)?;
    Ok(())
}
