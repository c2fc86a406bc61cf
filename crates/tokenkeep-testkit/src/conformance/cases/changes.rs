//! Change marks: what a program that keeps a copy of a token asks before it trusts the copy.

use tokenkeep_core::{
    ChangeMark, LeaseAttempt, OAuthToken, Replaced, SharedStore, StateReplaced, TokenId,
    TokenState, TokenStore, update_state,
};

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
    case!(a_change_by_another_instance_changes_the_mark).needs(Needs::SHARED),
];

/// The marks that stores have shown, none of which may come again after a change.
struct Marks<'a> {
    shown: Vec<(&'a dyn SharedStore, Vec<ChangeMark>)>,
    /// Whether each is another one, whatever happens.
    differ: bool,
}

impl<'a> Marks<'a> {
    async fn of(cx: &Context, stores: &[&'a dyn TokenStore]) -> Result<Self, Failure> {
        let mut marks = Self { shown: Vec::new(), differ: cx.capabilities().marks_differ };
        for store in stores {
            let store = shared(*store)?;
            marks.shown.push((store, vec![store.change_mark().await?]));
        }
        Ok(marks)
    }

    /// Fails unless the mark is a new one after `change`, for each of the stores.
    async fn check_changed(&mut self, change: &str) -> CaseResult {
        for (store, shown) in &mut self.shown {
            let mark = store.change_mark().await?;
            check!(!shown.contains(&mark), "after {change} the mark is one that was there before");
            shown.push(mark);
        }
        Ok(())
    }

    /// Fails unless the mark is as it was; or, where each is another one, one that was not there.
    async fn check_same(&mut self) -> CaseResult {
        for (store, shown) in &mut self.shown {
            let mark = store.change_mark().await?;
            if self.differ {
                check!(!shown.contains(&mark), "a mark came again: {mark:?}");
                shown.push(mark);
            } else {
                check_eq!(Some(&mark), shown.last());
            }
        }
        Ok(())
    }
}

fn access(number: usize) -> Result<OAuthToken, Failure> {
    Ok(OAuthToken::builder().user_name(ALICE).access_token(format!("test-{number:04}")).build()?)
}

/// Reads in each way there is; the mark has to stay.
async fn read_all(reader: &dyn TokenStore, id: &TokenId, marks: &mut Marks<'_>) -> CaseResult {
    reader.find_token(&user(ALICE)?).await?;
    reader.find_token_by_id(id).await?;
    reader.get_tokens().await?;
    marks.check_same().await?;
    let reader = shared(reader)?;
    reader.state(id).await?;
    reader.page(None, 10).await?;
    reader.page(None, 10_000).await?;
    reader.change_mark().await?;
    marks.check_same().await
}

/// Changes tokens in each way there is, and leaves none.
async fn change_tokens(writer: &dyn TokenStore, marks: &mut Marks<'_>) -> CaseResult {
    let alice = writer.save_token(&full(ALICE)?).await?;
    marks.check_changed("a save of a new token").await?;
    let alice = writer.save_token(&alice.merged_with(&access(1)?)).await?;
    marks.check_changed("a save of a token that is there").await?;
    let replaced = shared(writer)?.replace_token(&alice, &access(2)?, None).await?;
    check!(matches!(replaced, Replaced::Saved(_)), "nobody else writes, but: {replaced:?}");
    marks.check_changed("a replacement").await?;
    let bob = writer.save_token(&of(BOB).build()?).await?;
    marks.check_changed("a save of a second token").await?;
    check!(writer.delete_token(&id_of(&bob)?).await?, "it is there, and cannot be deleted");
    // What is stored is what was stored before, which is no reason to show the mark of then.
    marks.check_changed("a deletion").await?;
    check_eq!(writer.delete_tokens().await?, 1);
    marks.check_changed("a deletion of all").await?;
    writer.save_token(&full(ALICE)?).await?;
    marks.check_changed("a save after a deletion of all").await?;
    writer.delete_tokens().await?;
    marks.check_changed("another deletion of all").await
}

async fn change_state(writer: &dyn TokenStore, marks: &mut Marks<'_>) -> CaseResult {
    let id = id_of(&writer.save_token(&full(ALICE)?).await?)?;
    marks.check_changed("a save").await?;
    let shared = shared(writer)?;
    let mut expected: Option<TokenState> = None;
    for org_id in ["1", "2", "1", "2"] {
        let mut state = TokenState::default();
        state.org_id = Some(org_id.to_owned());
        let written = shared.replace_state(&id, expected.as_ref(), &state).await?;
        check_eq!(written, StateReplaced::Written);
        marks.check_changed("a write of state").await?;
        expected = Some(state);
    }
    writer.delete_tokens().await?;
    marks.check_changed("a deletion of all").await
}

/// Changes leases in each way there is: they are given back, and end by themselves.
async fn change_leases(cx: &Context, writer: &dyn TokenStore, marks: &mut Marks<'_>) -> CaseResult {
    let id = id_of(&writer.save_token(&full(ALICE)?).await?)?;
    marks.check_changed("a save").await?;
    let shared = shared(writer)?;
    for release in [true, false] {
        let LeaseAttempt::Granted(lease) = shared.try_lease(&id, "a", TTL).await? else {
            return Err(Failure::new("nobody has the lease, but it is not granted"));
        };
        marks.check_changed("taking a lease").await?;
        cx.clock().advance(TTL / 2);
        check!(shared.renew_lease(&lease, TTL).await?.is_some(), "the lease cannot be renewed");
        marks.check_changed("renewing a lease").await?;
        if release {
            check!(shared.release_lease(&lease).await?, "the lease cannot be given back");
            marks.check_changed("giving a lease back").await?;
        }
    }
    writer.delete_tokens().await?;
    marks.check_changed("a deletion of all").await
}

async fn the_mark_stays_while_nothing_changes(cx: &Context) -> CaseResult {
    let (store, other) = (cx.open().await?, cx.open().await?);
    let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
    update_state(shared(&*store)?, &id, |state| *state = super::state::sample()).await?;
    let mut marks = Marks::of(cx, &[&*store, &*other]).await?;
    for _ in 0..3 {
        marks.check_same().await?;
        for reader in [&store, &other] {
            read_all(&**reader, &id, &mut marks).await?;
        }
        cx.clock().advance(TTL);
    }
    Ok(())
}

async fn a_change_of_a_token_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    change_tokens(&*store, &mut Marks::of(cx, &[&*store]).await?).await
}

async fn a_change_of_state_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    change_state(&*store, &mut Marks::of(cx, &[&*store]).await?).await
}

async fn a_change_of_a_lease_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    change_leases(cx, &*store, &mut Marks::of(cx, &[&*store]).await?).await
}

async fn each_of_many_quick_changes_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    store.save_token(&full(ALICE)?).await?;
    let mut marks = Marks::of(cx, &[&*store]).await?;
    // They are of one length and follow each other faster than a file system's clock ticks.
    for number in 0..50 {
        store.save_token(&access(number % 2)?).await?;
        marks.check_changed("a quick save").await?;
    }
    Ok(())
}

async fn a_change_by_another_instance_changes_the_mark(cx: &Context) -> CaseResult {
    let (one, two) = (cx.open().await?, cx.open().await?);
    let mut marks = Marks::of(cx, &[&*one, &*two]).await?;
    for writer in [&one, &two, &one, &two] {
        change_tokens(&**writer, &mut marks).await?;
        change_state(&**writer, &mut marks).await?;
        change_leases(cx, &**writer, &mut marks).await?;
    }
    Ok(())
}
