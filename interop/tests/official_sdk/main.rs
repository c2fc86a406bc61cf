//! The official SDK and tokenkeep on the same file, database and server.
//!
//! What must hold on the SDK's `FileStore` file, on the article's SQLite database and on the
//! `DBStore`'s table in MySQL alike stands in `both` and runs once for each; what is peculiar to
//! one, in `file`, `sqlite` and `at_once`.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod at_once;
mod both;
mod database;
mod file;
mod interleaved;
mod language;
mod refresh;
mod scene;
mod sdk;
mod server;
mod sqlite;
mod token;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tokenkeep_servers::shared;

use crate::{
    language::{
        Language::{Node, Python},
        is_required,
    },
    scene::{Kind, Scene, Stage},
};

const FILE: Stage = Stage { name: "file", kind: Kind::File, languages: &[Python], table: None };
const SQLITE: Stage =
    Stage { name: "sqlite", kind: Kind::Sqlite, languages: &[Python], table: None };
const MYSQL_PYTHON: Stage =
    Stage { name: "mysql_python", kind: Kind::Mysql, languages: &[Python], table: None };
const MYSQL_NODE: Stage =
    Stage { name: "mysql_node", kind: Kind::Mysql, languages: &[Node], table: None };
/// The SDK in both languages, on a table as we make it, as the SDKs' README has it made, and as
/// that for PHP does.
const MYSQL: [Stage; 3] = [
    Stage { name: "mysql", kind: Kind::Mysql, languages: &[Python, Node], table: None },
    Stage {
        name: "mysql_readme",
        kind: Kind::Mysql,
        languages: &[Python, Node],
        table: Some(
            "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255), \
             client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
             access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
             redirect_url varchar(255), api_domain varchar(255), primary key (id))",
        ),
    },
    Stage {
        name: "mysql_php",
        kind: Kind::Mysql,
        languages: &[Python, Node],
        table: Some(
            "create table oauthtoken (id varchar(10) NOT NULL, user_name varchar(255) NOT NULL, \
             client_id varchar(255), client_secret varchar(255), refresh_token varchar(255), \
             access_token varchar(255), grant_token varchar(255), expiry_time varchar(20), \
             redirect_url varchar(255), api_domain varchar(255), primary key (id))",
        ),
    },
];

/// Makes a trial of each async function that takes a scene on this stage.
macro_rules! cases {
    ($stage:expr, $module:ident: $($case:ident),+ $(,)?) => {
        vec![$(case($stage, stringify!($case), |stage| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async { $module::$case(Scene::new(&stage).await).await });
        })),+]
    };
}

fn main() -> ExitCode {
    if let Some(code) = at_once::child() {
        return code;
    }
    let arguments = Arguments::from_args();
    let name = "server::the_sdk_logs_in_refreshes_and_writes_a_lead";
    let login = server::the_sdk_logs_in_refreshes_and_writes_a_lead;
    let mut all = vec![trial(name.to_owned(), Python.missing(), login)];
    for stage in [FILE, SQLITE, MYSQL_PYTHON, MYSQL_NODE] {
        all.extend(cases![stage, both:
            what_the_sdk_stored_is_found_by_us,
            what_we_stored_is_found_by_the_sdk,
            each_updates_what_the_other_stored,
            ids_go_on_whoever_inserts,
            what_one_deleted_is_gone_for_the_other,
            what_one_emptied_is_empty_for_the_other,
            an_id_that_the_sdk_gave_to_another_user_inherits_nothing,
            a_reader_of_ours_beside_a_saving_sdk_never_misses,
            a_reading_sdk_beside_our_saves_never_misses,
        ]);
    }
    for stage in [FILE, SQLITE, MYSQL[0]] {
        all.extend(cases![stage, interleaved: random_operations_of_both_leave_what_they_should]);
    }
    for stage in [FILE, SQLITE, MYSQL_PYTHON] {
        all.extend(cases![stage, refresh:
            the_sdk_finds_what_we_refreshed,
            we_adopt_what_the_sdk_refreshed,
            we_adopt_what_the_sdk_refreshed_after_a_rejection,
            a_refresh_token_that_the_sdk_got_anew_is_used_by_us,
        ]);
    }
    all.extend(cases![FILE, file:
        the_python_fixture_is_what_the_sdk_writes,
        a_file_that_the_sdk_has_just_made_is_used,
        crlf_becomes_lf_and_the_header_stays,
        who_has_the_file_open_reads_it_whole,
        quoted_names_of_the_sdk_survive_our_saves,
        the_shared_dialect_refuses_what_only_some_sdks_can_read,
        the_quoted_dialect_is_read_by_the_sdk,
        a_v2_file_is_used_in_place_by_both,
        a_file_open_to_others_is_closed_and_the_sdk_goes_on,
    ]);
    all.extend(cases![SQLITE, sqlite:
        an_empty_table_of_the_article_is_used,
        names_that_are_sql_stay_data,
        both_write_at_once,
        a_v2_table_is_used_in_place_and_listed_by_the_article,
    ]);
    for stage in MYSQL {
        all.extend(cases![stage, at_once: nothing_of_anybody_is_lost_when_all_write_at_once]);
    }
    libtest_mimic::run(&arguments, all).exit_code()
}

fn case(stage: Stage, name: &str, run: fn(Stage)) -> Trial {
    let missing = stage.languages.iter().find_map(|language| language.missing());
    let on_server = stage.kind == Kind::Mysql;
    let server = || shared(tokenkeep_servers::Kind::MariaDb).err().map(|it| it.to_string());
    let missing = missing.or_else(|| on_server.then(server).flatten());
    trial(format!("{}::{name}", stage.name), missing, move || run(stage))
}

/// The case as a test, ignored with the reason where something is missing.
fn trial(name: String, missing: Option<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    let Some(missing) = missing else {
        return Trial::test(name, move || {
            run();
            Ok(())
        });
    };
    let required = is_required();
    let shown = if required { name } else { format!("{name} (skipped: {missing})") };
    Trial::test(shown, move || Err(format!("{missing}, and TOKENKEEP_REQUIRE is `all`").into()))
        .with_ignored_flag(!required)
}
