//! What has to hold when all is well again.

use std::{sync::Arc, time::Duration};

use tokenkeep_core::TokenStore as _;
use tokenkeep_manager::{ManagerErrorKind, TokenManager};
use tokio::time::timeout;

use crate::{ledger::Excuse, plan::Ask, process::Process, world::World};

/// Much more than anything takes without faults.
const LONG: Duration = Duration::from_secs(120);

/// What a user has at the end.
enum Expected {
    /// A refresh token that the provider takes.
    Alive,
    /// One that it does not take.
    Dead,
    /// No row.
    Nothing,
}

pub(crate) async fn judge(world: &Arc<World>) -> Vec<Excuse> {
    for host in 0..world.plan.hosts {
        // Those that have died and were not started again yet.
        world.start(host);
    }
    for host in 0..world.plan.hosts {
        recover(world, &world.process(host).manager).await;
    }
    let mut excuses = Vec::new();
    for user in world.users() {
        let expected = expected(world, user, &mut excuses);
        for host in 0..world.plan.hosts {
            ask(world, &world.process(host), user, &expected, Ask::Token).await;
        }
        let last = world.process(world.plan.hosts - 1);
        world.ledger.allow(Some(user), 1);
        ask(world, &last, user, &expected, Ask::Refresh).await;
        stored(world, user, &expected).await;
        frugal(world, user);
    }
    let users = world.users().flat_map(|user| world.ledger.ids_of(user)).count();
    let rows = world.store.get_tokens().await.unwrap();
    let of_ours =
        rows.iter().filter(|row| row.user_name().is_some_and(|it| !it.starts_with("carol")));
    if of_ours.count() != users {
        world.ledger.violation(format_args!("there are rows that nobody made: {}", rows.len()));
    }
    for row in rows.iter().filter(|row| row.user_name().is_some_and(|it| it.starts_with("carol"))) {
        let live = world.emulator.live_refresh_tokens(row.user_name().unwrap_or_default());
        if row.refresh_token().is_none_or(|it| !live.iter().any(|live| live == it.expose_secret()))
        {
            world.ledger.violation(format_args!("a stranger's token was touched"));
        }
    }
    excuses
}

async fn recover(world: &World, manager: &TokenManager) {
    match timeout(LONG, manager.recover()).await {
        Err(_late) => world.ledger.violation(format_args!("recovering hangs")),
        Ok(Err(error)) => {
            world.ledger.violation(format_args!("recovering fails: {:?} {error}", error.kind()));
        }
        Ok(Ok(recovery)) => {
            world.ledger.note(format_args!("{recovery:?}"));
            if recovery.waiting > 0 {
                world.ledger.violation(format_args!("what is in the spool is not stored"));
            }
        }
    }
}

fn expected(world: &World, user: usize, excuses: &mut Vec<Excuse>) -> Expected {
    let Some((_, row)) = world.ledger.row(user) else { return Expected::Nothing };
    if world.is_alive(user, &row.token) {
        return Expected::Alive;
    }
    match world.ledger.excuse(&row.token) {
        Ok(excuse) => {
            world.ledger.note(format_args!("user {user} has lost the login: {excuse:?}"));
            excuses.push(excuse);
        }
        // See there.
        Err(_) if world.plan.writes_late() => {}
        Err(why) => {
            world
                .ledger
                .violation(format_args!("user {user}: the stored refresh token is dead: {why}"));
        }
    }
    Expected::Dead
}

