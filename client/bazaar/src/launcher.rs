//! `bazaar run`: all services on this machine, their logs on one terminal, and a warning in
//! capitals when one dies. Nothing restarts by itself.
//!
//! One thread runs the loop, in short steps. It prints new lines of the logs, looks for services
//! that died, and waits for readiness. It carries out the requests of `bazaar kill` and `bazaar
//! restart` from the control socket, so that a restarted service is this program's child again. It
//! stops everything on Ctrl-C, SIGTERM, or a SIGHUP that is not ignored.
//!
//! Only the owner can read the folder. It holds the services' files (`*.db`), `logs/`,
//! `pids/<service>.pid`, the front-end's `url`, the `token` of internal calls, and `control.sock`.

mod control;
mod folder;
mod follow;
mod ports;
mod running;
mod screen;

pub use control::{Action, ask};
pub use running::{Running, command, running, saved_url};

use client::api::Api;
use cluster::addresses::Addresses;
use cluster::service::Service;
use cluster::{Cluster, ClusterError, START_TIMEOUT, Spec};
use common::database::with_suffix;
use common::filelock::FileLock;
use common::private;
use common::settings::addresses::ListenAddress;
use common::shutdown::StopSignal;
use control::{Asked, Control, Reply};
use crossbeam::channel::RecvTimeoutError;
use folder::write_anew;
use follow::Follower;
use ports::check_ports;
use running::{PIDS, URL_FILE};
use screen::Screen;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The default folder.
pub const DEFAULT_FOLDER: &str = "run";

/// Length of a step of the loop: the longest time until a line of a log appears.
const STEP: Duration = Duration::from_millis(50);
/// Longest time for which a request to the front-end may block the loop.
const POLL_TIMEOUT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub struct Options {
    pub folder: PathBuf,
    pub addresses: Addresses,
    /// The front-end's public listener, with every address of a name.
    pub public: ListenAddress,
    /// The database that the catalogs share; none: the catalog has a file in the folder.
    pub shared_database: Option<String>,
    /// Token of internal calls; none: a random one.
    pub token: Option<String>,
}

/// Runs the bazaar until Ctrl-C or SIGTERM.
///
/// # Errors
/// Why it could not be started or stopped, with the remedy.
pub fn run(options: Options) -> Result<(), String> {
    let folder = options.folder.clone();
    private::umask();
    if !folder.exists() {
        // Before the folder is made: a start that fails for its ports must leave none. Where the
        // folder exists, its lock comes first: "a bazaar runs here" explains taken ports.
        check_ports(&options.addresses, &options.public)?;
    }
    let tightened = folder::take(&folder)?;
    let _alone = take_folder(&folder)?;
    check_ports(&options.addresses, &options.public)?;
    let stop = StopSignal::listen().map_err(|e| format!("cannot listen to signals: {e}"))?;
    let mut spec = Spec::new(&folder, options.addresses);
    spec.inherit = true;
    spec.own_groups = true;
    spec.set_for(
        spec.frontend(0),
        "FRONTEND_LISTEN",
        &options.public.to_string(),
    );
    spec.shared_database = options.shared_database;
    spec.token = options.token.or(spec.token);
    let token = format!("{}\n", spec.token.as_deref().unwrap_or_default());
    write_anew(&folder.join("token"), &token)
        .map_err(|e| format!("cannot write {}: {e}", folder.join("token").display()))?;
    let control = Control::listen(&folder)?;
    // For `bazaar status`. Like the process ids it is a help for people: a failed write stops
    // nothing.
    drop(write_anew(
        &folder.join(URL_FILE),
        &format!("http://{}\n", spec.addresses.frontends[0].public),
    ));
    let mut cluster = Cluster::prepare(spec).map_err(text)?;
    // Before the services start: lines that are there now belong to an earlier run.
    let follower = Follower::new(
        cluster
            .services()
            .into_iter()
            .map(|service| (service, cluster.log_path(service))),
    );
    for service in cluster.services() {
        cluster.start_service(service).map_err(text)?;
    }
    let mut launcher = Launcher {
        folder,
        cluster,
        follower,
        screen: Screen::new(),
        ready: Ready::Since(Instant::now()),
    };
    launcher.write_pids();
    if let Some(word) = tightened {
        launcher.screen.note(&word);
    }
    let outcome = launcher.watch(&control, &stop);
    // First the control socket: nobody can restart a service while the others stop.
    drop(control);
    outcome.and(launcher.stop())
}

