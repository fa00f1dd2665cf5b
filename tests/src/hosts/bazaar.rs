//! A bazaar whose services are containers with addresses of their own.
//!
//! Two networks are made for it. Services call each other by name on the internal one, out of which
//! no way leads. Front-ends are on the public one too, and their public API has a port of this
//! machine, which stays the same when a front-end gets another address.
//!
//! Everything has a label with the bazaar's name, by which all of it is removed in the end.

use super::engine::{self, Image, LABEL, docker, must};
use super::host::{FRONTENDS, Host, Layout};
use super::links;
use crate::tool::Running;
use cluster::addresses::PortBlock;
use cluster::service::Service::{self, Frontend};
use common::secret;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// The user of the image.
const USER: u32 = 10_001;
/// Deadline for what takes some seconds on a machine that does nothing else.
pub const SOON: Duration = Duration::from_secs(60);
/// Subnets that are tried for the two networks, until the engine takes them.
const SUBNETS: u8 = 50;

/// A running bazaar.
#[derive(Debug)]
pub struct Hosts {
    /// Which services it has.
    pub layout: Layout,
    name: String,
    pub(super) image: String,
    pub(super) token: String,
    pub(super) password: String,
    folder: Option<TempDir>,
    /// First two bytes of the internal network's addresses, and its last byte in use.
    subnet: (u8, u8),
    last: u8,
    pub(super) addresses: BTreeMap<Host, Ipv4Addr>,
    ports: PortBlock,
    /// Hosts that were killed or stopped, and may be down.
    pub down: BTreeSet<Host>,
    /// Settings of one host, beside the usual ones.
    pub(super) settings: BTreeMap<Host, Vec<String>>,
    /// Hosts with rules that do harm.
    pub(super) harmed: BTreeSet<Host>,
    pub(super) delays: Vec<Running>,
    closed: bool,
}

impl Hosts {
    /// Starts all services from an image.
    ///
    /// # Panics
    /// When the engine refuses.
    #[must_use]
    pub fn start(layout: Layout, image: &Image) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bazaar-hosts-")
            .tempdir_in("/var/tmp")
            .expect("a folder");
        let mut hosts = Self {
            layout,
            name: format!("bazaar-{}", &secret::hex(4)),
            image: image.name().into(),
            token: secret::hex(32),
            password: secret::hex(16),
            folder: Some(folder),
            subnet: (0, 0),
            last: 10,
            addresses: BTreeMap::new(),
            ports: PortBlock::take().expect("there are free ports"),
            down: layout.hosts().into_iter().collect(),
            settings: BTreeMap::new(),
            harmed: BTreeSet::new(),
            delays: Vec::new(),
            closed: false,
        };
        hosts.make_networks();
        let token = hosts.folder().join("token");
        fs::write(&token, &hosts.token).expect("the token is written");
        // The folder above keeps others out; in the container its user must read it.
        fs::set_permissions(&token, fs::Permissions::from_mode(0o444)).expect("permissions");
        fs::create_dir(hosts.folder().join("logs")).expect("a folder");
        for host in layout.hosts() {
            let data = hosts.data(host);
            fs::create_dir_all(&data).expect("a folder");
            chown(&data, Some(USER), Some(USER)).expect("the folder is the user's");
            hosts.create(host);
        }
        for host in layout.hosts() {
            hosts.start_host(host);
        }
        hosts.wait_ready();
        hosts.health_checks_pass();
        hosts
    }

    fn make_networks(&mut self) {
        let label = self.label();
        let create = ["network", "create", "--label", &label];
        must(&[&create[..], &[&self.network("public")]].concat());
        let network = self.network("internal");
        let first = fastrand::u8(..);
        let free = (0..SUBNETS).find(|step| {
            let third = first.wrapping_add(*step);
            let subnet = format!("10.213.{third}.0/24");
            self.subnet = (213, third);
            let rest = ["--internal", "--subnet", &subnet, &network];
            docker(&[&create[..], &rest].concat()).is_ok()
        });
        assert!(free.is_some(), "the engine takes none of {SUBNETS} subnets");
    }

    pub(super) fn label(&self) -> String {
        format!("{LABEL}={}", self.name)
    }

    pub(super) fn network(&self, kind: &str) -> String {
        format!("{}-{kind}", self.name)
    }

    /// Name of a host's container.
    pub(super) fn container(&self, host: impl Into<Host>) -> String {
        format!("{}-{}", self.name, host.into())
    }

    /// The folder of this bazaar's files and logs.
    ///
    /// # Panics
    /// Never: it has one until it is dropped.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().expect("it has a folder").path().into()
    }

    /// The folder of a host's files.
    pub fn data(&self, host: impl Into<Host>) -> PathBuf {
        self.folder().join("data").join(host.into().to_string())
    }

    /// The file of a service.
    pub fn database(&self, service: Service) -> PathBuf {
        self.data(service).join(format!("{}.db", service.binary()))
    }

    /// A host's address on the internal network.
    ///
    /// # Panics
    /// When it has none.
    pub fn address(&self, host: impl Into<Host>) -> Ipv4Addr {
        self.addresses[&host.into()]
    }

    /// An address that no host had before.
    pub(super) fn next_address(&mut self) -> Ipv4Addr {
        self.last = self.last.checked_add(1).expect("a run takes few addresses");
        Ipv4Addr::new(10, self.subnet.0, self.subnet.1, self.last)
    }

    /// The port of a front-end's public API on this machine.
    pub(super) fn public_port(&self, host: Host) -> Option<u16> {
        match host {
            Host::Of(Frontend(n)) => self.ports.ports().nth(usize::from(n)),
            _ => None,
        }
    }

    /// The front-ends' public URLs on this machine.
    pub fn urls(&self) -> Vec<String> {
        let ports = (1..=FRONTENDS).filter_map(|n| self.public_port(Frontend(n).into()));
        ports
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect()
    }

    /// The log of a host since its container was made.
    pub(super) fn log(&self, host: Host) -> String {
        let both = format!("exec docker logs {} 2>&1", self.container(host));
        engine::run("sh", &["-c", &both]).unwrap_or_else(|error| error)
    }

    fn log_file(&self, host: Host) -> PathBuf {
        self.folder().join("logs").join(format!("{host}.log"))
    }

    /// Adds a container's log to that of the containers before it.
    pub(super) fn keep_log(&self, host: Host) {
        let path = self.log_file(host);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let all = format!("{before}{}\n", self.log(host));
        fs::write(&path, all).expect("the log is kept");
    }

    /// Stops everything, and checks that it ends with code 0 and that no log speaks of a panic.
    ///
    /// # Panics
    /// When one does not.
    pub fn stop_all(&mut self) {
        for host in self.layout.hosts().into_iter().rev() {
            self.stop(host);
        }
        for host in self.layout.hosts() {
            self.keep_log(host);
            let log = fs::read_to_string(self.log_file(host)).expect("a log");
            let line = log.lines().find(|line| line.contains("panic"));
            assert_eq!(line, None, "{host} panicked");
        }
    }

    /// The test is over and was right.
    pub fn close(mut self) {
        self.closed = true;
    }

    /// Removes every container and network of this bazaar.
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
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if thread::panicking() {
            for host in self.layout.hosts() {
                self.keep_log(host);
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

/// Where `libfaketime` is on this machine; `None` where it is missing.
#[must_use]
pub fn libfaketime() -> Option<PathBuf> {
    // Of the package libfaketime, in a folder with the processor's name.
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut libraries = folders.map(|f| f.path().join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists())
}
