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
