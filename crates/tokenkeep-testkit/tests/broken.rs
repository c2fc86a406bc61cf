//! The suite catches broken stores: each of these is the reference store with one fault, and each
//! fault fails the cases that are there for it.

mod support;

use std::sync::Arc;

use support::{
    broken::{BrokenStores, Fault},
    claiming::Claiming,
};
use tokenkeep_core::Field;
use tokenkeep_testkit::conformance::{Capabilities, run_cases};

/// How often a case may miss a fault that only shows when threads happen to meet. On an idle
/// machine it misses about one time in ten.
const ATTEMPTS: usize = 25;

/// Runs cases on a store with this fault; each of `caught_by` must fail.
#[track_caller]
fn check_caught(fault: Fault, caught_by: &[&str]) {
    let fixture = Arc::new(BrokenStores(Some(fault)));
    for name in caught_by {
        let attempts = if name.starts_with("crowding") { ATTEMPTS } else { 1 };
        let caught = (0..attempts).any(|_attempt| {
            let verdicts = run_cases(Arc::clone(&fixture) as _, |case| case.name == *name);
            assert_eq!(verdicts.len(), 1, "there is no case {name}");
            verdicts[0].result.is_err()
        });
        assert!(caught, "{fault:?} passes {name}");
    }
}

#[test]
fn without_a_fault_all_cases_pass() {
    for verdict in run_cases(Arc::new(BrokenStores(None)), |_case| true) {
        if let Err(failure) = verdict.result {
            panic!("{}: {failure}", verdict.case.name);
        }
    }
}

/// A fixture cannot excuse its store from what the store does.
#[test]
fn what_a_fixture_says_of_its_store_has_to_be_so() {
    let sound = Capabilities::new().shared().bulk_store().bulk(200, 200);
    for (capabilities, caught_by) in [
        (sound.marks_differ(), "the_mark_stays_while_nothing_changes"),
        (
            sound.refusing(|field, value| field == Field::Id && value.starts_with("crm")),
            "a_text_id_is_kept_and_the_next_is_a_number",
        ),
        (
            sound.refusing(|field, value| field == Field::Id && value.len() > 20),
            "an_absurd_number_given_by_the_caller_does_not_end_the_ids",
        ),
        (sound.most(10), "many_entries_are_saved_and_read"),
    ] {
        for (capabilities, passes) in [(sound, true), (capabilities, false)] {
            let verdicts = run_cases(Arc::new(Claiming(capabilities)), |c| c.name == caught_by);
            assert_eq!(verdicts.len(), 1, "there is no case {caught_by}");
            assert_eq!(verdicts[0].result.is_ok(), passes, "{caught_by}");
        }
    }
}

#[test]
fn letting_go_between_looking_and_saving() {
    check_caught(Fault::LetsGo, &["crowding_saves_of_one_user_never_make_two_tokens"]);
}

#[test]
fn letting_go_between_looking_and_updating() {
    check_caught(Fault::LetsGo, &["crowding_updates_lose_nothing"]);
}

#[test]
fn letting_go_between_counting_and_inserting() {
    check_caught(Fault::LetsGoOfTheId, &["crowding_saves_of_many_users_are_all_there"]);
}

#[test]
fn letting_go_between_looking_and_replacing() {
    check_caught(Fault::LetsGo, &["crowding_replacements_form_a_chain"]);
}

#[test]
fn letting_go_between_looking_and_leasing() {
    check_caught(Fault::LetsGo, &["crowding_holders_never_share_a_lease"]);
}

#[test]
fn letting_go_between_looking_and_writing_state() {
    check_caught(Fault::LetsGo, &["crowding_writes_of_state_form_a_chain"]);
}

#[test]
fn counting_ids_as_text() {
    check_caught(
        Fault::TextIds,
        &[
            "ids_go_on_after_nine",
            "ids_go_on_after_ninety_nine",
            "a_text_id_is_kept_and_the_next_is_a_number",
        ],
    );
}

