//! Several processes on one space.

use std::collections::BTreeSet;

use super::{ALICE, full, id_of, ids, races::check_moments, user};
use crate::conformance::{
    Case, CaseResult, Context, Needs,
    case::{case, check, check_eq, shared},
    child::{Task, run_children},
};

pub(super) const CASES: &[Case] = &[
    case!(eight_processes_save_users_of_their_own).needs(Needs::PROCESSES),
    case!(four_processes_update_one_user).needs(Needs::PROCESSES).baseline(&["F10"]),
    case!(a_process_that_changes_its_directory_keeps_its_store)
        .needs(Needs::PROCESSES)
        .baseline(&["F22"]),
    case!(one_of_four_processes_replaces_a_token).needs(Needs::SHARED_PROCESSES),
    case!(one_of_four_processes_gets_the_lease).needs(Needs::SHARED_PROCESSES),
    case!(updates_of_state_by_four_processes_are_all_kept).needs(Needs::SHARED_PROCESSES),
    case!(a_change_by_another_process_changes_the_mark).needs(Needs::SHARED_PROCESSES),
];

async fn eight_processes_save_users_of_their_own(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let reports = run_children(cx, 8, Task::SaveOwnUsers { saves: 25 }).await?;
    let given: BTreeSet<&String> = reports.iter().flatten().collect();
    check_eq!(given.len(), 200);
    let stored = ids(&*store).await?;
    check_eq!(stored.len(), 200);
    check!(stored.iter().all(|id| given.contains(id)), "the store has ids that nobody was given");
    for worker in 0..8 {
        for save in 0..25 {
            let name = Task::own_user(worker, save);
            let token = store.find_token(&user(&name)?).await?;
            check!(token.is_some(), "the token of {name} is lost");
        }
    }
    Ok(())
}

async fn four_processes_update_one_user(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let reports = run_children(cx, 4, Task::UpdateOneUser { saves: 25 }).await?;
    let given: BTreeSet<&String> = reports.iter().flatten().collect();
    check_eq!(given.len(), 1);
    check_eq!(ids(&*store).await?.len(), 1);
    Ok(())
}

async fn a_process_that_changes_its_directory_keeps_its_store(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    run_children(cx, 2, Task::SaveElsewhere).await?;
    for worker in 0..2 {
        let token = store.find_token(&user(&Task::own_user(worker, 0))?).await?;
        check!(token.is_some(), "what a process saved after it went elsewhere is not there");
    }
    Ok(())
}

async fn one_of_four_processes_replaces_a_token(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let saved = store.save_token(&full(ALICE)?).await?;
    let id = id_of(&saved)?.into();
    let reports = run_children(cx, 4, Task::Replace { id }).await?;
    check_eq!(reports.iter().flatten().filter(|answer| *answer == "saved").count(), 1);
    check_eq!(reports.iter().flatten().filter(|answer| *answer == "not saved").count(), 3);
    check_eq!(ids(&*store).await?.len(), 1);
    Ok(())
}

async fn one_of_four_processes_gets_the_lease(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id: String = id_of(&store.save_token(&full(ALICE)?).await?)?.into();
    let reports = run_children(cx, 4, Task::Lease { id }).await?;
    check_eq!(reports.iter().flatten().filter(|answer| *answer == "granted").count(), 1);
    check_eq!(reports.iter().flatten().filter(|answer| *answer == "not granted").count(), 3);
    Ok(())
}

async fn updates_of_state_by_four_processes_are_all_kept(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = id_of(&store.save_token(&full(ALICE)?).await?)?;
    run_children(cx, 4, Task::UpdateState { id: id.clone().into(), updates: 10 }).await?;
    check_moments(&*store, &id, 40).await
}

async fn a_change_by_another_process_changes_the_mark(cx: &Context) -> CaseResult {
    let store = cx.open().await?;
    let id = String::from(id_of(&store.save_token(&full(ALICE)?).await?)?);
    let mut marks = vec![shared(&*store)?.change_mark().await?];
    for task in [
        Task::UpdateOneUser { saves: 1 },
        Task::Replace { id: id.clone() },
        Task::UpdateState { id: id.clone(), updates: 1 },
        Task::Lease { id },
        Task::SaveOwnUsers { saves: 1 },
    ] {
        run_children(cx, 1, task.clone()).await?;
        let mark = shared(&*store)?.change_mark().await?;
        check!(!marks.contains(&mark), "{task:?} by another process leaves the mark as it was");
        marks.push(mark);
    }
    Ok(())
}
