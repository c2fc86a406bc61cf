//! The protocol as it is built: everything holds, and every run ends.

use tokenkeep_model::{
    Config, Faults, Rotation, Variant, check, every_run_ends, properties, runs,
    shortest_counterexample,
};

fn everything_holds(rotation: Rotation) {
    for run in runs::small().into_iter().filter(|run| run.config.rotation == rotation) {
        let report = check(run.config, 1);
        assert!(report.unreached.is_empty(), "{}: never {:?}", run.name, report.unreached);
        let broken = report.broken.first();
        let way = broken.map(|broken| {
            (
                broken.property,
                broken.steps.join(
                    "
",
                ),
            )
        });
        assert!(broken.is_none(), "{}: {way:#?}", run.name);
    }
}

#[test]
fn everything_holds_without_rotation() {
    everything_holds(Rotation::None);
}

#[test]
fn everything_holds_with_rotation_and_grace() {
    everything_holds(Rotation::Grace);
}

#[test]
fn everything_holds_with_strict_rotation() {
    everything_holds(Rotation::Strict);
}

#[test]
fn everything_holds_where_reuse_ends_the_grant() {
    everything_holds(Rotation::Reuse);
}

#[test]
fn every_run_comes_to_an_end() {
    let all = Faults {
        crashes: 1,
        lost_answers: 1,
        lost_leases: 1,
        failed_saves: 1,
        logins: 1,
        expiries: 0,
    };
    for rotation in [Rotation::None, Rotation::Grace, Rotation::Strict, Rotation::Reuse] {
        for (processes, faults) in [(2, all), (3, Faults { crashes: 1, lost_leases: 1, ..none() })]
        {
            let config = Config { processes, rotation, faults, variant: Variant::Faithful };
            assert!(every_run_ends(config), "{config:?}");
        }
    }
}

#[test]
fn without_a_spool_a_crash_can_cost_the_token_and_everything_else_holds() {
    let faults = Faults { crashes: 2, lost_answers: 1, lost_leases: 1, ..none() };
    let config =
        Config { processes: 2, rotation: Rotation::Grace, faults, variant: Variant::NoSpool };
    for property in [
        properties::ONE_SAVER,
        properties::KEPT_BEFORE_USED,
        properties::NOT_OVERWRITTEN,
        properties::NO_WASTE,
        properties::MARKED_RIGHTLY,
        properties::NOT_SPENT_TWICE,
    ] {
        assert!(shortest_counterexample(config, property).is_none(), "{property}");
    }
    assert!(shortest_counterexample(config, properties::NEVER_LOST).is_some());
}

fn none() -> Faults {
    Faults::default()
}
