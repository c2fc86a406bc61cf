//! A process that is killed in the middle of a put leaves the old entry or the new one.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use tokenkeep_manager::{FileSpool, Spool, Spooled};

use crate::support::{entry, grant, id, key, spool};

const CHILD: &str = "TOKENKEEP_TEST_SPOOL_KILL";
const ROUNDS: usize = 100;

/// A put takes a while: a kill meets it in every one of its steps.
const LARGE: usize = 100_000;

/// The `number`th entry that a child puts; each has another length.
fn numbered(number: usize) -> Spooled {
    let length = if number.is_multiple_of(2) { LARGE } else { LARGE / 2 };
    entry(&id("7"), &format!("test-refresh-{number}-{}", "x".repeat(length + number)))
}

fn open(directory: &Path, sealed: bool) -> FileSpool {
    let spool = spool(directory);
    if sealed { spool.sealed_with(key()) } else { spool }
}

#[tokio::test]
async fn a_kill_leaves_the_old_entry_or_the_new_one() {
    let mut in_the_middle = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let sealed = round % 2 == 1;
        let mut child = spawn(dir.path(), sealed);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // In another round, after another line: each comes before a put or after one.
        let before_the_kill = 1 + round % 4;
        let mut told = Told::default();
        for line in lines.by_ref().filter(|line| told.hear(line)).take(before_the_kill) {
            drop(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it has still told before it died.
        for line in lines {
            told.hear(&line);
        }

        let got = open(dir.path(), sealed).get(&id("7"), &grant("test-refresh-old")).await.unwrap();
        let left = match got {
            None => 0,
            Some(got) => (told.done..=told.begun)
                .find(|number| *number > 0 && got == numbered(*number))
                .unwrap_or_else(|| panic!("round {round}: neither old nor new: {told:?}")),
        };
        assert!(left >= told.done, "round {round}: {left} is left of {told:?}");
        let listing = open(dir.path(), sealed).list().await.unwrap();
        assert!(listing.damage.is_empty(), "round {round}: {:?}", listing.damage);
        in_the_middle += usize::from(told.begun > told.done);
    }
    assert!(in_the_middle > ROUNDS / 4, "only {in_the_middle} kills met a put");
}

/// How far a child had come.
#[derive(Debug, Default)]
struct Told {
    begun: usize,
    done: usize,
}

impl Told {
    /// Whether the line was for us, and not the test harness speaking.
    fn hear(&mut self, line: &str) -> bool {
        let Some((_before, told)) = line.split_once("spool: ") else { return false };
        let (what, number) = told.split_once(' ').unwrap();
        let which = if what == "begun" { &mut self.begun } else { &mut self.done };
        *which = number.parse().unwrap();
        true
    }
}

fn spawn(directory: &Path, sealed: bool) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::put_in_a_child", "--nocapture"])
        .env(CHILD, format!("{sealed}\n{}", directory.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// What a child process does; nothing when it is run as a test.
#[tokio::test]
async fn put_in_a_child() {
    #[expect(clippy::disallowed_methods, reason = "how a parent test tells its child what to do")]
    let Ok(orders) = std::env::var(CHILD) else { return };
    let (sealed, directory) = orders.split_once('\n').unwrap();
    let spool = open(Path::new(directory), sealed == "true");
    for number in 1.. {
        let entry = numbered(number);
        // One write a line: the parent never sees half of one.
        let mut out = std::io::stdout().lock();
        out.write_all(format!("spool: begun {number}\n").as_bytes()).unwrap();
        drop(out);
        spool.put(&entry).await.unwrap();
        println!("spool: done {number}");
    }
}