async fn ask(world: &World, process: &Process, user: usize, expected: &Expected, ask: Ask) {
    let who = process.agent.who;
    let complain = |what: String| {
        world.ledger.violation(format_args!("at the end, {ask:?} of user {user}: {what}"));
    };
    let Ok(mut answer) = timeout(LONG, world.call(process, user, ask)).await else {
        complain("hangs".to_owned());
        return;
    };
    if !matches!(expected, Expected::Nothing)
        && matches!(&answer, Err(error) if error.kind() == ManagerErrorKind::NoToken)
        && process.handles.lock().unwrap().remove(&user).is_some()
    {
        // The handle was for a row that is gone; the user has logged in anew since.
        match timeout(LONG, world.call(process, user, ask)).await {
            Ok(again) => answer = again,
            Err(_late) => return complain("hangs".to_owned()),
        }
    }
    let is_live = |access: &str| world.emulator.is_live_access_token(access);
    if let Ok(live) = &answer
        && !is_live(live.access_token().expose_secret())
    {
        // The API refuses it. That is how a program finds out, if nothing here can have told it.
        let outside = world.plan.sets_clocks()
            || world.plan.happenings.iter().any(ends_tokens)
            // That an answer was lost is not on record there, nor how old it is.
            || !world.plan.shared && world.ledger.has_died();
        if matches!(expected, Expected::Alive) && !outside {
            complain("a token that the provider does not take".to_owned());
        }
        world.ledger.allow(Some(user), 1);
        match timeout(LONG, world.call(process, user, Ask::Rejected)).await {
            Ok(again) => answer = again,
            Err(_late) => return complain("hangs".to_owned()),
        }
    }
    match (expected, &answer) {
        (Expected::Alive | Expected::Dead, Ok(live)) => {
            let access = live.access_token().expose_secret();
            world.ledger.answered(who, user, access, live.is_saved());
            // The one that an SDK put back is another one than was refused.
            if !is_live(access) && !world.plan.puts_back() {
                complain("still a token that the provider does not take".to_owned());
            }
            if !live.is_saved() && !world.ledger.is_stored(access) {
                complain("a token that is still not saved".to_owned());
            }
        }
        (Expected::Dead, Err(error)) if error.kind() == ManagerErrorKind::NeedsLogin => {}
        (Expected::Nothing, Err(error)) if error.kind() == ManagerErrorKind::NoToken => {}
        // Noted by a clock that was ahead: it holds for as long as that was ahead.
        (_, Err(error))
            if error.kind() == ManagerErrorKind::Throttled && world.plan.sets_clocks() => {}
        (_, Ok(_)) => complain("a token that was deleted".to_owned()),
        (_, Err(error)) => complain(format!("{:?} {error}", error.kind())),
    }
}

/// Whether the provider's tokens end by it in a way that no manager can see.
fn ends_tokens(it: &(Duration, crate::plan::Happening)) -> bool {
    use crate::plan::{Happening, Other};
    matches!(it.1, Happening::Other(Other::Expire | Other::Revoke(_) | Other::PutBack(_)))
}

/// What is stored is what the provider takes.
async fn stored(world: &World, user: usize, expected: &Expected) {
    let Some((id, _)) = world.ledger.row(user) else { return };
    let stored = world.store.find_token_by_id(&id).await.unwrap().unwrap();
    if matches!(expected, Expected::Alive) && !world.is_alive(user, &stored) {
        world.ledger.violation(format_args!("user {user}: at the end, a dead token is stored"));
    }
    for host in 0..world.plan.hosts {
        let shelf = world.shelf(host).lock().unwrap();
        let grant = tokenkeep_core::Fingerprint::of_grant(&stored);
        let left = shelf.values().find(|it| it.id == id && Some(&it.grant) == grant.as_ref());
        if let Some(left) = left
            && left.token.refresh_token() != stored.refresh_token()
        {
            world.ledger.violation(format_args!("user {user}: a token is still in the spool"));
        }
    }
}

/// No more was asked of the provider than was necessary.
fn frugal(world: &World, user: usize) {
    let (issued, allowed) = world.ledger.issued_to(user);
    let necessary = world.plan.epochs() + allowed;
    if issued > necessary {
        let what = format_args!("user {user}: {issued} refreshes, and {necessary} were necessary");
        world.ledger.violation(what);
    }
    let Some(budget) = world.plan.rules().budget else { return };
    if !world.plan.shared && world.ledger.has_died() {
        // What such a store has no place for ends with its process.
        return;
    }
    let busiest = world.ledger.busiest(user, budget.window);
    // Where the provider rotates, one that was put on record by a process that died before it sent
    // it counts as a replay, which the budget does not hold up.
    let unsent = world.plan.rotation.is_some() && world.ledger.has_died();
    let allowed = usize::try_from(budget.refreshes).unwrap() + usize::from(unsent);
    if busiest > allowed && !world.plan.sets_clocks() {
        let what = format_args!("user {user}: {busiest} requests in {:?}", budget.window);
        world.ledger.violation(what);
    }
}
