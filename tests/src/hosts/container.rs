//! How a host's container is made, and all that the engine does to it afterwards.

use super::bazaar::{Hosts, SOON, libfaketime};
use super::engine::must;
use super::host::Host;
use cluster::service::Service::{Catalog, Frontend, Order, OtherCatalog};
use cluster::wait;

/// Where `libfaketime` is in a container that has it.
const FAKETIME: &str = "/faketime.so";
/// The image of the database, which compose.yaml has too.
const POSTGRES: &str = "postgres:15-bookworm";

impl Hosts {
    /// Makes a host's container, with an address that none had before.
    pub(super) fn create(&mut self, host: Host) {
        let address = self.next_address();
        self.addresses.insert(host, address);
        let (name, label) = (self.container(host), self.label());
        let mut arguments: Vec<String> = [
            "create",
            "--name",
            &name,
            "--label",
            &label,
            "--hostname",
            &host.to_string(),
        ]
        .map(Into::into)
        .into();
        let command = match host {
            Host::Of(service) => {
                let token = self.folder().join("token");
                arguments.extend([
                    "--read-only".into(),
                    "--cap-drop=ALL".into(),
                    "--security-opt=no-new-privileges".into(),
                    "--tmpfs=/tmp".into(),
                    // As in compose.yaml.
                    "--dns-option=timeout:1".into(),
                    "--ulimit=nofile=20000".into(),
                    format!("--volume={}:/data", self.data(host).display()),
                    format!("--volume={}:/run/secrets/token:ro", token.display()),
                ]);
                vec![self.image.clone(), service.binary().into()]
            }
            Host::Database => {
                let data = self.data(host);
                arguments.extend([
                    "--stop-signal=INT".into(),
                    format!("--volume={}:/var/lib/postgresql/data", data.display()),
                ]);
                vec![POSTGRES.into()]
            }
        };
        for (variable, value) in self.environment(host) {
            arguments.push(format!("--env={variable}={value}"));
        }
        arguments.extend(self.settings.get(&host).cloned().unwrap_or_default());
        if let Some(port) = self.public_port(host) {
            arguments.push(format!("--network={}", self.network("public")));
            arguments.push(format!("--publish=127.0.0.1:{port}:8080"));
        } else {
            arguments.push(format!("--network={}", self.network("internal")));
            arguments.push(format!("--network-alias={host}"));
            arguments.push(format!("--ip={address}"));
        }
        arguments.extend(command);
        must(&arguments);
        if self.public_port(host).is_some() {
            self.connect(host);
        }
    }

    fn connect(&self, host: Host) {
        must(&[
            "network",
            "connect",
            "--alias",
            &host.to_string(),
            "--ip",
            &self.address(host).to_string(),
            &self.network("internal"),
            &self.container(host),
        ]);
    }

