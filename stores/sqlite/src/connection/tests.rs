use tokenkeep_core::Field;

use super::*;

/// The steps by which SQLite would run a statement.
fn plan(database: &Database, sql: &str) -> Vec<String> {
    let mut statement = database.connection.prepare(&format!("explain query plan {sql}")).unwrap();
    let parameters = vec![rusqlite::types::Null; statement.parameter_count()];
    let steps = statement
        .query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3))
        .unwrap();
    steps.collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_look_up_uses_an_index() {
    let settings = Arc::new(Settings::new(SqliteConfig::memory()));
    let database = Database::open(&settings, Use::Writing, None).unwrap();
    let sql = &database.layout.sql;
    let update = database.layout.update(&[Field::AccessToken]);
    let look_ups = Field::ALL.into_iter().filter_map(|field| sql.by(field));
    let others = [
        &sql.delete,
        &sql.largest_number,
        &sql.page_numbers,
        &sql.page_texts,
        &sql.meta_read,
        &sql.meta_raise,
        &sql.side_read,
        &sql.side_subject,
        &sql.side_delete,
        &update,
    ];
    for sql in look_ups.chain(others.into_iter().map(String::as_str)) {
        let steps = plan(&database, sql);
        assert!(steps.iter().any(|step| step.contains("SEARCH")), "{sql}: {steps:?}");
        for step in steps {
            assert!(!step.contains("SCAN") && !step.contains("TEMP"), "{sql}: {step}");
        }
    }
}

#[cfg(unix)]
#[test]
fn when_a_connection_is_opened_the_others_look_for_their_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let settings = Arc::new(Settings::new(SqliteConfig::new(&path)));
    let database = Database::open(&settings, Use::Reading, None).unwrap();
    let opened = settings.opened.load(Ordering::Relaxed);
    // It has looked just now, however long this takes.
    #[expect(clippy::disallowed_methods, reason = "a moment that is not over in this test")]
    let later = Instant::now() + Duration::from_secs(3600);
    database.checked.set(Some((later, opened)));
    std::fs::remove_file(&path).unwrap();
    database.check_site_for_reading().unwrap();
    let _another = Database::open(&settings, Use::Reading, database.site()).unwrap();
    assert!(matches!(database.check_site_for_reading(), Err(Fault::Stale)));
}
