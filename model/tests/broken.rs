//! The protocol without one of its rules: a property breaks, and it is the rule that kept it.

use tokenkeep_model::{Config, Variant, runs, shortest_counterexample};

/// Fails unless everything that is said to break without `rule` does, and does not with it.
fn breaks_without(rule: Variant) {
    let broken: Vec<_> =
        runs::broken().into_iter().filter(|broken| broken.config.variant == rule).collect();
    assert!(!broken.is_empty(), "{rule:?}: nothing is said to break");
    for broken in broken {
        let found = shortest_counterexample(broken.config, broken.property);
        assert!(found.is_some(), "{rule:?}: this holds: {}", broken.property);
        let with_the_rule = Config { variant: Variant::Faithful, ..broken.config };
        let found = shortest_counterexample(with_the_rule, broken.property);
        assert!(found.is_none(), "{rule:?}: breaks with the rule too: {}", broken.property);
    }
}

#[test]
fn without_the_fence_two_holders_save() {
    breaks_without(Variant::NoFence);
}

#[test]
fn without_the_comparison_a_login_is_overwritten() {
    breaks_without(Variant::NoComparison);
}

#[test]
fn without_the_read_under_the_lease_tokens_are_refreshed_twice() {
    breaks_without(Variant::NoReadUnderLease);
}

#[test]
fn published_before_the_save_callers_get_what_nobody_keeps() {
    breaks_without(Variant::PublishBeforeSave);
}

#[test]
fn without_a_spool_a_crash_before_the_save_loses_the_token() {
    breaks_without(Variant::NoSpool);
}

#[test]
fn a_spool_entry_removed_before_the_save_loses_the_token() {
    breaks_without(Variant::SpoolRemovedBeforeSave);
}

#[test]
fn an_answer_without_a_refresh_token_that_clears_it_loses_it() {
    breaks_without(Variant::RefreshTokenCleared);
}

#[test]
fn without_the_record_in_flight_a_lost_answer_is_lost_for_good() {
    breaks_without(Variant::NoRecordInFlight);
}

#[test]
fn a_record_written_without_comparison_hides_the_newer_holders() {
    breaks_without(Variant::RecordUncompared);
}

#[test]
fn a_record_cleared_by_another_loses_the_lost_answer() {
    breaks_without(Variant::OthersRecordCleared);
}

#[test]
fn a_rotated_token_dropped_with_the_lease_is_lost() {
    breaks_without(Variant::DroppedWithTheLease);
}

#[test]
fn an_old_leftover_is_saved_over_a_newer_token() {
    breaks_without(Variant::OldLeftoversSaved);
}

#[test]
fn starting_again_without_the_lease_asks_too_often() {
    breaks_without(Variant::StartsAgainWithoutLease);
}

#[test]
fn rotating_again_before_the_save_loses_the_token() {
    breaks_without(Variant::RotatedAgainUnsaved);
}

#[test]
fn a_mark_without_fingerprint_hits_the_new_login() {
    breaks_without(Variant::MarkWithoutFingerprint);
}

#[test]
fn each_property_breaks_somewhere() {
    use tokenkeep_model::properties::{
        ALL_SERVED, KEPT_BEFORE_USED, MARKED_RIGHTLY, NEVER_LOST, NO_WASTE, NOT_OVERWRITTEN,
        NOT_SPENT_TWICE, ONE_SAVER,
    };
    for property in [
        ONE_SAVER,
        KEPT_BEFORE_USED,
        NEVER_LOST,
        NOT_OVERWRITTEN,
        NO_WASTE,
        ALL_SERVED,
        MARKED_RIGHTLY,
        NOT_SPENT_TWICE,
    ] {
        assert!(runs::broken().iter().any(|broken| broken.property == property), "{property}");
    }
}
