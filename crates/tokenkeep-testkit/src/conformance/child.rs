//! Child processes: the test program runs itself with a job in an environment variable.
//!
//! A child opens the store, says `ready`, waits for a line, does its task, and prints what came of
//! it, one line each after [`MARK`].

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokenkeep_core::{Clock, LeaseAttempt, OAuthToken, Replaced, SystemClock, TokenId, TokenStore};

use super::{Context, Failure, Fixture, case::shared, cases::add_moment, run::runtime};

const VARIABLE: &str = "TOKENKEEP_TESTKIT_JOB";
const READY: &str = "testkit-child-ready";
const MARK: &str = "testkit-child-answer ";

/// What the children do at the same time.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Each saves this many users of its own and answers their ids.
    SaveOwnUsers { saves: usize },
    /// All save one user this many times and answer the ids.
    UpdateOneUser { saves: usize },
    /// Each reads the token when it opens, replaces it when all go, and answers `saved` or
    /// `not saved`.
    Replace { id: String },
    /// Each opens the space by a relative path where the address is a path, goes to another
    /// directory, and saves a user of its own.
    SaveElsewhere,
    /// Each tries the lease and answers `granted` or `not granted`.
    Lease { id: String },
    /// Each adds this many moments of its own to the token's state.
    UpdateState { id: String, updates: usize },
}

impl Task {
    /// The name of a user that a worker saves.
    pub(super) fn own_user(worker: usize, save: usize) -> String {
        format!("user{save}.of{worker}@example.com")
    }

    fn to_json(&self) -> Value {
        match self {
            Self::SaveOwnUsers { saves } => json!({ "task": "save-own-users", "saves": saves }),
            Self::UpdateOneUser { saves } => json!({ "task": "update-one-user", "saves": saves }),
            Self::Replace { id } => json!({ "task": "replace", "id": id }),
            Self::SaveElsewhere => json!({ "task": "save-elsewhere" }),
            Self::Lease { id } => json!({ "task": "lease", "id": id }),
            Self::UpdateState { id, updates } => {
                json!({ "task": "update-state", "id": id, "updates": updates })
            }
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        let number = |key: &str| usize::try_from(value[key].as_u64()?).ok();
        let id = || Some(value["id"].as_str()?.to_owned());
        match value["task"].as_str()? {
            "save-own-users" => Some(Self::SaveOwnUsers { saves: number("saves")? }),
            "update-one-user" => Some(Self::UpdateOneUser { saves: number("saves")? }),
            "replace" => Some(Self::Replace { id: id()? }),
            "save-elsewhere" => Some(Self::SaveElsewhere),
            "lease" => Some(Self::Lease { id: id()? }),
            "update-state" => Some(Self::UpdateState { id: id()?, updates: number("updates")? }),
            _ => None,
        }
    }
}

/// What this process was started for, if it is a child.
pub(super) fn job() -> Option<String> {
    std::env::var_os(VARIABLE)?.into_string().ok()
}

/// Runs `count` children on the space of `cx`, from the moment all have opened it; what each
/// answered.
pub(super) async fn run_children(
    cx: &Context,
    count: usize,
    task: Task,
) -> Result<Vec<Vec<String>>, Failure> {
    let address = cx.space().address().ok_or_else(|| Failure::new("the space has no address"))?;
    let fixture = cx.fixture().name().to_owned();
    tokio::task::spawn_blocking(move || {
        let mut children = (0..count)
            .map(|worker| {
                let job = json!({
                    "fixture": fixture,
                    "address": address,
                    "worker": worker,
                    "task": task.to_json(),
                });
                Running::start(&job)
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        for child in &mut children {
            child.wait_until_ready()?;
        }
        for child in &mut children {
            child.go()?;
        }
        children.into_iter().map(Running::finish).collect()
    })
    .await?
}

/// A child that is killed if nobody waits for it.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(job: &Value) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(VARIABLE, job.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| Failure::new("a child has no output"))?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim_end() == READY {
            Ok(())
        } else {
            Err(Failure::new(format!("a child could not open the store: {line}")))
        }
    }

    fn go(&mut self) -> Result<(), Failure> {
        match self.input.take() {
            Some(mut input) => Ok(writeln!(input)?),
            None => Err(Failure::new("a child has no input")),
        }
    }

