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
mod screen;

pub use control::{Action, ask};

use client::api::Api;
use cluster::addresses::{Addresses, is_free};
use cluster::service::Service;
use cluster::{Cluster, ClusterError, START_TIMEOUT, Spec};
use common::database::with_suffix;
use common::filelock::FileLock;
use common::port_owner::{listener, listener_pid};
use common::private;
use common::settings::addresses::ListenAddress;
use common::shutdown::StopSignal;
use common::terminal::shell_word;
use control::{Asked, Control, Reply};
use crossbeam::channel::RecvTimeoutError;
use folder::write_anew;
use follow::Follower;
use screen::Screen;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The default folder.
pub const DEFAULT_FOLDER: &str = "run";

/// File in the folder with the front-end's URL.
const URL_FILE: &str = "url";
/// Name of the folder of the process ids.
const PIDS: &str = "pids";
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

/// URL of the front-end that ran last in this folder.
pub fn saved_url(folder: &Path) -> Option<String> {
    Some(
        fs::read_to_string(folder.join(URL_FILE))
            .ok()?
            .trim()
            .to_owned(),
    )
}

/// The running processes of the bazaar in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Running {
    pub launcher: bool,
    /// By service.
    pub pids: BTreeMap<String, u32>,
}

impl Running {
    pub fn is_any(&self) -> bool {
        self.launcher || !self.pids.is_empty()
    }
}

/// Finds the running processes of the bazaar in this folder. The files of process ids do not
/// suffice: after a kill of the launcher, or a reboot, their numbers belong to no process or to
/// another program. So a service counts if a process holds the lock of its file. A front-end has no
/// file; it counts if the process with its id listens on its port. The system ends lock and
/// listener with the process.
pub fn running(folder: &Path) -> Running {
    let files = fs::read_dir(folder.join(PIDS))
        .into_iter()
        .flatten()
        .flatten();
    let port = saved_url(folder).and_then(|url| url.rsplit_once(':')?.1.parse().ok());
    let look = |path: PathBuf| {
        let service = path.file_stem()?.to_str()?.to_owned();
        let holder = match service.parse().ok()? {
            Service::Frontend(_) => {
                let started: u32 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
                listener_pid(port?).filter(|pid| *pid == started)
            }
            _ => FileLock::holder(&folder.join(format!("{service}.db"))),
        };
        Some((service, holder?))
    };
    Running {
        launcher: FileLock::is_held(&folder.join("bazaar")),
        pids: files.filter_map(|file| look(file.path())).collect(),
    }
}

/// The command that restarts or kills a service of the bazaar in this folder.
pub fn command(folder: &Path, action: Action, service: &dyn Display) -> String {
    let action = action.word();
    if folder == Path::new(DEFAULT_FOLDER) {
        return format!(
            "make {action} ID={}",
            service.to_string().trim_start_matches("order")
        );
    }
    let folder = folder.display().to_string();
    format!("bazaar {action} {service} --dir {}", shell_word(&folder))
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
        self.screen
            .note("starting: catalog, three replicas of the order service, front-end");
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
        self.screen.note(&format!(
            "stopped; all trades are in {}",
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

/// Checks all ports before anything starts, and names all taken ones in one error.
fn check_ports(addresses: &Addresses, public: &ListenAddress) -> Result<(), String> {
    let all = addresses.all();
    let twice = all.iter().enumerate().find_map(|(i, (service, address))| {
        let address = ListenAddress::from(*address);
        let mut before = all[..i].iter();
        let other = before.find(|(_, other)| address.collides_with(&(*other).into()))?;
        Some(format!(
            "{address} is the address of both {} and {service}: each needs a port of its own",
            other.0
        ))
    });
    if let Some(twice) = twice {
        return Err(twice);
    }
    let mut taken: Vec<_> = all
        .iter()
        .filter(|(_, address)| !is_free(*address))
        .cloned()
        .collect();
    // Further addresses of a name. The front-end skips an address that this machine does not have,
    // so only a port in use is an error.
    let further = public.all().iter().filter(|a| **a != public.one());
    let in_use = further.filter(|address| {
        TcpListener::bind(address).is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse)
    });
    taken.extend(in_use.map(|address| ("front-end, for clients".into(), *address)));
    if taken.is_empty() {
        return Ok(());
    }
    let mut message = String::from("these addresses cannot be listened on; nothing was started:");
    for (service, address) in &taken {
        let owner =
            listener(address.port()).map_or(String::new(), |owner| format!(": {owner} has it"));
        message += &format!("\n  {address} ({service}){owner}");
    }
    let port = taken[0].1.port();
    message += &format!(
        "\nstop the programs that use them ('ss -ltnp sport = :{port}' shows one), \
         or take other ports: bazaar run --ports-from 9000"
    );
    Err(message)
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
    use std::net::Ipv4Addr;

    /// The error names every taken address with its service, and the remedy.
    #[test]
    fn taken_ports_are_named() {
        let used = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| Ok((l.local_addr()?, l)))
            .expect("a port");
        let mut addresses = Addresses::consecutive(1, 3, 1);
        addresses.orders[1] = used.0;
        let public = addresses.frontends[0].public.into();
        let error = check_ports(&addresses, &public).expect_err("one is taken");
        assert!(
            error.contains(&format!("{} (order2)", used.0)) && error.contains("--ports-from"),
            "{error}"
        );
    }

    /// The command in a message fits the folder of the bazaar.
    #[test]
    fn commands_in_messages_fit_the_folder() {
        let replica = Service::Order(3);
        assert_eq!(
            command(Path::new("run"), Action::Restart, &replica),
            "make restart ID=3"
        );
        assert_eq!(
            command(Path::new("run"), Action::Kill, &Service::Catalog),
            "make kill ID=catalog"
        );
        assert_eq!(
            command(Path::new("/x"), Action::Restart, &replica),
            "bazaar restart order3 --dir /x"
        );
        assert_eq!(
            command(Path::new("/a b; reboot"), Action::Kill, &replica),
            "bazaar kill order3 --dir '/a b; reboot'"
        );
    }

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
