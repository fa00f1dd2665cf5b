//! A bazaar whose services are containers with addresses of their own.
//!
//! Two networks are made for it. Services call each other by name on the internal one, out of which
//! no way leads. Front-ends are on the public one too, and their public API has a port of this
//! machine, which stays the same when a front-end gets another address.
//!
//! Everything has a label with the bazaar's name, by which all of it is removed in the end.

use super::engine::{self, LABEL, docker, must};
use super::links;
use crate::tool::Running;
use client::api::Api;
use cluster::addresses::PortBlock;
use cluster::service::Service::{self, Catalog, Frontend, Order, OtherCatalog};
use cluster::wait;
use common::secret;
use common::wire::catalog::CatalogHealth;
use common::wire::public::Status;
use common::wire::replica::Health;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The user of the image.
const USER: u32 = 10_001;
/// Front-ends.
pub const FRONTENDS: u8 = 2;
/// All services.
pub const SERVICES: [Service; 6] = [
    Catalog,
    Order(1),
    Order(2),
    Order(3),
    Frontend(1),
    Frontend(2),
];
/// Deadline for what takes some seconds on a machine that does nothing else.
pub const SOON: Duration = Duration::from_secs(60);
/// Time-out of one request to a service.
const POLL_TIMEOUT: Duration = Duration::from_secs(2);
/// Subnets that are tried for the two networks, until the engine takes them.
const SUBNETS: u8 = 50;
/// Where `libfaketime` is in a container that has it.
const FAKETIME: &str = "/faketime.so";

/// A running bazaar.
#[derive(Debug)]
pub struct Hosts {
    name: String,
    image: String,
    built: bool,
    token: String,
    folder: Option<TempDir>,
    /// First two bytes of the internal network's addresses, and its last byte in use.
    subnet: (u8, u8),
    last: u8,
    addresses: BTreeMap<Service, Ipv4Addr>,
    ports: PortBlock,
    /// Services that were killed or stopped, and may be down.
    pub down: BTreeSet<Service>,
    /// Settings of one service, beside the usual ones.
    settings: BTreeMap<Service, Vec<String>>,
    pub(super) delays: Vec<Running>,
    closed: bool,
}

