//! One server process.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Address, Missing, account, place, port::Port, program::Program};

/// How long a server may take to answer.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether a server answers.
pub(crate) type Ready = Box<dyn Fn() -> bool + Send + Sync>;

/// How a server process is started.
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) program: Program,
    pub(crate) arguments: Vec<OsString>,
    /// Its working directory; it and all its children are known by it.
    pub(crate) directory: PathBuf,
    /// Its ports, for as long as it may be started again.
    #[expect(dead_code, reason = "nobody else may claim them meanwhile")]
    pub(crate) ports: Vec<Port>,
    pub(crate) ready: Ready,
}

/// A server process that can be started more than once.
pub(crate) struct Node {
    plan: Plan,
    child: Option<Child>,
}

impl Node {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, child: None }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.plan.address
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Lets the process outlive this value.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }

    /// Changes what [`wait`](Self::wait) waits for.
    pub(crate) fn answers_if(&mut self, ready: Ready) {
        self.plan.ready = ready;
    }

    /// Names who may do everything there, once that is known.
    pub(crate) fn is_administered_by(&mut self, user: &str, password: &str) {
        user.clone_into(&mut self.plan.address.admin_user);
        password.clone_into(&mut self.plan.address.admin_password);
    }

    /// Starts the process; [`wait`](Self::wait) tells when it answers.
    pub(crate) fn spawn(&mut self) -> io::Result<()> {
        self.spawn_with(&[])
    }

    /// Starts the process with arguments for this time only.
    pub(crate) fn spawn_with(&mut self, first: &[&str]) -> io::Result<()> {
        let plan = &self.plan;
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = account::command(&plan.program, &plan.directory, &plan.arguments);
        command.args(first);
        self.child = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// Waits until it answers.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let child = self.child.as_mut().ok_or_else(|| io::Error::other("it was not started"))?;
        let ended = until(|| match child.try_wait() {
            Ok(None) => (self.plan.ready)().then_some(None),
            ended => Some(ended.transpose()),
        });
        let what = match ended {
            Ok(None) => return Ok(()),
            Ok(Some(status)) => format!("ended ({})", status?),
            Err(error) => error.to_string(),
        };
        let name = self.plan.program.path().file_name().unwrap_or_default().to_string_lossy();
        Err(io::Error::other(format!("{name} {what}; its last words:\n{}", self.last_words())))
    }

    /// Kills it and all its children, and waits until they are gone.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        until(|| {
            let left = self.signal(Signal::KILL);
            // Whoever is not waited for stays in the table of processes.
            let runs =
                self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            (left == 0 && !runs).then_some(())
        })?;
        self.child = None;
        Ok(())
    }

    /// Sends a signal to it and all its children; how many there are.
    pub(crate) fn signal(&self, signal: Signal) -> usize {
        let pids = place::inhabitants(&self.plan.directory).into_iter();
        // One that has gone meanwhile does not count.
        pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .filter(|pid| kill_process(*pid, signal).is_ok())
            .count()
    }

    /// Asks a PostgreSQL replica to be a primary.
    #[expect(clippy::disallowed_methods, reason = "an empty file that says so by being there")]
    pub(crate) fn promote(&self) -> io::Result<()> {
        fs::write(self.plan.directory.join("promote"), "")?;
        let pid = self.pid().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.ok_or_else(|| io::Error::other("it does not run"))?, Signal::USR1)?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.plan.directory.with_extension("log")
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A child that nobody waits for stays in the table of processes.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && child.kill().and_then(|()| child.wait()).is_err()
        {
            eprintln!("process {} may be left behind", child.id());
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (process {:?})", self.plan.address, self.pid())
    }
}

/// Starts nodes and waits until all of them answer.
pub(crate) fn start_all(nodes: &mut [Node]) -> io::Result<()> {
    nodes.iter_mut().try_for_each(Node::spawn)?;
    nodes.iter_mut().try_for_each(Node::wait)
}

/// Runs a program that prepares something to its end.
pub(crate) fn prepare(command: &mut Command) -> Result<String, Missing> {
    let output =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    Err(Missing::fault(format!(
        "failed ({}): {}\n{said}{errors}",
        output.status,
        arguments.join(" ")
    )))
}

/// Asks until there is an answer, for as long as a server may take.
#[expect(clippy::disallowed_methods, reason = "another process has no clock that could be moved")]
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> io::Result<T> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > end {
            let what = format!("gave no answer within {} s", LIMIT.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        std::thread::sleep(PAUSE);
    }
}
