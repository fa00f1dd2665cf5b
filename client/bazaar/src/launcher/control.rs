//! `bazaar kill` and `bazaar restart` send one line of JSON to the running launcher, over a socket
//! in its folder, and get one line back. The launcher does the work, so that a restarted service is
//! its child, and it follows the log.

use cluster::service::Service;
use common::shutdown::Shutdown;
use common::threads::Thread;
use crossbeam::channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time for a caller's line.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait of a caller: a service may use its whole time-outs to stop and to start.
const ASK_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest line, in bytes.
const LINE_LIMIT: u64 = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Kill,
    /// Starts a service; stops it first where it runs.
    Restart,
}

impl Action {
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    action: Action,
    service: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) ok: bool,
    pub(super) message: String,
}

/// A request on its way to the launcher.
pub(super) struct Asked {
    pub(super) action: Action,
    pub(super) service: Service,
    pub(super) reply: Sender<Reply>,
}

/// The launcher's side. Dropping it ends its thread and removes the socket.
pub(super) struct Control {
    path: PathBuf,
    asked: Receiver<Asked>,
    stop: Shutdown,
    _thread: Option<Thread>,
}

impl Control {
    /// Listens in this folder, whose lock the caller holds: an old socket is of an earlier run.
    pub(super) fn listen(folder: &Path) -> Result<Self, String> {
        let path = socket_path(folder);
        let _ = fs::remove_file(&path);
        let explain = |e: io::Error| {
            format!(
                "cannot listen on {}: {e}; a socket's path has at most 107 bytes: \
                 name a shorter --dir if it is longer",
                path.display()
            )
        };
        let listener = UnixListener::bind(&path).map_err(explain)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(explain)?;
        let stop = Shutdown::new();
        // One request at a time. Other callers wait in the socket's backlog.
        let (sender, asked) = bounded(1);
        let until = stop.clone();
        let thread = Thread::spawn("control", move || serve(&listener, &sender, &until));
        Ok(Self {
            path,
            asked,
            stop,
            _thread: Some(thread),
        })
    }

    pub(super) fn asked(&self) -> &Receiver<Asked> {
        &self.asked
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.trigger();
        // Wakes the thread out of its accept.
        drop(UnixStream::connect(&self.path));
        // Drops a waiting request: its caller sees a closed socket, and its thread does not wait
        // for a reply.
        self.asked = bounded(0).1;
        drop(self._thread.take());
        let _ = fs::remove_file(&self.path);
    }
}

fn serve(listener: &UnixListener, sender: &Sender<Asked>, stop: &Shutdown) {
    loop {
        let connection = listener.accept();
        if stop.is_triggered() {
            return;
        }
        match connection {
            // A caller that breaks the rules, or goes away, must not disturb the others.
            Ok((stream, _)) => drop(converse(stream, sender)),
            // Out of descriptors, for example. The pause prevents a busy loop.
            Err(_) => drop(stop.wait(Duration::from_millis(100))),
        }
    }
}

fn converse(mut stream: UnixStream, sender: &Sender<Asked>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    stream.set_write_timeout(Some(READ_TIMEOUT))?;
    let mut text = String::new();
    BufReader::new((&stream).take(LINE_LIMIT)).read_line(&mut text)?;
    let answer = match parse(&text) {
        Ok((action, service)) => {
            let (reply, answer) = bounded(1);
            sender
                .send(Asked {
                    action,
                    service,
                    reply,
                })
                .map_err(io::Error::other)?;
            answer.recv().map_err(io::Error::other)?
        }
        Err(message) => Reply { ok: false, message },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn parse(text: &str) -> Result<(Action, Service), String> {
    let line: Line = serde_json::from_str(text).map_err(|e| e.to_string())?;
    Ok((line.action, line.service.parse()?))
}

fn socket_path(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// Sends a request to the bazaar that runs in this folder. Returns its reply; an error when it
/// failed there, or none runs.
pub fn ask(folder: &Path, action: Action, service: Service) -> Result<String, String> {
    let mut stream = UnixStream::connect(socket_path(folder)).map_err(|e| {
        format!(
            "no bazaar runs in {} ({e}): \
             start one with 'make run-all', or name its folder with --dir",
            folder.display()
        )
    })?;
    let explain = |e: io::Error| format!("the bazaar in {} did not answer: {e}", folder.display());
    stream
        .set_read_timeout(Some(ASK_TIMEOUT))
        .map_err(explain)?;
    let line = Line {
        action,
        service: service.to_string(),
    };
    let mut text = serde_json::to_string(&line).map_err(|e| e.to_string())?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(explain)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .map_err(explain)?;
    if answer.is_empty() {
        return Err(format!("the bazaar in {} is stopping", folder.display()));
    }
    let reply: Reply =
        serde_json::from_str(&answer).map_err(|e| format!("not understood: {e}: {answer}"))?;
    if reply.ok {
        Ok(reply.message)
    } else {
        Err(reply.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request reaches the launcher, and its reply the caller. Nonsense gets a reply. Without a
    /// bazaar the error says so. The end removes the socket.
    #[test]
    fn a_request_reaches_the_launcher_and_its_reply_the_caller() {
        let folder = tempfile::tempdir().expect("a folder");
        let nobody = ask(folder.path(), Action::Kill, Service::Catalog).expect_err("nobody");
        assert!(
            nobody.contains("no bazaar runs in") && nobody.contains("make run-all"),
            "{nobody}"
        );
        let control = Control::listen(folder.path()).expect("listens");
        let asking = {
            let folder = folder.path().to_owned();
            std::thread::spawn(move || ask(&folder, Action::Restart, Service::Order(3)))
        };
        let asked = control
            .asked()
            .recv_timeout(Duration::from_secs(10))
            .expect("arrives");
        assert_eq!(
            (asked.action, asked.service),
            (Action::Restart, Service::Order(3))
        );
        asked
            .reply
            .send(Reply {
                ok: false,
                message: "no".into(),
            })
            .expect("waits");
        assert_eq!(asking.join().expect("joins"), Err("no".into()));

        let mut stream = UnixStream::connect(socket_path(folder.path())).expect("connects");
        stream.write_all(b"hello\n").expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        assert!(answer.contains("\"ok\":false"), "{answer}");
        drop(control);
        assert!(!socket_path(folder.path()).exists());
    }
}