impl Hosts {
    /// Builds the image and starts all services.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    pub fn start() -> Self {
        let name = format!("bazaar-{}", &secret::hex(4));
        let (image, built) = engine::image(&name);
        let folder = tempfile::Builder::new()
            .prefix("bazaar-hosts-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        let mut hosts = Self {
            name,
            image,
            built,
            token: secret::hex(32),
            folder: Some(folder),
            subnet: (0, 0),
            last: 10,
            addresses: BTreeMap::new(),
            ports: PortBlock::take().expect("there are free ports"),
            down: SERVICES.into_iter().collect(),
            settings: BTreeMap::new(),
            delays: Vec::new(),
            closed: false,
        };
        hosts.make_networks();
        let token = hosts.folder().join("token");
        fs::write(&token, &hosts.token).expect("the token is written");
        // The folder above keeps others out; in the container its user must read it.
        fs::set_permissions(&token, fs::Permissions::from_mode(0o444)).expect("permissions");
        fs::create_dir(hosts.folder().join("logs")).expect("a folder");
        for service in SERVICES {
            let data = hosts.data(service);
            fs::create_dir_all(&data).expect("a folder");
            chown(&data, Some(USER), Some(USER)).expect("the folder is the user's");
            hosts.create(service);
        }
        for service in SERVICES {
            hosts.start_service(service);
        }
        hosts.wait_ready();
        hosts
    }

    fn make_networks(&mut self) {
        let label = self.label();
        must(&[
            "network",
            "create",
            "--label",
            &label,
            &self.network("public"),
        ]);
        let network = self.network("internal");
        let first = fastrand::u8(..);
        let free = (0..SUBNETS).find(|step| {
            let third = first.wrapping_add(*step);
            let subnet = format!("10.213.{third}.0/24");
            let made = docker(&[
                "network",
                "create",
                "--internal",
                "--label",
                &label,
                "--subnet",
                &subnet,
                &network,
            ]);
            self.subnet = (213, third);
            made.is_ok()
        });
        assert!(free.is_some(), "the engine takes none of {SUBNETS} subnets");
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    fn network(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    /// Name of a service's container.
    fn container(&self, service: Service) -> String {
        format!("{}-{service}", self.name)
    }

    /// Where its files and logs are.
    ///
    /// # Panics
    /// Never: it has a folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().expect("it has a folder").path().into()
    }

    /// The folder of a service's files.
    pub fn data(&self, service: Service) -> PathBuf {
        self.folder().join("data").join(service.to_string())
    }

    /// The file of a service.
    pub fn database(&self, service: Service) -> PathBuf {
        self.data(service).join(format!("{}.db", service.binary()))
    }

    /// A service's address on the internal network.
    ///
    /// # Panics
    /// When it has none.
    pub fn address(&self, service: Service) -> Ipv4Addr {
        self.addresses[&service]
    }

    fn next_address(&mut self) -> Ipv4Addr {
        self.last = self.last.checked_add(1).expect("a run takes few addresses");
        Ipv4Addr::new(10, self.subnet.0, self.subnet.1, self.last)
    }

    /// Makes a service's container, with an address that none had before.
    fn create(&mut self, service: Service) {
        let address = self.next_address();
        self.addresses.insert(service, address);
        let (name, label) = (self.container(service), self.label());
        let data = format!("{}:/data", self.data(service).display());
        let token = format!(
            "{}:/run/secrets/token:ro",
            self.folder().join("token").display()
        );
        let mut arguments: Vec<String> = [
            "create",
            "--name",
            &name,
            "--label",
            &label,
            "--hostname",
            &service.to_string(),
            "--read-only",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--tmpfs=/tmp",
            "--ulimit=nofile=20000",
            "--volume",
            &data,
            "--volume",
            &token,
        ]
        .map(Into::into)
        .into();
        for (variable, value) in self.environment(service) {
            arguments.push(format!("--env={variable}={value}"));
        }
        arguments.extend(self.settings.get(&service).cloned().unwrap_or_default());
        let internal = self.network("internal");
        if let Some(port) = self.public_port(service) {
            arguments.push(format!("--network={}", self.network("public")));
            arguments.push(format!("--publish=127.0.0.1:{port}:8080"));
        } else {
            arguments.push(format!("--network={internal}"));
            arguments.push(format!("--network-alias={service}"));
            arguments.push(format!("--ip={address}"));
        }
        arguments.extend([self.image.clone(), service.binary().into()]);
        must(&arguments);
        if self.public_port(service).is_some() {
            self.connect(service);
        }
    }

    fn connect(&self, service: Service) {
        must(&[
            "network",
            "connect",
            "--alias",
            &service.to_string(),
            "--ip",
            &self.address(service).to_string(),
            &self.network("internal"),
            &self.container(service),
        ]);
    }

    fn environment(&self, service: Service) -> Vec<(&'static str, String)> {
        let replicas = (1..=3).map(|id| format!("{id}=http://order{id}:720{id}"));
        let server = std::env::var("BAZAAR_INTERNAL_SERVER").unwrap_or_else(|_| "edge".into());
        let mut all = vec![
            ("BAZAAR_TOKEN_FILE", "/run/secrets/token".into()),
            ("BAZAAR_INTERNAL_SERVER", server),
            ("CATALOG_URL", "http://catalog:7100".into()),
            ("ORDER_REPLICAS", replicas.collect::<Vec<_>>().join(",")),
        ];
        match service {
            Catalog | OtherCatalog(_) => all.extend([
                ("CATALOG_LISTEN", "0.0.0.0:7100".into()),
                ("CATALOG_DB", "/data/catalog.db".into()),
            ]),
            Order(id) => all.extend([
                ("ORDER_ID", id.to_string()),
                ("ORDER_LISTEN", format!("0.0.0.0:720{id}")),
                ("ORDER_DB", "/data/order.db".into()),
            ]),
            Frontend(_) => all.extend([
                ("FRONTEND_LISTEN", "0.0.0.0:8080".into()),
                ("FRONTEND_INTERNAL_LISTEN", "0.0.0.0:7000".into()),
                ("FRONTEND_INTERNAL_URL", format!("http://{service}:7000")),
            ]),
        }
        all
    }

    fn public_port(&self, service: Service) -> Option<u16> {
        match service {
            Frontend(n) => self.ports.ports().nth(usize::from(n)),
            _ => None,
        }
    }

    /// The front-ends' public URLs on this machine.
    pub fn urls(&self) -> Vec<String> {
        let ports = (1..=FRONTENDS).filter_map(|n| self.public_port(Frontend(n)));
        ports
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    /// A client of a service's internal listener, with the token.
    pub fn internal(&self, service: Service) -> Api {
        let port = match service {
            Catalog | OtherCatalog(_) => 7_100,
            Order(id) => 7_200 + u16::from(id),
            Frontend(_) => 7_000,
        };
        let url = format!("http://{}:{port}", self.address(service));
        Api::with_timeout(&url, POLL_TIMEOUT).with_token(&self.token)
    }

    /// A replica's own health.
    pub fn health(&self, id: u8) -> Option<Health> {
        self.internal(Order(id)).internal("/health").ok()
    }

    /// A status from any front-end that answers.
    pub fn status(&self) -> Option<Status> {
        let urls = self.urls();
        urls.iter()
            .find_map(|url| Api::with_timeout(url, POLL_TIMEOUT).status().ok())
    }

    /// The leader, once there is one.
    ///
    /// # Panics
    /// When none is found.
    pub fn leader(&self) -> u8 {
        let leader = wait::until(SOON, || self.status()?.leader);
        leader.map(u8::from).expect("a leader is found")
    }

    /// Starts a service's container.
    pub fn start_service(&mut self, service: Service) {
        must(&["start", &self.container(service)]);
        self.down.remove(&service);
    }

    /// Kills a service.
    pub fn kill(&mut self, service: Service) {
        self.down.insert(service);
        must(&["kill", "--signal=KILL", &self.container(service)]);
        self.wait_ended(service);
    }

    /// Stops a service as an engine does.
    ///
    /// # Panics
    /// When it does not end with code 0.
    pub fn stop(&mut self, service: Service) {
        self.down.insert(service);
        must(&["stop", "--time=15", &self.container(service)]);
        self.wait_ended(service);
        let code = self.inspect(service, "{{.State.ExitCode}}");
        assert_eq!(code, "0", "exit code of {service} after SIGTERM");
    }

    fn wait_ended(&self, service: Service) {
        let ended = wait::until(SOON, || {
            (self.inspect(service, "{{.State.Running}}") == "false").then_some(())
        });
        assert!(ended.is_some(), "{service} does not end");
    }

    /// Freezes a service.
    pub fn pause(&mut self, service: Service) {
        must(&["pause", &self.container(service)]);
    }

    /// Lets a frozen service go on.
    pub fn resume(&mut self, service: Service) {
        must(&["unpause", &self.container(service)]);
    }

    /// Removes a service that was killed or stopped, and makes it anew on another address.
    pub fn recreate(&mut self, service: Service) {
        assert!(self.down.contains(&service), "{service} runs");
        self.keep_log(service);
        must(&["rm", "--force", &self.container(service)]);
        self.create(service);
        self.start_service(service);
    }

    /// Settings of one service from its next [`Hosts::recreate`] on, as arguments of the engine.
    pub fn set(&mut self, service: Service, arguments: Vec<String>) {
        self.settings.insert(service, arguments);
    }

    /// Arguments that let a service's wall clock be off; `None` where libfaketime is missing.
    pub fn other_clock(offset: &str) -> Option<Vec<String>> {
        let folder = Path::new("/usr/lib/x86_64-linux-gnu/faketime");
        let library = folder.join("libfaketimeMT.so.1");
        library.exists().then(|| {
            vec![
                format!("--volume={}:{FAKETIME}:ro", library.display()),
                format!("--env=LD_PRELOAD={FAKETIME}"),
                format!("--env=FAKETIME={offset}"),
                // Leases and time-outs count the monotonic clock, which no administrator sets.
                "--env=DONT_FAKE_MONOTONIC=1".into(),
            ]
        })
    }

    /// Takes a service off the internal network.
    pub fn disconnect(&mut self, service: Service) {
        must(&[
            "network",
            "disconnect",
            &self.network("internal"),
            &self.container(service),
        ]);
    }

    /// Puts a service on the internal network again, with another address.
    pub fn reconnect(&mut self, service: Service) {
        let address = self.next_address();
        self.addresses.insert(service, address);
        self.connect(service);
    }

    /// Process id of a service, whose namespaces this machine can enter.
    pub fn pid(&self, service: Service) -> String {
        self.inspect(service, "{{.State.Pid}}")
    }

    fn inspect(&self, service: Service, format: &str) -> String {
        must(&["inspect", "--format", format, &self.container(service)])
    }

    /// Services that ended unasked, with their exit codes.
    pub fn died(&self) -> Vec<String> {
        let running = SERVICES.into_iter().filter(|s| !self.down.contains(s));
        running
            .filter(|service| self.inspect(*service, "{{.State.Running}}") != "true")
            .map(|service| {
                let code = self.inspect(service, "{{.State.ExitCode}}");
                format!("{service} (exit code {code})\n{}", self.log(service))
            })
            .collect()
    }

    /// Waits until every front-end can trade, as the image's own health check says.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_ready(&self) {
        for n in 1..=FRONTENDS {
            let container = self.container(Frontend(n));
            let url = "http://127.0.0.1:8080/readyz";
            let mut last = String::new();
            let ready = wait::until(SOON, || {
                match docker(&["exec", &container, "bazaar", "healthcheck", url]) {
                    Ok(_) => Some(()),
                    Err(error) => {
                        last = error;
                        None
                    }
                }
            });
            assert!(
                ready.is_some(),
                "{}: {last}; {:?}",
                Frontend(n),
                self.died()
            );
        }
    }

    /// Waits until the leader counts both others as in sync, and until all have the catalog's last
    /// row, if `level`: then nobody may trade meanwhile.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_in_sync(&self, level: bool) {
        let mut last = String::new();
        let done = wait::until(SOON, || {
            let catalog: CatalogHealth = self.internal(Catalog).internal("/health").ok()?;
            let health: Vec<Health> = (1..=3).filter_map(|id| self.health(id)).collect();
            last = format!(
                "the catalog's last is {:?}, replicas: {health:#?}",
                catalog.last
            );
            let in_sync = health
                .iter()
                .any(|h| h.leading.is_some() && h.in_sync.len() == 2);
            let equal = health
                .iter()
                .all(|h| h.last == catalog.last && !h.catching_up);
            (in_sync && health.len() == 3 && (equal || !level)).then_some(())
        });
        assert!(
            done.is_some(),
            "replicas are not in sync: {last}; {:?}",
            self.died()
        );
    }

    /// The log of a service since its container was made.
    fn log(&self, service: Service) -> String {
        let both = format!("exec docker logs {} 2>&1", self.container(service));
        engine::run("sh", &["-c", &both]).unwrap_or_else(|error| error)
    }

    fn keep_log(&self, service: Service) {
        let path = self.folder().join("logs").join(format!("{service}.log"));
        let before = fs::read_to_string(&path).unwrap_or_default();
        let all = format!("{before}{}\n", self.log(service));
        fs::write(&path, all).expect("the log is kept");
    }

    /// Stops everything, and checks that it ends with code 0 and that no log speaks of a panic.
    ///
    /// # Panics
    /// When one does not.
    pub fn stop_all(&mut self) {
        for service in SERVICES.into_iter().rev() {
            self.stop(service);
        }
        for service in SERVICES {
            self.keep_log(service);
            let path = self.folder().join("logs").join(format!("{service}.log"));
            let log = fs::read_to_string(path).expect("a log").to_lowercase();
            let line = log.lines().find(|line| line.contains("panic"));
            assert_eq!(line, None, "{service} panicked");
        }
    }

    /// The test is over and was right.
    pub fn close(mut self) {
        self.closed = true;
    }

    /// Removes every container and network of this bazaar, and the image's name.
    fn remove(&mut self) {
        links::heal(self);
        let filter = format!("label={}", self.label());
        let remove = |list: &[&str], remove: &[&str]| {
            let listed = docker(list).unwrap_or_default();
            let ids: Vec<&str> = listed.split_whitespace().collect();
            if !ids.is_empty()
                && let Err(error) = docker(&[remove, &ids].concat())
            {
                eprintln!("not all could be removed: {error}");
            }
        };
        remove(
            &["ps", "--all", "--quiet", "--filter", &filter],
            &["rm", "--force", "--volumes"],
        );
        remove(
            &["network", "ls", "--quiet", "--filter", &filter],
            &["network", "rm"],
        );
        // The layers stay as the engine's build cache: the next run builds only what changed.
        if self.built
            && let Err(error) = docker(&["rmi", "--no-prune", &self.image])
        {
            eprintln!("the image's name stays: {error}");
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if thread::panicking() {
            for service in SERVICES {
                self.keep_log(service);
            }
        }
        self.remove();
        if thread::panicking() {
            if let Some(folder) = self.folder.take() {
                eprintln!(
                    "files and logs of this test stay in {}",
                    folder.keep().display()
                );
            }
        } else {
            assert!(
                self.closed,
                "a test across hosts ends with the closing checks"
            );
        }
    }
}
