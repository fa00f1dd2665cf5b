//! `bazaar run`: all services on this machine, their logs on one terminal, and a loud word when one
//! dies. Nothing restarts by itself.
//!
//! One thread does it all, in short steps: prints what is new in the logs, looks for services that
//! died, waits for readiness, carries out what `bazaar kill` and `bazaar restart` ask over the
//! control socket (so that a restarted service is this program's child again), and stops everything
//! on Ctrl-C, SIGTERM, or a SIGHUP that is not ignored.
//!
//! In the folder, which is its owner's alone: `*.db` the services' files, `logs/`,
//! `pids/<service>.pid`, `url` of the front-end, `token` (what internal calls must show),
//! `control.sock`.

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

/// Folder that is used when none is named.
pub const DEFAULT_FOLDER: &str = "run";

/// File in the folder that tells where the front-end is.
const URL_FILE: &str = "url";
/// Folder in it of the process ids.
const PIDS: &str = "pids";
/// One step of the loop: how long a line of a log waits to be shown.
const STEP: Duration = Duration::from_millis(50);
/// How long one look at the front-end may hold the loop up.
const LOOK_TIMEOUT: Duration = Duration::from_millis(300);

/// How `bazaar run` was called.
#[derive(Debug)]
pub struct Options {
    /// Where state and logs are.
    pub folder: PathBuf,
    /// Where the services listen.
    pub addresses: Addresses,
    /// Where the front-end listens for clients: every address of a name.
    pub public: ListenAddress,
    /// What internal calls must show; none: a random one.
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
        // A start that fails for its ports leaves no folder. Where there is one, that another
        // bazaar runs in it says more than whose ports are taken.
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
    // For `bazaar status`; like the process ids a help, which nothing depends on.
    drop(write_anew(
        &folder.join(URL_FILE),
        &format!("http://{}\n", spec.addresses.frontends[0].public),
    ));
    let mut cluster = Cluster::prepare(spec).map_err(text)?;
    // Where the logs end now: what is already there was shown by an earlier run.
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
    // Nothing new is asked of a bazaar that is being stopped.
    drop(control);
    outcome.and(launcher.stop())
}

/// Where the front-end of the bazaar in this folder was started last.
#[must_use]
pub fn saved_url(folder: &Path) -> Option<String> {
    Some(
        fs::read_to_string(folder.join(URL_FILE))
            .ok()?
            .trim()
            .to_owned(),
    )
}

/// What runs of the bazaar in a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// Whether its launcher does.
    pub launcher: bool,
    /// The process ids of its services.
    pub pids: BTreeMap<String, u32>,
}

impl Running {
    /// Whether anything does.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.launcher || !self.pids.is_empty()
    }
}

/// Looks what runs of the bazaar in this folder. The files of process ids only say what was started
/// once: after a kill of the launcher, or a reboot, their numbers are nobody's or another program's.
/// So a service counts when a process holds the lock of its file, and a front-end, which has none,
/// when the process that was started listens where it was to listen. The system takes both away
/// with the process.
#[must_use]
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

/// The words that bring a service back, or take it away, for a bazaar in this folder.
#[must_use]
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
    /// Not yet; started then.
    Since(Instant),
    /// Not yet, and said that it takes long.
    Late,
    /// Yes.
    Told,
}

impl Launcher {
    /// The loop, until told to stop.
    fn watch(&mut self, control: &Control, stop: &StopSignal) -> Result<(), String> {
        let url = self.cluster.url(0);
        let api = Api::with_timeout(&url, LOOK_TIMEOUT);
        self.screen
            .note("starting: catalog, three replicas of the order service, front-end");
        while stop.received().is_none() {
            self.show_logs();
            for word in self.follower.bound() {
                self.screen.note(&word);
            }
            self.look_for_deaths()?;
            if !matches!(self.ready, Ready::Told) {
                self.look_whether_ready(&api, &url);
            }
            match control.asked().recv_timeout(STEP) {
                Ok(Asked {
                    action,
                    service,
                    reply,
                }) => {
                    // Whoever asked may have gone.
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
            if !matches!(self.ready, Ready::Told) {
                let log = self.cluster.log_path(service);
                return Err(format!(
                    "{service} ended before the bazaar was ready ({status}); {}",
                    where_to_look(&log)
                ));
            }
            self.tell_death(service, &format!("has died ({status})"));
        }
        Ok(())
    }

    fn tell_death(&mut self, service: Service, how: &str) {
        let remedy = command(&self.folder, Action::Restart, &service);
        self.screen.loud(
            &format!("{service} {how}"),
            &format!("bring it back with: {remedy}"),
        );
    }

    fn look_whether_ready(&mut self, api: &Api, url: &str) {
        let reason = match api.get("/readyz") {
            Ok(answer) if answer.status == 200 => {
                self.ready = Ready::Told;
                // Any stock does for an example; the first of the usual ones, where it is there.
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
                &format!("it says: {reason}"),
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
        self.tell_death(service, "was killed (SIGKILL), as asked");
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

    /// Stops everything, and shows what the services say meanwhile.
    fn stop(&mut self) -> Result<(), String> {
        self.screen.note("stopping");
        let outcome = self.cluster.stop_all();
        self.show_logs();
        for service in self.cluster.services() {
            self.remove_pid(service);
        }
        outcome.map_err(text)?;
        self.screen.note(&format!(
            "stopped; what was traded is in {}",
            self.folder.display()
        ));
        Ok(())
    }

    fn pid_path(&self, service: Service) -> PathBuf {
        self.folder.join(PIDS).join(format!("{service}.pid"))
    }

    /// The files are a help for people; nothing here depends on them, so that a full disk stops
    /// nothing.
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

/// One launcher per folder.
pub(crate) fn take_folder(folder: &Path) -> Result<FileLock, String> {
    FileLock::take(&folder.join("bazaar")).map_err(|error| {
        if error.kind() == io::ErrorKind::ResourceBusy {
            format!(
                "a bazaar runs in {} already: stop it (Ctrl-C there), or name another folder with --dir",
                folder.display()
            )
        } else {
            error.to_string()
        }
    })
}

/// All ports are checked before anything starts, and all that are taken are named together.
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
    // Further addresses of a name: one that this machine does not have is left out by the
    // front-end.
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
        let who = listener(address.port()).map_or(String::new(), |who| format!(": {who} has it"));
        message += &format!("\n  {address} ({service}){who}");
    }
    let port = taken[0].1.port();
    message += &format!(
        "\nstop what uses them ('ss -ltnp sport = :{port}' shows it), or take other ports: bazaar run --ports-from 9000"
    );
    Err(message)
}

/// Where the reason of a service's end is to be found. A full disk takes no log either.
fn where_to_look(log: &Path) -> String {
    let is_empty = fs::metadata(log).map_or(true, |log| log.len() == 0);
    let probe = with_suffix(log, ".probe");
    let written = fs::write(&probe, [0; 4_096]);
    let _ = fs::remove_file(&probe);
    match written {
        Err(error) if is_empty => format!(
            "it could not write its log, {}: {error}; make room, or name another folder with --dir",
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

    /// Every taken address is named with its service, and the remedy.
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

    /// The advice fits where the bazaar runs.
    #[test]
    fn advice() {
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