#[test]
fn giving_ids_again() {
    check_caught(
        Fault::GivesIdsAgain,
        &[
            "an_id_is_not_given_again_after_a_deletion",
            "an_id_is_not_given_again_after_deleting_all",
        ],
    );
}

#[test]
fn folding_case() {
    check_caught(Fault::FoldsCase, &["users_that_look_alike_are_different"]);
}

#[test]
fn trimming_values() {
    check_caught(Fault::Trims, &["blanks_are_kept", "tokens_that_look_alike_are_different"]);
}

#[test]
fn changing_line_breaks() {
    check_caught(Fault::ChangesLineBreaks, &["line_breaks_and_tabs_are_kept"]);
}

#[test]
fn cutting_values() {
    check_caught(Fault::Cuts, &["long_values_are_kept"]);
}

#[test]
fn giving_the_first_row() {
    check_caught(
        Fault::FirstRow,
        &["an_ambiguous_find_lists_the_ids", "the_nearest_of_several_is_meant"],
    );
}

#[test]
fn giving_another_row_for_a_missing_id() {
    check_caught(
        Fault::AnyRowById,
        &["a_find_by_id_gives_no_other_token", "what_is_not_there_is_absent_and_no_error"],
    );
}

#[test]
fn losing_absent_fields() {
    check_caught(Fault::LosesAbsentFields, &["absent_fields_stay"]);
}

#[test]
fn taking_an_error_for_absence() {
    check_caught(
        Fault::ErrorIsAbsence,
        &["an_ambiguous_find_lists_the_ids", "an_id_of_another_user_is_a_conflict"],
    );
}

#[test]
fn doubling_a_token_whose_user_is_learnt_later() {
    check_caught(
        Fault::DoesNotFold,
        &[
            "the_name_is_learnt_later_by_refresh_token",
            "the_name_is_learnt_later_by_grant_token",
            "a_nameless_record_folds_into_the_users_token",
        ],
    );
}

#[test]
fn replacing_without_looking() {
    check_caught(
        Fault::ReplacesBlindly,
        &[
            "the_second_of_two_replacements_loses",
            "a_replacement_compares_all_ten_fields",
            "one_of_racing_replacements_wins",
        ],
    );
}

#[test]
fn comparing_the_access_token_only() {
    check_caught(Fault::ComparesOneField, &["a_replacement_compares_all_ten_fields"]);
}

#[test]
fn ignoring_the_fence() {
    check_caught(
        Fault::IgnoresTheFence,
        &[
            "the_newest_lease_is_a_fence",
            "a_lost_lease_is_no_fence_at_any_later_moment",
            "a_lease_lost_to_a_clock_set_back_is_no_fence",
            "a_lease_of_another_token_is_no_fence",
            "a_lease_of_a_deleted_token_is_no_fence_of_the_next",
        ],
    );
}

#[test]
fn fencing_by_the_end_of_the_lease() {
    check_caught(
        Fault::FencesByTheClock,
        &["the_newest_lease_is_a_fence", "a_lease_lost_to_a_clock_set_back_is_no_fence"],
    );
}

#[test]
fn fencing_by_holder_and_generation_alone() {
    check_caught(Fault::ForgetsWhoseLease, &["a_lease_of_another_token_is_no_fence"]);
}

#[test]
fn granting_a_lease_twice() {
    check_caught(
        Fault::GrantsTwice,
        &[
            "a_lease_is_granted_once",
            "one_of_racing_leases_is_granted",
            "crowding_holders_never_share_a_lease",
        ],
    );
}

#[test]
fn restarting_generations() {
    check_caught(
        Fault::RestartsGenerations,
        &["a_released_lease_passes_on", "generations_grow_however_a_lease_ends"],
    );
}

#[test]
fn renewing_a_lost_lease() {
    check_caught(
        Fault::RenewsLostLeases,
        &[
            "a_lost_lease_is_neither_renewed_nor_released",
            "a_lost_lease_is_no_fence_at_any_later_moment",
        ],
    );
}

