//! The official Python SDK and tokenkeep on the same file, database and server.
//!
//! What must hold on the SDK's `FileStore` file and on the article's SQLite database alike stands
//! in `both` and runs once for each; what is peculiar to one, in `file` and `sqlite`.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that fails")]

mod both;
mod file;
mod interleaved;
mod interpreter;
mod refresh;
mod scene;
mod sdk;
mod server;
mod sqlite;
mod token;

use std::{path::Path, process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};

use crate::{
    interpreter::Interpreter,
    scene::{Kind, Scene},
};

/// Makes a trial of each async function that takes a scene on a store of this kind.
macro_rules! cases {
    ($kind:expr, $module:ident: $($case:ident),+ $(,)?) => {
        vec![$(case($kind, stringify!($case), |scene| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on($module::$case(scene));
        })),+]
    };
}

/// What is to hold, and what shows it.
struct Case {
    name: String,
    run: Box<dyn FnOnce(&Path) + Send>,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let interpreter = Arc::new(Interpreter::find());
    let mut all = vec![Case {
        name: "server::the_sdk_logs_in_refreshes_and_writes_a_lead".to_owned(),
        run: Box::new(server::the_sdk_logs_in_refreshes_and_writes_a_lead),
    }];
    for kind in [Kind::File, Kind::Sqlite] {
        all.extend(cases![kind, both:
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
        all.extend(cases![kind, interleaved: random_operations_of_both_leave_what_they_should]);
        all.extend(cases![kind, refresh:
            the_sdk_finds_what_we_refreshed,
            we_adopt_what_the_sdk_refreshed,
            we_adopt_what_the_sdk_refreshed_after_a_rejection,
            a_refresh_token_that_the_sdk_got_anew_is_used_by_us,
        ]);
    }
    all.extend(cases![Kind::File, file:
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
    all.extend(cases![Kind::Sqlite, sqlite:
        an_empty_table_of_the_article_is_used,
        names_that_are_sql_stay_data,
        both_write_at_once,
        a_v2_table_is_used_in_place_and_listed_by_the_article,
    ]);
    let trials = all.into_iter().map(|case| interpreter.trial(case)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn case(kind: Kind, name: &str, run: fn(Scene)) -> Case {
    let name = format!("{}::{name}", kind.name());
    Case { name, run: Box::new(move |python| run(Scene::new(kind, python))) }
}

impl Interpreter {
    /// The case as a test, ignored with the reason where there is no SDK.
    fn trial(self: &Arc<Self>, case: Case) -> Trial {
        let interpreter = Arc::clone(self);
        let name = format!("{}{}", case.name, self.why_skipped());
        let run = case.run;
        Trial::test(name, move || {
            run(interpreter.path()?);
            Ok(())
        })
        .with_ignored_flag(self.is_skipped())
    }
}
