//! A fleet: several machines, each a process, whose managers share one store on servers that die.
//!
//! Four processes ask for a dozen tokens that have all expired, and save new ones, round after
//! round, while servers are killed and come back. What must hold: no token that somebody was told
//! to be stored is lost, no token is refreshed twice but where the one who had asked lost its
//! server before it could store the answer, and every caller has an answer within its deadline.
//!
//! The long form, in `cargo xtask soak fleet-servers`, takes two minutes for each kind of server.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![expect(clippy::print_stdout, reason = "what a child tells its parent, and figures")]
#![expect(clippy::clone_on_ref_ptr, reason = "the method form turns into a trait object")]

mod child;
#[path = "../../../crates/tokenkeep-manager/tests/processes/clock.rs"]
mod clock;
mod fleet;
mod losses;
mod place;
#[path = "../../../crates/tokenkeep-manager/tests/support/soak.rs"]
mod soak;
#[path = "../../../crates/tokenkeep-manager/tests/processes/wire.rs"]
mod wire;

use std::process::ExitCode;

use tokenkeep_servers::Trials;

use crate::place::Engine;

fn main() -> ExitCode {
    if let Some(code) = child::run() {
        return code;
    }
    let on = |trials: Trials, name: &str, engine: Engine| {
        trials.private(engine.kind(), name, move |server| fleet::lives_through(engine, server))
    };
    let trials = on(Trials::new(), "a_node_of_galera_dies", Engine::Galera);
    let trials = on(trials, "a_master_of_a_redis_cluster_dies", Engine::RedisCluster);
    on(trials, "a_replica_of_postgres_is_promoted", Engine::PostgresPair).run()
}