struct Launcher {
    folder: PathBuf,
    cluster: Cluster,
    follower: Follower,
    screen: Screen,
    ready: Ready,
}

enum Ready {
    /// Not yet; the start was at this time.
    Since(Instant),
    /// Not yet, and the warning about it is printed.
    Late,
    /// Ready, and the welcome is printed.
    Announced,
}

impl Launcher {
    /// The loop, until a signal comes.
    fn watch(&mut self, control: &Control, stop: &StopSignal) -> Result<(), String> {
        let url = self.cluster.url(0);
        let api = Api::with_timeout(&url, POLL_TIMEOUT);
        let catalogs = match self.cluster.spec().catalogs().len() {
            1 => "catalog".into(),
            several => format!("{several} catalogs"),
        };
        self.screen.note(&format!(
            "starting: {catalogs}, three replicas of the order service, front-end"
        ));
        while stop.received().is_none() {
            self.show_logs();
            for word in self.follower.bound() {
                self.screen.note(&word);
            }
            self.look_for_deaths()?;
            if !matches!(self.ready, Ready::Announced) {
                self.look_whether_ready(&api, &url);
            }
            match control.asked().recv_timeout(STEP) {
                Ok(Asked {
                    action,
                    service,
                    reply,
                }) => {
                    // The caller may have gone away: its connection is closed then.
                    let _ = reply.send(self.carry_out(action, service));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the control socket's thread ended".into());
                }
            }
        }
        let signal = stop.received().unwrap_or_default();
        self.screen.note(&format!("{signal} came"));
        Ok(())
    }

    fn show_logs(&mut self) {
        let screen = &mut self.screen;
        self.follower
            .poll(|service, line| screen.log_line(service, line));
    }

    fn look_for_deaths(&mut self) -> Result<(), String> {
        for (service, status) in self.cluster.died() {
            self.show_logs();
            self.remove_pid(service);
            if !matches!(self.ready, Ready::Announced) {
                let log = self.cluster.log_path(service);
                return Err(format!(
                    "{service} ended before the bazaar was ready ({status}); {}",
                    where_to_look(&log)
                ));
            }
            self.warn_of_death(service, &format!("has died ({status})"));
        }
        Ok(())
    }

    fn warn_of_death(&mut self, service: Service, how: &str) {
        let remedy = command(&self.folder, Action::Restart, &service);
        self.screen.loud(
            &format!("{service} {how}"),
            &format!("bring it back with: {remedy}"),
        );
    }

    fn look_whether_ready(&mut self, api: &Api, url: &str) {
        let reason = match api.get("/readyz") {
            Ok(answer) if answer.status == 200 => {
                self.ready = Ready::Announced;
                // An example for the welcome: the usual stock where it exists, otherwise any.
                let stocks = api.stocks().unwrap_or_default();
                let usual = stocks
                    .iter()
                    .find(|stock| stock.name == "GameStart")
                    .or(stocks.first());
                let stock = usual.map_or("GameStart", |stock| stock.name.as_str());
                return self.screen.welcome(url, stock, &self.folder);
            }
            Ok(answer) => answer.error_message().unwrap_or(answer.body),
            Err(error) => error.to_string(),
        };
        if matches!(self.ready, Ready::Since(started) if started.elapsed() > START_TIMEOUT) {
            self.ready = Ready::Late;
            self.screen.loud(
                "the front-end is still not ready",
                &format!("its reason: {reason}"),
            );
        }
    }

    fn carry_out(&mut self, action: Action, service: Service) -> Reply {
        let outcome = match action {
            Action::Kill => self.kill(service),
            Action::Restart => self.restart(service),
        };
        match outcome {
            Ok(message) => Reply { ok: true, message },
            Err(error) => Reply {
                ok: false,
                message: error.to_string(),
            },
        }
    }