    fn environment(&self, host: Host) -> Vec<(&'static str, String)> {
        let Host::Of(service) = host else {
            return vec![
                ("POSTGRES_USER", "bazaar".into()),
                ("POSTGRES_DB", "bazaar".into()),
                ("POSTGRES_PASSWORD", self.password.clone()),
            ];
        };
        let catalogs = self.layout.catalogs();
        let catalogs = catalogs.iter().map(|name| format!("http://{name}:7100"));
        let replicas = (1..=3).map(|id| format!("{id}=http://order{id}:720{id}"));
        let server = std::env::var("BAZAAR_INTERNAL_SERVER").unwrap_or_else(|_| "edge".into());
        let mut all = vec![
            ("BAZAAR_TOKEN_FILE", "/run/secrets/token".into()),
            ("BAZAAR_INTERNAL_SERVER", server),
            ("CATALOG_URL", catalogs.collect::<Vec<_>>().join(",")),
            ("ORDER_REPLICAS", replicas.collect::<Vec<_>>().join(",")),
        ];
        match service {
            Catalog | OtherCatalog(_) => {
                let two = self.layout.catalogs().len() > 1;
                let database = if two {
                    all.push(("PGPASSWORD", self.password.clone()));
                    "postgres://bazaar@postgres:5432/bazaar"
                } else {
                    "/data/catalog.db"
                };
                all.extend([
                    ("CATALOG_LISTEN", "0.0.0.0:7100".into()),
                    ("CATALOG_ADVERTISE_URL", format!("http://{service}:7100")),
                    ("CATALOG_DB", database.into()),
                ]);
            }
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

    /// Starts a host's container.
    pub fn start_host(&mut self, host: impl Into<Host>) {
        let host = host.into();
        must(&["start", &self.container(host)]);
        self.down.remove(&host);
    }

    /// Kills a host.
    pub fn kill(&mut self, host: impl Into<Host>) {
        let host = host.into();
        self.goes_down(host);
        must(&["kill", "--signal=KILL", &self.container(host)]);
        self.wait_ended(host);
    }

    /// Stops a host as an engine does.
    ///
    /// # Panics
    /// When it does not end with code 0.
    pub fn stop(&mut self, host: impl Into<Host>) {
        let host = host.into();
        self.goes_down(host);
        must(&["stop", "--time=15", &self.container(host)]);
        self.wait_ended(host);
        let code = self.inspect(host, "{{.State.ExitCode}}");
        assert_eq!(code, "0", "exit code of {host} when it was stopped");
    }

    fn goes_down(&mut self, host: Host) {
        self.down.insert(host);
        // Its rules go with its network namespace.
        self.harmed.remove(&host);
    }

    fn wait_ended(&self, host: Host) {
        let ended = wait::until(SOON, || {
            (self.inspect(host, "{{.State.Running}}") == "false").then_some(())
        });
        assert!(ended.is_some(), "{host} does not end");
    }

    /// Freezes a host.
    pub fn pause(&mut self, host: impl Into<Host>) {
        must(&["pause", &self.container(host)]);
    }

    /// Lets a frozen host go on.
    pub fn resume(&mut self, host: impl Into<Host>) {
        must(&["unpause", &self.container(host)]);
    }

    /// Removes a host that was killed or stopped, and makes it anew with another address.
    ///
    /// # Panics
    /// When it was neither.
    pub fn recreate(&mut self, host: impl Into<Host>) {
        let host = host.into();
        assert!(self.down.contains(&host), "{host} runs");
        self.keep_log(host);
        must(&["rm", "--force", "--volumes", &self.container(host)]);
        self.create(host);
        self.start_host(host);
    }

    /// Settings of one host from its next [`Hosts::recreate`] on, as arguments of the engine.
    pub fn set(&mut self, host: impl Into<Host>, arguments: Vec<String>) {
        self.settings.insert(host.into(), arguments);
    }

    /// Arguments that let a host's wall clock be off; `None` where libfaketime is missing.
    pub fn other_clock(offset: &str) -> Option<Vec<String>> {
        let library = libfaketime()?;
        Some(vec![
            format!("--volume={}:{FAKETIME}:ro", library.display()),
            format!("--env=LD_PRELOAD={FAKETIME}"),
            format!("--env=FAKETIME={offset}"),
            // Leases and time-outs count the monotonic clock, which no administrator sets.
            "--env=DONT_FAKE_MONOTONIC=1".into(),
        ])
    }

    /// Takes a host off the internal network.
    pub fn disconnect(&mut self, host: impl Into<Host>) {
        let container = self.container(host);
        must(&[
            "network",
            "disconnect",
            &self.network("internal"),
            &container,
        ]);
    }

    /// Puts a host on the internal network again, with another address.
    pub fn reconnect(&mut self, host: impl Into<Host>) {
        let host = host.into();
        let address = self.next_address();
        self.addresses.insert(host, address);
        self.connect(host);
    }

    /// Process id of a host, whose namespaces this machine can enter.
    pub fn pid(&self, host: impl Into<Host>) -> String {
        self.inspect(host.into(), "{{.State.Pid}}")
    }

    pub(super) fn inspect(&self, host: Host, format: &str) -> String {
        must(&["inspect", "--format", format, &self.container(host)])
    }
}