#[test]
fn ignoring_that_the_clock_was_set_back() {
    check_caught(
        Fault::IgnoresTheClockSetBack,
        &[
            "a_clock_set_back_frees_the_lease_of_a_dead_holder",
            "a_lease_lost_to_a_clock_set_back_is_no_fence",
            "generations_grow_however_a_lease_ends",
            "one_of_racing_leases_is_granted",
        ],
    );
}

#[test]
fn measuring_a_renewed_lease_by_its_first_time() {
    check_caught(Fault::KeepsTheFirstTtl, &["a_lease_renewed_for_longer_is_held_for_longer"]);
}

#[test]
fn replacing_state_without_looking() {
    check_caught(
        Fault::ReplacesStateBlindly,
        &[
            "state_that_is_not_what_was_expected_stays",
            "state_is_compared_in_every_field",
            "one_of_racing_writes_of_state_wins",
            "racing_updates_of_state_are_all_kept",
            "crowding_updates_of_state_lose_nothing",
        ],
    );
}

#[test]
fn comparing_the_status_only() {
    check_caught(Fault::ComparesStatusOnly, &["state_is_compared_in_every_field"]);
}

#[test]
fn dropping_what_a_newer_version_wrote() {
    check_caught(
        Fault::DropsTheUnknown,
        &[
            "state_of_a_newer_version_is_kept",
            "an_update_of_state_keeps_what_a_newer_version_wrote",
        ],
    );
}

#[test]
fn forgetting_a_state_that_says_nothing() {
    check_caught(
        Fault::ForgetsEmptyState,
        &["state_is_read_as_it_was_written", "state_takes_the_place_of_what_was_expected"],
    );
}

#[test]
fn showing_one_mark_for_ever() {
    check_caught(
        Fault::MarkStays,
        &[
            "a_change_of_a_token_changes_the_mark",
            "a_change_of_state_changes_the_mark",
            "a_change_of_a_lease_changes_the_mark",
            "each_of_many_quick_changes_changes_the_mark",
            "a_change_by_another_instance_changes_the_mark",
            "crowding_readers_who_trust_the_mark_read_nothing_stale",
        ],
    );
}

#[test]
fn showing_another_mark_after_reading() {
    check_caught(Fault::MarkWanders, &["the_mark_stays_while_nothing_changes"]);
}

#[test]
fn showing_the_mark_of_a_change_before_it_is_made() {
    check_caught(
        Fault::MarkComesFirst,
        &["crowding_readers_who_trust_the_mark_read_nothing_stale"],
    );
}

#[test]
fn showing_an_old_mark_when_what_is_stored_is_as_it_was() {
    check_caught(
        Fault::MarkIsOfTheContent,
        &["a_change_of_a_token_changes_the_mark", "each_of_many_quick_changes_changes_the_mark"],
    );
}

#[test]
fn showing_no_mark_of_a_change_of_state() {
    check_caught(Fault::MarkIsBlindToState, &["a_change_of_state_changes_the_mark"]);
}

#[test]
fn showing_no_mark_of_a_change_of_a_lease() {
    check_caught(Fault::MarkIsBlindToLeases, &["a_change_of_a_lease_changes_the_mark"]);
}

#[test]
fn keeping_the_state_of_a_deleted_token() {
    check_caught(Fault::KeepsState, &["state_ends_with_its_token", "a_lease_ends_with_its_token"]);
}

#[test]
fn listing_by_text() {
    check_caught(
        Fault::ListsByText,
        &["pages_are_in_the_order_of_ids", "tokens_come_in_the_order_of_their_ids"],
    );
}

#[test]
fn showing_secrets() {
    check_caught(Fault::ShowsSecrets, &["no_secret_shows_in_debug_errors_or_traces"]);
}

#[test]
fn hiding_that_it_coordinates() {
    check_caught(Fault::HidesShared, &["a_store_says_what_it_is_capable_of"]);
}
