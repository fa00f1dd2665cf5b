//! The tests of the front-end share this: fakes of the catalog and the replicas, a front-end over
//! them, a client.
#![allow(dead_code, missing_docs, reason = "each test file uses a part of it")]

pub mod catalog;
pub mod client;
pub mod replica;
pub mod server;

use catalog::FakeCatalog;
use client::Client;
use common::settings::Settings;
use common::wire::order::ReplicaId;
use frontend::service::Frontend;
use frontend::settings::FrontendSettings;
use replica::FakeReplica;
use std::time::{Duration, Instant};

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `done`.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub fn id(n: u8) -> ReplicaId {
    ReplicaId::try_from(n).expect("an id")
}

/// A front-end with its fakes. The front-end goes first, so that it does not see them die.
pub struct Bazaar {
    pub client: Client,
    pub frontend: Frontend,
    pub replicas: Vec<FakeReplica>,
    pub catalog: FakeCatalog,
}

impl Bazaar {
    /// A catalog with FishCo (100) and BoarCo (7), three replicas that follow, and a front-end that
    /// has not chosen yet.
    pub fn start() -> Self {
        Self::with(|_, _| {}, &[])
    }

    /// The same after `prepare`, with variables of the front-end.
    pub fn with(
        prepare: impl FnOnce(&FakeCatalog, &[FakeReplica]),
        variables: &[(&str, &str)],
    ) -> Self {
        Self::with_catalogs(prepare, variables, &[])
    }

    /// The same with further catalogs.
    pub fn with_catalogs(
        prepare: impl FnOnce(&FakeCatalog, &[FakeReplica]),
        variables: &[(&str, &str)],
        others: &[String],
    ) -> Self {
        let catalog = FakeCatalog::start();
        let replicas: Vec<_> = (1..=3)
            .map(|n| FakeReplica::start(id(n), catalog.state()))
            .collect();
        prepare(&catalog, &replicas);
        let urls: Vec<String> = (1..)
            .zip(&replicas)
            .map(|(n, replica)| format!("{n}={}", replica.url()))
            .collect();
        let mut catalogs = vec![catalog.url()];
        catalogs.extend_from_slice(others);
        let own = [
            ("FRONTEND_LISTEN", "127.0.0.1:0"),
            ("FRONTEND_INTERNAL_LISTEN", "127.0.0.1:0"),
            ("CATALOG_URL", &catalogs.join(",")),
            ("ORDER_REPLICAS", &urls.join(",")),
        ];
        let pairs = own
            .iter()
            .chain(variables)
            .map(|(k, v)| ((*k).into(), (*v).into()));
        let mut settings = Settings::from_pairs(pairs);
        let read = FrontendSettings::read(&mut settings);
        settings.finish().expect("the settings are right");
        let frontend = Frontend::start(&read).expect("starts");
        let client = Client::new(frontend.address());
        Self {
            client,
            frontend,
            replicas,
            catalog,
        }
    }

    /// With a leader chosen, the catalog seen and, unless the cache is off, a lease.
    pub fn ready() -> Self {
        let bazaar = Self::start();
        bazaar.wait_ready();
        bazaar
    }

    pub fn wait_ready(&self) {
        wait_for("the front-end is ready", || {
            self.client.get("/readyz").status == 200
        });
        wait_for("it has its lease", || {
            let cache = &self.status()["cache"];
            cache["leased"] == true || cache["enabled"] == false
        });
    }

    /// The data of `GET /status`.
    pub fn status(&self) -> serde_json::Value {
        self.client.get("/status").body["data"].clone()
    }

    pub fn replica(&self, n: u8) -> &FakeReplica {
        &self.replicas[usize::from(n) - 1]
    }

    pub fn wait_leader(&self, n: u8) {
        wait_for(&format!("{n} leads"), || self.status()["leader"] == n);
    }

    /// A call to the internal listener.
    pub fn internal(&self) -> Client {
        Client::new(self.frontend.internal_address())
    }

    /// A counter of `GET /metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.internal().get("/metrics").text;
        let line = text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')
                .map(str::to_owned)
        });
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .expect("a number")
    }
}