    fn finish(mut self) -> Result<Vec<String>, Failure> {
        let mut answers = Vec::new();
        let mut other = String::new();
        for line in (&mut self.output).lines() {
            let line = line?;
            match line.strip_prefix(MARK) {
                Some(answer) => answers.push(answer.to_owned()),
                None => other.push_str(&line),
            }
        }
        let status = self.child.wait()?;
        if status.success() {
            Ok(answers)
        } else {
            Err(Failure::new(format!("a child failed, {status}: {other}")))
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let (Ok(()) | Err(_)) = self.child.kill();
        let (Ok(_) | Err(_)) = self.child.wait();
    }
}

/// The body of a child process.
pub(super) fn main(fixtures: &[Arc<dyn Fixture>], job: &str) -> ExitCode {
    match child(fixtures, job).and_then(|answers| {
        let lines: String = answers.iter().map(|answer| format!("{MARK}{answer}\n")).collect();
        Ok(print(&lines)?)
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (Ok(()) | Err(_)) = print(&format!("{failure}\n"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn child(fixtures: &[Arc<dyn Fixture>], job: &str) -> Result<Vec<String>, Failure> {
    let job: Value = serde_json::from_str(job)?;
    let unknown = || Failure::new("the job is not one of this test program");
    let name = job["fixture"].as_str().ok_or_else(unknown)?;
    let address = job["address"].as_str().ok_or_else(unknown)?;
    let worker = usize::try_from(job["worker"].as_u64().ok_or_else(unknown)?)?;
    let task = Task::from_json(&job["task"]).ok_or_else(unknown)?;
    let fixture = fixtures.iter().find(|fixture| fixture.name() == name).ok_or_else(unknown)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let limit = Duration::from_secs(120);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        tokio::time::timeout(limit, async {
            let address = match (&task, Path::new(address).parent()) {
                (Task::SaveElsewhere, Some(directory)) if directory.is_absolute() => {
                    std::env::set_current_dir(directory)?;
                    address[directory.as_os_str().len()..].trim_start_matches(['/', '\\'])
                }
                _ => address,
            };
            let store = fixture.open_address(address, clock).await?;
            perform(&*store, worker, &task).await
        })
        .await?
    })
}

/// Says that this child is ready, and waits until all are.
fn wait_for_the_others() -> Result<(), Failure> {
    print(&format!("{READY}\n"))?;
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

async fn perform(
    store: &dyn TokenStore,
    worker: usize,
    task: &Task,
) -> Result<Vec<String>, Failure> {
    let mut answers = Vec::new();
    match task {
        Task::SaveOwnUsers { saves } => {
            wait_for_the_others()?;
            for save in 0..*saves {
                let token = OAuthToken::builder()
                    .user_name(Task::own_user(worker, save))
                    .refresh_token(format!("test-refresh-{worker}-{save}"))
                    .build()?;
                answers.extend(store.save_token(&token).await?.id().map(ToString::to_string));
            }
        }
        Task::UpdateOneUser { saves } => {
            wait_for_the_others()?;
            for save in 0..*saves {
                let token = OAuthToken::builder()
                    .user_name("alice@example.com")
                    .access_token(format!("test-access-{worker}-{save}"))
                    .build()?;
                answers.extend(store.save_token(&token).await?.id().map(ToString::to_string));
            }
        }
        Task::Replace { id } => {
            let expected = store.find_token_by_id(&TokenId::new(id)?).await?;
            let expected = expected.ok_or_else(|| Failure::new("the token is not there"))?;
            wait_for_the_others()?;
            let token =
                OAuthToken::builder().access_token(format!("test-access-{worker}")).build()?;
            let answer = shared(store)?.replace_token(&expected, &token, None).await?;
            let saved = matches!(answer, Replaced::Saved(_));
            answers.push(if saved { "saved" } else { "not saved" }.to_owned());
        }
        Task::SaveElsewhere => {
            wait_for_the_others()?;
            std::env::set_current_dir(std::env::temp_dir())?;
            let token = OAuthToken::builder().user_name(Task::own_user(worker, 0));
            let token = token.refresh_token(format!("test-refresh-{worker}")).build()?;
            answers.extend(store.save_token(&token).await?.id().map(ToString::to_string));
        }
        Task::Lease { id } => {
            wait_for_the_others()?;
            let (holder, ttl) = (format!("process {worker}"), Duration::from_secs(600));
            let attempt = shared(store)?.try_lease(&TokenId::new(id)?, &holder, ttl).await?;
            let granted = matches!(attempt, LeaseAttempt::Granted(_));
            answers.push(if granted { "granted" } else { "not granted" }.to_owned());
        }
        Task::UpdateState { id, updates } => {
            wait_for_the_others()?;
            for update in 0..*updates {
                add_moment(store, &TokenId::new(id)?, worker * updates + update).await?;
            }
        }
    }
    Ok(answers)
}
