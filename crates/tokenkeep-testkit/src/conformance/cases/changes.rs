//! Change marks: what a program that keeps a copy of a token asks before it trusts the copy.

use tokenkeep_core::{ChangeMark, LeaseAttempt, OAuthToken, TokenState, TokenStore, update_state};

use super::{ALICE, BOB, full, id_of, leases::TTL, of, user};
use crate::conformance::{
    Case, CaseResult, Context, Failure, Needs,
    case::{case, check, check_eq, shared},
};

pub(super) const CASES: &[Case] = &[
    case!(the_mark_stays_while_nothing_changes).needs(Needs::SHARED),
    case!(a_change_of_a_token_changes_the_mark).needs(Needs::SHARED),
    case!(a_change_of_state_changes_the_mark).needs(Needs::SHARED),
    case!(a_change_of_a_lease_changes_the_mark).needs(Needs::SHARED),
    case!(each_of_many_quick_changes_changes_the_mark).needs(Needs::SHARED),
    case!(a_change_by_another_instance_changes_the_mark).needs(Needs::SHARED_PERSISTENT),
];

/// The marks that a store has shown, none of which may come again after a change.
struct Marks<'a> {
    store: &'a dyn TokenStore,
    shown: Vec<ChangeMark>,
}

impl<'a> Marks<'a> {
    async fn of(store: &'a dyn TokenStore) -> Result<Self, Failure> {
        Ok(Self { store, shown: vec![shared(store)?.change_mark().await?] })
    }

    /// Fails unless the mark is a new one after `change`.
    async fn check_changed(&mut self, change: &str) -> CaseResult {
        let mark = shared(self.store)?.change_mark().await?;
        check!(!self.shown.contains(&mark), "after {change} the mark is one that was there before");
        self.shown.push(mark);
        Ok(())
    }
}

fn access(number: usize) -> Result<OAuthToken, Failure> {
    Ok(OAuthToken::builder().user_name(ALICE).access_token(format!("test-{number:04}")).build()?)
}

async fn the_mark_stays_while_nothing_changes(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
    let shared = shared(&*store)?;
    update_state(shared, &id, |state| *state = super::state::sample()).await?;
    let mark = shared.change_mark().await?;
    for _ in 0..3 {
        check_eq!(shared.change_mark().await?, mark);
        store.find_token(&user(ALICE)?).await?;
        store.find_token_by_id(&id).await?;
        store.get_tokens().await?;
        check_eq!(shared.change_mark().await?, mark);
        shared.state(&id).await?;
        shared.page(None, 10).await?;
        check_eq!(shared.change_mark().await?, mark);
        cx.clock().advance(TTL);
    }
    Ok(())
}

async fn a_change_of_a_token_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let mut marks = Marks::of(&*store).await?;
    let alice = store.save_token(&full(ALICE)?).await?;
    marks.check_changed("a save of a new token").await?;
    let alice = store.save_token(&alice.merged_with(&access(1)?)).await?;
    marks.check_changed("a save of a token that is there").await?;
    shared(&*store)?.replace_token(&alice, &access(2)?, None).await?;
    marks.check_changed("a replacement").await?;
    let bob = store.save_token(&of(BOB).build()?).await?;
    marks.check_changed("a save of a second token").await?;
    store.delete_token(&id_of(&bob)?).await?;
    // What is stored is what was stored before, which is no reason to show the mark of then.
    marks.check_changed("a deletion").await?;
    store.delete_tokens().await?;
    marks.check_changed("a deletion of all").await?;
    store.save_token(&full(ALICE)?).await?;
    marks.check_changed("a save after a deletion of all").await
}

async fn a_change_of_state_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
    let shared = shared(&*store)?;
    let mut marks = Marks::of(&*store).await?;
    let mut expected: Option<TokenState> = None;
    for org_id in ["1", "2", "1", "2"] {
        let mut state = TokenState::default();
        state.org_id = Some(org_id.to_owned());
        shared.replace_state(&id, expected.as_ref(), &state).await?;
        marks.check_changed("a write of state").await?;
        expected = Some(state);
    }
    Ok(())
}

async fn a_change_of_a_lease_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
    let shared = shared(&*store)?;
    let mut marks = Marks::of(&*store).await?;
    for round in 0..2 {
        let LeaseAttempt::Granted(lease) = shared.try_lease(&id, "a", TTL).await? else {
            return Err(Failure::new("nobody has the lease, but it is not granted"));
        };
        marks.check_changed("taking a lease").await?;
        cx.clock().advance(TTL / 2);
        shared.renew_lease(&lease, TTL).await?;
        marks.check_changed("renewing a lease").await?;
        if round == 0 {
            shared.release_lease(&lease).await?;
            marks.check_changed("giving a lease back").await?;
        }
    }
    Ok(())
}

async fn each_of_many_quick_changes_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    let mut marks = Marks::of(&*store).await?;
    // They are of one length and follow each other faster than a file system's clock ticks.
    for number in 0..50 {
        store.save_token(&access(number % 2)?).await?;
        marks.check_changed("a quick save").await?;
    }
    Ok(())
}

async fn a_change_by_another_instance_changes_the_mark(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let mut marks = [Marks::of(&*one).await?, Marks::of(&*two).await?];
    for round in 0..2 {
        let (writer, [first, second]) = (if round == 0 { &one } else { &two }, &mut marks);
        let id = id_of(&writer.save_token(&full(ALICE)?).await?)?;
        for marks in [&mut *first, &mut *second] {
            marks.check_changed("a save by one of two instances").await?;
        }
        let shared = shared(&**writer)?;
        update_state(shared, &id, |state| state.org_id = Some(round.to_string())).await?;
        for marks in [&mut *first, &mut *second] {
            marks.check_changed("a write of state by one of two instances").await?;
        }
        shared.try_lease(&id, "a", TTL).await?;
        for marks in [&mut *first, &mut *second] {
            marks.check_changed("taking a lease by one of two instances").await?;
        }
        writer.delete_token(&id).await?;
        for marks in [&mut *first, &mut *second] {
            marks.check_changed("a deletion by one of two instances").await?;
        }
    }
    Ok(())
}
