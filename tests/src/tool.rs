//! Runs a binary of the bazaar to its end, with a deadline.

use cluster::wait;
use cluster::{binaries, process};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a tool may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The end of a run, and its output.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// A binary that runs in the background, its output going to files.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    out: File,
    err: File,
}

/// Runs a binary with these arguments and variables (and none of ours from this program's
/// environment).
///
/// # Panics
/// When it is missing, or does not end in time.
#[must_use]
pub fn run(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    start(name, arguments, variables).wait()
}

/// Starts a binary.
///
/// # Panics
/// When it is missing.
#[must_use]
pub fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
    let binary =
        binaries::find(&binaries::folder(), name).unwrap_or_else(|error| panic!("{error}"));
    let mut command = process::dying_with_us(&binary);
    for (variable, _) in std::env::vars_os() {
        let Some(variable) = variable.to_str() else {
            continue;
        };
        let ours = [
            "BAZAAR_",
            "CATALOG_",
            "ORDER_",
            "FRONTEND_",
            "CLIENT_",
            "EVAL_",
        ];
        if ours.iter().any(|beginning| variable.starts_with(beginning))
            && variable != binaries::VARIABLE
        {
            command.env_remove(variable);
        }
    }
    command.args(arguments).envs(variables.iter().copied());
    started(name, command)
}

/// Starts a command, its output going to files.
///
/// # Panics
/// When it cannot be started.
pub fn started(name: &str, mut command: Command) -> Running {
    // Files, not pipes: nothing is held up by a test that does not read.
    let file = || tempfile::tempfile().expect("a temporary file");
    let (out, err) = (file(), file());
    let to = |file: &File| Stdio::from(file.try_clone().expect("a second handle"));
    command
        .stdin(Stdio::null())
        .stdout(to(&out))
        .stderr(to(&err));
    let child =
        process::spawn(command).unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    Running {
        name: name.into(),
        child,
        out,
        err,
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// Waits until its standard output contains `text`.
    ///
    /// # Panics
    /// When it ends before, or takes too long.
    pub fn wait_for(&mut self, text: &str) {
        let found = wait::until(TIMEOUT, || {
            let found = self.out().contains(text);
            // Its last output counts too, so the look at its end comes second.
            (found || self.child.try_wait().ok().flatten().is_some())
                .then(|| self.out().contains(text))
        });
        assert_eq!(
            found,
            Some(true),
            "{} does not say '{text}':\n{}\n{}",
            self.name,
            self.out(),
            read(&self.err)
        );
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        assert!(
            self.child.try_wait().ok().flatten().is_none(),
            "{} has ended",
            self.name
        );
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is ours");
    }

    /// Waits until it handles a signal itself.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn wait_for_handler(&self, signal: rustix::process::Signal) {
        let path = format!("/proc/{}/status", self.pid());
        let handles = || {
            let status = fs::read_to_string(&path).ok()?;
            let mask = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
            (mask >> (signal.as_raw() - 1) & 1 == 1).then_some(())
        };
        let handled = wait::until(TIMEOUT, handles);
        assert!(
            handled.is_some(),
            "{} does not handle {signal:?}",
            self.name
        );
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn wait(self) -> Ran {
        self.wait_within(TIMEOUT)
    }

    /// The same with another deadline.
    ///
    /// # Panics
    /// When it does not end in time.
    #[must_use]
    pub fn wait_within(mut self, timeout: Duration) -> Ran {
        let status = wait::until(timeout, || {
            self.child.try_wait().expect("the process is ours")
        });
        let (out, err) = (self.out(), read(&self.err));
        let status = status.unwrap_or_else(|| panic!("{} does not end:\n{out}\n{err}", self.name));
        Ran {
            code: status.code(),
            out,
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The content of a file so far.
///
/// # Panics
/// When it cannot be read.
pub fn read(file: &File) -> String {
    let mut text = Vec::new();
    // A handle of its own would share the position with the writer, whose writes must go on at the
    // end.
    let mut again = File::open(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(file)
    ))
    .expect("opens again");
    again
        .seek(SeekFrom::Start(0))
        .and_then(|_| again.read_to_end(&mut text))
        .expect("a temporary file is read");
    String::from_utf8_lossy(&text).into_owned()
}

/// Runs `order` on files of stopped replicas.
///
/// # Panics
/// When it does not end with code 0.
pub fn order(action: &str, files: &[&Path]) -> String {
    let files: Vec<&str> = files
        .iter()
        .map(|file| file.to_str().expect("UTF-8"))
        .collect();
    let arguments: Vec<&str> = [action].into_iter().chain(files).collect();
    let ran = run("order", &arguments, &[]);
    assert_eq!(
        ran.code,
        Some(0),
        "order {arguments:?}:\n{}\n{}",
        ran.out,
        ran.err
    );
    ran.out
}

/// Whether a process of this id exists, as anything but a zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses.
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Moves what SQLite keeps beside a stopped replica's file into it.
///
/// # Panics
/// When the file cannot be opened.
pub fn checkpoint(database: &Path) {
    let connection = rusqlite::Connection::open(database).expect("opens");
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("moves");
}
