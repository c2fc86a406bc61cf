//! The store on real servers: what fails, how it is told, and what is lost then.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod expiry;
mod failover;
mod failures;
mod kills;
mod migration;
mod scene;
mod wire;

use std::process::ExitCode;

use tokenkeep_servers::{Kind, Trials};

fn main() -> ExitCode {
    if let Some(job) = kills::job() {
        return kills::child(&job);
    }
    Trials::new()
        .needs(Kind::Redis, "a_cut_at_any_request_is_told_truly", wire::cut_at_any_request)
        .needs(Kind::Redis, "a_server_that_stalls_is_given_up", wire::stalled)
        .needs(Kind::Redis, "a_wrong_login_is_told", failures::wrong_login)
        .needs(Kind::Redis, "a_database_that_is_not_there_is_told", failures::no_database)
        .needs(Kind::Redis, "a_command_that_is_forbidden_is_named", failures::forbidden_command)
        .needs(Kind::Redis, "a_permission_that_ends_leaves_nothing_half_done", failures::revoked)
        .needs(Kind::Redis, "keys_of_others_are_left_alone", failures::other_keys)
        .needs(Kind::Redis, "what_cannot_be_read_is_told_and_not_absent", failures::unreadable)
        .needs(Kind::Redis, "tls_is_checked_as_asked", failures::tls)
        .needs(Kind::RedisCluster, "a_cluster_that_was_not_named_is_told", failures::moved)
        .needs(Kind::RedisCluster, "few_permissions_are_enough", failures::few_permissions)
        .plain("a_server_that_is_not_there_is_told", failures::nobody)
        .private(Kind::Redis, "memory_that_is_used_up_is_told", failures::full)
        .private(Kind::Redis, "a_replica_takes_no_writes", failures::read_only)
        .private(
            Kind::Redis,
            "replicas_that_do_not_confirm_leave_it_unknown",
            failures::no_replicas,
        )
        .private(Kind::Redis, "an_inspection_tells_what_there_is", failures::inspection)
        .needs(Kind::Redis, "tokens_expire_with_all_that_belongs_to_them", expiry::expires)
        .needs(Kind::Redis, "an_index_is_kept_for_the_token_that_stays", expiry::shared_index)
        .needs(Kind::Redis, "eight_processes_save_eight_hundred_tokens", kills::eight_processes)
        .private(Kind::Redis, "a_killed_server_has_lost_no_save", kills::killed_server)
        .private(Kind::RedisCluster, "a_slot_that_moves_loses_nothing", migration::moving_slot)
        .private(Kind::RedisCluster, "a_killed_master_has_lost_no_save", failover::cluster)
        .private(Kind::RedisSentinel, "sentinels_are_followed", failover::sentinel)
        .run()
}
