//! One process of a cluster.
//!
//! A service must not outlive the program that started it, however that program ends. The kernel
//! offers a "parent death signal" for this, which a process sets for itself. `setpriv --pdeathsig
//! KILL` (util-linux, on every Debian and Ubuntu) sets it and then becomes the service. Without
//! `setpriv`, services survive only a kill of this program; its normal end, or a panic, ends them.
//!
//! The kernel sends the signal when the *thread* that started the process ends, not the program. So
//! one thread, which lives as long as the program, starts every process.

use super::service::Service;
use super::{ClusterError, Result, Spec, binaries};
use common::private;
use crossbeam::channel::{Sender, bounded};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;

/// Bytes of the end of a log in an error.
const TAIL_BYTES: u64 = 4_096;

/// A started process, reaped or not. Its owner must kill or reap it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    service: Service,
}

impl Process {
    pub(super) fn start(spec: &Spec, service: Service) -> Result<Self> {
        let binary = binaries::find(&spec.binaries, service.binary()).map_err(ClusterError::new)?;
        let path = spec.log_path(service);
        // Appended: a restart must not wipe out why the run before ended.
        let open = || private::options().create(true).append(true).open(&path);
        let (out, err) = open()
            .and_then(|out| Ok((out.try_clone()?, out)))
            .map_err(|e| ClusterError::new(format!("cannot write {}: {e}", path.display())))?;
        let mut command = dying_with_us(&binary);
        for (name, _) in std::env::vars_os() {
            // Our variables have names in UTF-8; leave all others alone.
            if !name.to_str().is_none_or(|name| spec.passes_on(name)) {
                command.env_remove(name);
            }
        }
        command
            .envs(spec.environment(service))
            // A service must not read what is typed into this program.
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        if spec.own_groups {
            // Ctrl-C goes to the whole group of a terminal, and this program stops its services in
            // order itself.
            command.process_group(0);
        }
        let child = spawn(command)
            .map_err(|e| ClusterError::new(format!("cannot start {}: {e}", binary.display())))?;
        Ok(Self { child, service })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended. Does not wait.
    pub(super) fn try_reap(&mut self) -> Option<ExitStatus> {
        // An error counts as "still running": the next look finds out.
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(super) fn reap(&mut self) -> Option<ExitStatus> {
        self.child.wait().ok()
    }

    /// Kills it unless it has ended. Never fails.
    pub(super) fn kill_and_reap(&mut self) {
        // Both calls fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal. The caller must not have reaped the process: another process may have its id
    /// by now.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let sent = id
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|id| kill_process(id, signal));
        sent.map_err(|e| {
            ClusterError::new(format!("cannot send {signal:?} to {}: {e}", self.service))
        })
    }
}

/// A command whose process dies with this program, where `setpriv` is installed.
pub fn dying_with_us(binary: &Path) -> Command {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    let setpriv = SETPRIV.get_or_init(|| {
        let folders = std::env::var_os("PATH")?;
        std::env::split_paths(&folders)
            .map(|folder| folder.join("setpriv"))
            .find(|path| {
                // Old versions of it do not have the option.
                let help = Command::new(path)
                    .arg("--help")
                    .stdin(Stdio::null())
                    .stderr(Stdio::null())
                    .output();
                help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--pdeathsig"))
            })
    });
    match setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(binary);
            command
        }
        None => Command::new(binary),
    }
}

type Job = (Command, Sender<io::Result<Child>>);

/// Starts a process on the thread that lives as long as this program.
///
/// # Errors
/// Those of [`Command::spawn`].
///
/// # Panics
/// When the system has no thread left.
pub fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        // One at a time: a start takes a moment, and callers wait for its outcome anyway.
        let (sender, jobs) = bounded::<Job>(1);
        // Never joined, on purpose: its end would kill every service. It holds nothing to release.
        let run = move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new()
            .name("starter".into())
            .spawn(run)
            .expect("the system starts a thread");
        sender
    });
    let (reply, started) = bounded(1);
    starter.send((command, reply)).map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)?
}

pub(super) fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        // The end alone: the log of a long run does not fit an error.
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(empty)".into(),
        Ok(text) => text,
        Err(error) => format!("(cannot be read: {error})"),
    }
}
