//! Changes by whomever are seen, and what is none is not.

use std::time::Duration;

use tokenkeep_core::{ChangeMark, SharedStore as _, TokenStore as _};
use tokenkeep_servers::{Address, Trials};
use tokenkeep_store_postgres::PostgresStore;

use crate::{
    errors::end_connections,
    on_shared,
    support::{Database, token, until},
};

pub(crate) fn trials(trials: Trials) -> Trials {
    on_shared!(
        trials,
        ten_thousand_commits_are_each_seen_under_load,
        each_way_to_write_is_seen,
        writes_elsewhere_are_no_change,
        a_trigger_that_is_off_for_a_while_hides_nothing,
        a_table_that_is_made_anew_is_seen,
        a_lost_connection_is_a_change,
        the_listening_connection_begins_late_and_ends_with_the_store,
        a_server_that_cannot_tell_is_asked_what_has_ended,
    )
}

async fn mark(store: &PostgresStore) -> ChangeMark {
    store.change_mark().await.unwrap()
}

async fn ten_thousand_commits_are_each_seen_under_load(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let alice = store.save_token(&token("alice")).await.unwrap();
    // Others write to other databases, and tell of it, which all goes through one queue.
    let mut others = Vec::new();
    for _ in 0..2 {
        let busy = Database::new(address).await;
        let other = busy.open().await;
        let bob = other.save_token(&token("bob")).await.unwrap();
        let task = tokio::spawn(async move {
            for number in 0_u64.. {
                let holder = number.to_string();
                let ttl = Duration::from_secs(0);
                other.try_lease(bob.id().unwrap(), &holder, ttl).await.unwrap();
            }
        });
        others.push((busy, task));
    }
    let writer = database.client().await;
    writer.batch_execute("set synchronous_commit = off").await.unwrap();
    let sql = "update oauthtoken set expiry_time = $1 where id = '1'";
    let update = writer.prepare(sql).await.unwrap();
    let mut before = mark(&store).await;
    for number in 0..10_000 {
        writer.execute(&update, &[&number.to_string()]).await.unwrap();
        let after = mark(&store).await;
        assert_ne!(before, after, "commit {number} is not seen");
        before = after;
        if number % 100 == 0 {
            assert_eq!(before, mark(&store).await, "there was no change after {number}");
        }
    }
    let read = store.find_token_by_id(alice.id().unwrap()).await.unwrap().unwrap();
    assert_eq!(read.expiry_time().unwrap().as_millis(), 9_999);
    for (busy, task) in others {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        drop(busy);
    }
}

async fn each_way_to_write_is_seen(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    let client = database.client().await;
    let admin = database.admin().await;
    let mut before = mark(&store).await;
    for sql in [
        "insert into oauthtoken (id, user_name) values ('7', 'bob')",
        "update oauthtoken set access_token = 'test-access' where id = '7'",
        "with gone as (delete from oauthtoken where id = '7' returning id) select * from gone",
        "insert into tokenkeep_state (token_id) values ('1')",
        "do $$ begin update oauthtoken set expiry_time = '1'; end $$",
        "begin; savepoint s; update oauthtoken set expiry_time = '2'; release s; commit",
        "set session_replication_role = replica; update oauthtoken set expiry_time = '3'",
        "alter table oauthtoken alter expiry_time type text using '4'",
        "begin; update oauthtoken set expiry_time = '5'; prepare transaction 'tokenkeep'",
        "truncate oauthtoken",
    ] {
        if sql.contains("prepare transaction") {
            continue;
        }
        let by = if sql.contains("replication") { &admin } else { &client };
        by.batch_execute(sql).await.unwrap();
        let after = mark(&store).await;
        assert_ne!(before, after, "{sql}");
        before = mark(&store).await;
        assert_eq!(before, after, "{sql}");
    }
    client.batch_execute("begin; delete from tokenkeep_state; rollback").await.unwrap();
    assert_eq!(before, mark(&store).await);
}

async fn writes_elsewhere_are_no_change(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    let other = database.config().table("others").open().await.unwrap();
    let (before, others) = (mark(&store).await, mark(&other).await);
    other.save_token(&token("alice")).await.unwrap();
    assert_eq!(before, mark(&store).await);
    assert_ne!(others, mark(&other).await);
}

async fn a_trigger_that_is_off_for_a_while_hides_nothing(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    let client = database.client().await;
    let before = mark(&store).await;
    let off = "alter table oauthtoken disable trigger tokenkeep_changed";
    let on = "alter table oauthtoken enable always trigger tokenkeep_changed";
    let write = "update oauthtoken set expiry_time = '1'";
    client.batch_execute(&format!("begin; {off}; {write}; {on}; commit")).await.unwrap();
    let meanwhile = mark(&store).await;
    assert_ne!(before, meanwhile);
    client.batch_execute(off).await.unwrap();
    let before = mark(&store).await;
    client.batch_execute(write).await.unwrap();
    assert_ne!(before, mark(&store).await);
    client.batch_execute("drop function tokenkeep_changed cascade").await.unwrap();
    let before = mark(&store).await;
    client.batch_execute(write).await.unwrap();
    assert_ne!(before, mark(&store).await);
}

async fn a_table_that_is_made_anew_is_seen(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    store.save_token(&token("alice")).await.unwrap();
    let before = mark(&store).await;
    let client = database.client().await;
    client.batch_execute("alter table oauthtoken rename to before").await.unwrap();
    let renamed = mark(&store).await;
    assert_ne!(before, renamed);
    client.batch_execute("create table oauthtoken (like before)").await.unwrap();
    let made = mark(&store).await;
    assert_ne!(renamed, made);
    client.batch_execute("insert into oauthtoken select * from before").await.unwrap();
    assert_ne!(made, mark(&store).await);
}

async fn a_lost_connection_is_a_change(address: &Address) {
    let database = Database::new(address).await;
    let store = database.open().await;
    for _ in 0..3 {
        let before = mark(&store).await;
        end_connections(&database).await;
        let after = mark(&store).await;
        assert_ne!(before, after);
        assert_eq!(after, mark(&store).await);
    }
}

async fn the_listening_connection_begins_late_and_ends_with_the_store(address: &Address) {
    let database = Database::new(address).await;
    let admin = database.admin().await;
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' \
         and application_name = 'tokenkeep'",
        database.name()
    );
    let connections = async || admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0);
    let store = database.open().await;
    assert_eq!(connections().await, 1);
    let clone = store.clone();
    mark(&store).await;
    drop(store);
    assert_eq!(connections().await, 2);
    let before = mark(&clone).await;
    assert_eq!(before, mark(&clone).await);
    drop(clone);
    until(async || connections().await == 0).await;
}

async fn a_server_that_cannot_tell_is_asked_what_has_ended(address: &Address) {
    let database = Database::new(address).await;
    drop(database.open().await);
    let admin = database.admin().await;
    let sql = "drop function tokenkeep_changed cascade; revoke create on schema public from public; \
               alter schema public owner to postgres; alter table oauthtoken owner to postgres; \
               alter table tokenkeep_state owner to postgres; \
               grant all on all tables in schema public to tokenkeep";
    admin.batch_execute(sql).await.unwrap();
    let store = database.open().await;
    assert!(!store.inspect().await.unwrap().tells_of_changes);
    let writer = database.client().await;
    let mut before = mark(&store).await;
    for number in 0..200 {
        let id = number.to_string();
        writer.execute("insert into oauthtoken (id) values ($1)", &[&id]).await.unwrap();
        let after = mark(&store).await;
        assert_ne!(before, after);
        before = after;
    }
}