    fn kill(&mut self, service: Service) -> Result<String, ClusterError> {
        self.known(service)?;
        let remedy = command(&self.folder, Action::Restart, &service);
        self.cluster
            .kill(service)
            .map_err(|e| ClusterError::new(format!("{e}; bring it back with: {remedy}")))?;
        self.remove_pid(service);
        self.show_logs();
        self.warn_of_death(service, "was killed (SIGKILL), as asked");
        Ok(format!(
            "{service} was killed (SIGKILL); bring it back with: {remedy}"
        ))
    }

    fn restart(&mut self, service: Service) -> Result<String, ClusterError> {
        self.known(service)?;
        self.screen.note(&format!("restarting {service}, as asked"));
        let outcome = self.cluster.restart(service);
        self.write_pids();
        outcome?;
        let pid = self.cluster.pid(service).unwrap_or_default();
        self.screen
            .note(&format!("{service} runs again, with process id {pid}"));
        Ok(format!("{service} runs again, with process id {pid}"))
    }

    fn known(&self, service: Service) -> Result<(), ClusterError> {
        let services = self.cluster.services();
        if services.contains(&service) {
            return Ok(());
        }
        let names: Vec<String> = services.iter().map(ToString::to_string).collect();
        Err(ClusterError::new(format!(
            "there is no {service} here, only {}",
            names.join(", ")
        )))
    }

    /// Stops everything, and prints the last lines of the logs.
    fn stop(&mut self) -> Result<(), String> {
        self.screen.note("stopping");
        let outcome = self.cluster.stop_all();
        self.show_logs();
        for service in self.cluster.services() {
            self.remove_pid(service);
        }
        outcome.map_err(text)?;
        let database = match self.cluster.spec().shared_database {
            None => "",
            Some(_) => "the database and ",
        };
        self.screen.note(&format!(
            "stopped; all trades are in {database}{}",
            self.folder.display()
        ));
        Ok(())
    }

    fn pid_path(&self, service: Service) -> PathBuf {
        self.folder.join(PIDS).join(format!("{service}.pid"))
    }

    /// The files are a help for people. Nothing here depends on them, so a full disk stops nothing.
    fn write_pids(&self) {
        for service in self.cluster.services() {
            match self.cluster.pid(service) {
                Some(pid) => drop(write_anew(&self.pid_path(service), &format!("{pid}\n"))),
                None => self.remove_pid(service),
            }
        }
    }

    fn remove_pid(&self, service: Service) {
        let _ = fs::remove_file(self.pid_path(service));
    }
}

/// Locks the folder: it belongs to one launcher at a time.
pub(crate) fn take_folder(folder: &Path) -> Result<FileLock, String> {
    FileLock::take(&folder.join("bazaar")).map_err(|error| {
        if error.kind() == io::ErrorKind::ResourceBusy {
            format!(
                "a bazaar runs in {} already: stop it (Ctrl-C there), \
                 or name another folder with --dir",
                folder.display()
            )
        } else {
            error.to_string()
        }
    })
}

/// The place that explains a service's end. On a full disk the log may be empty, and then the error
/// of a write explains it.
fn where_to_look(log: &Path) -> String {
    let is_empty = fs::metadata(log).map_or(true, |log| log.len() == 0);
    let probe = with_suffix(log, ".probe");
    let written = fs::write(&probe, [0; 4_096]);
    let _ = fs::remove_file(&probe);
    match written {
        Err(error) if is_empty => format!(
            "it could not write its log, {}: {error}; \
             make room, or name another folder with --dir",
            log.display()
        ),
        _ => format!("see above, or {}", log.display()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: ClusterError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder belongs to one launcher.
    #[test]
    fn a_folder_has_one_launcher() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = take_folder(folder.path()).expect("free");
        assert!(
            take_folder(folder.path())
                .expect_err("held")
                .contains("runs in")
        );
        drop(held);
    }
}
