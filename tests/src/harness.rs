//! A bazaar for one test.

use crate::recorder::Recorder;
use crate::{closing, contract};
use client::api::{Api, ApiError};
use client::workload::{self, Control, Options, Outcome};
use cluster::addresses::PortBlock;
use cluster::service::Service;
use cluster::wait;
use cluster::{Cluster, Spec};
use common::wire::catalog::{CatalogHealth, CatalogRole};
use common::wire::order::Side;
use common::wire::public::{NewOrder, Status};
use common::wire::replica::Health;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Deadline for what happens within a second or two on a machine that does nothing else.
pub const SOON: Duration = Duration::from_secs(20);
/// The setting of the services that tests pass on.
pub const INTERNAL_SERVER: &str = "BAZAAR_INTERNAL_SERVER";
/// Starts on other ports, when someone took one between the look and the start.
const STARTS: u32 = 5;

/// A running bazaar, in a folder of its own. Its test ends with [`Bazaar::close`].
#[derive(Debug)]
pub struct Bazaar {
    /// The processes.
    pub cluster: Cluster,
    /// The orders that were acknowledged.
    pub recorder: Recorder,
    folder: Option<TempDir>,
    closed: bool,
    _ports: PortBlock,
}

impl Bazaar {
    /// A bazaar with one front-end and the usual settings.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(1, |_| {})
    }

    /// A bazaar with so many front-ends, and settings of its own.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(frontends: u8, set: impl Fn(&mut Spec)) -> Self {
        Self::start_sized(3, frontends, set)
    }

    /// The same with so many replicas.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_sized(replicas: u8, frontends: u8, set: impl Fn(&mut Spec)) -> Self {
        for _ in 0..STARTS {
            let ports = PortBlock::take().expect("there are free ports");
            let folder = tempfile::Builder::new()
                .prefix("bazaar-test-")
                .tempdir()
                .expect("a folder");
            let mut spec = Spec::new(folder.path(), ports.addresses(replicas, frontends));
            // The same tests with the other server behind all internal listeners.
            if let Ok(server) = std::env::var(INTERNAL_SERVER) {
                spec.set(INTERNAL_SERVER, &server);
            }
            set(&mut spec);
            match Cluster::start(spec) {
                Ok(cluster) => {
                    contract::hold(cluster.urls());
                    let recorder = Recorder::default();
                    return Self {
                        cluster,
                        recorder,
                        folder: Some(folder),
                        closed: false,
                        _ports: ports,
                    };
                }
                Err(error) if error.is_port_taken() => {}
                Err(error) => panic!(
                    "the bazaar in {} does not start: {error}",
                    folder.keep().display()
                ),
            }
        }
        panic!("ports were taken {STARTS} times in a row");
    }

    /// The ids of the replicas.
    pub fn replicas(&self) -> impl Iterator<Item = u8> + use<> {
        let count = self.cluster.spec().addresses.orders.len();
        (1..).take(count)
    }

    /// A client of the first front-end.
    pub fn api(&self) -> Api {
        Api::new(&self.cluster.url(0))
    }

    /// Where its files are.
    ///
    /// # Panics
    /// Never: it has a folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.as_ref().expect("it has a folder").path().into()
    }

    /// Trades through the first front-end without a key, and records the order.
    ///
    /// # Errors
    /// The refusal.
    pub fn trade(&self, name: &str, side: Side, quantity: u64) -> Result<u64, ApiError> {
        self.trade_at(&self.api(), name, side, quantity, None)
    }

    /// Trades, and records the order.
    ///
    /// # Errors
    /// The refusal.
    pub fn trade_at(
        &self,
        api: &Api,
        name: &str,
        side: Side,
        quantity: u64,
        key: Option<&str>,
    ) -> Result<u64, ApiError> {
        let order = NewOrder {
            name: name.into(),
            quantity,
            side,
        };
        let number = api.order(&order, key)?;
        self.recorder.note(number, &order, key);
        Ok(number)
    }

    /// How many of a stock are left.
    ///
    /// # Panics
    /// When that cannot be found out.
    pub fn quantity(&self, name: &str) -> u64 {
        self.api()
            .stock(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .quantity
    }

    /// The status by the first front-end.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn status(&self) -> Status {
        self.api().status().expect("the status")
    }

    /// A replica's own health.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn health(&self, replica: u8) -> Result<Health, ApiError> {
        self.cluster
            .internal(Service::Order(replica))
            .internal("/health")
    }

    /// Waits for a status that fits.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn wait_status(&self, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let found = wait::until(SOON, || {
            let status = self.status();
            let fitting = fits(&status).then(|| status.clone());
            last = Some(status);
            fitting
        });
        found.unwrap_or_else(|| panic!("waited for {what}; the last status was {last:?}"))
    }

    /// Waits until there is a leader, and names it.
    pub fn leader(&self) -> u8 {
        self.wait_status("a leader", |status| status.leader.is_some())
            .leader
            .map_or(0, u8::from)
    }

    /// Waits until this replica leads, and each of `informed` knows leader and term. Returns the
    /// term.
    ///
    /// # Panics
    /// When it does not come to that in time.
    pub fn wait_led_by(&self, leader: u8, informed: &[u8]) -> u64 {
        let what = format!("replica {leader} to lead");
        let term = self
            .wait_status(&what, |status| status.leader.map(u8::from) == Some(leader))
            .term;
        for replica in informed {
            let mut last = None;
            let knows = wait::until(SOON, || {
                let health = self.health(*replica);
                let fits = health
                    .as_ref()
                    .is_ok_and(|h| h.leader.map(u8::from) == Some(leader) && h.term == term);
                last = Some(health);
                fits.then_some(())
            });
            assert!(
                knows.is_some(),
                "replica {replica} got no notice that {leader} leads term {term}: {last:?}"
            );
        }
        term
    }

    /// The catalog that is active; the only one, where there is one.
    #[must_use]
    pub fn find_active(&self) -> Option<Service> {
        let catalogs = self.cluster.spec().catalogs();
        if let [only] = catalogs[..] {
            return Some(only);
        }
        catalogs.into_iter().find(|catalog| {
            self.catalog_health(*catalog)
                .is_some_and(|health| health.role == CatalogRole::Active)
        })
    }

    /// Waits until a catalog is active.
    ///
    /// # Panics
    /// When none is in time.
    #[must_use]
    pub fn active_catalog(&self) -> Service {
        wait::until(SOON, || self.find_active()).expect("a catalog is active")
    }

    /// A catalog's own health; `None` while it does not answer.
    #[must_use]
    pub fn catalog_health(&self, catalog: Service) -> Option<CatalogHealth> {
        self.cluster.internal(catalog).internal("/health").ok()
    }

    /// Waits until every replica has the catalog's last order, and is in sync with the leader.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn wait_level(&self) {
        let mut last = String::new();
        let level = wait::until(SOON, || {
            let end = self.catalog_health(self.find_active()?)?.last;
            let health: Vec<_> = self.replicas().map(|id| self.health(id)).collect();
            last = format!("the catalog's last is {end:?}, the replicas say {health:#?}");
            let level = health
                .iter()
                .all(|h| h.as_ref().is_ok_and(|h| h.last == end && !h.catching_up));
            let in_sync = health
                .iter()
                .flatten()
                .any(|h| h.leading.is_some() && h.in_sync.len() + 1 == health.len());
            (level && in_sync).then_some(())
        });
        assert!(level.is_some(), "the replicas do not get level: {last}");
    }

    /// Options of a workload at all front-ends of this bazaar.
    pub fn workload(&self, clients: usize, iterations: u64, probability: f64) -> Options {
        let options = Options::new(&self.cluster.url(0));
        Options {
            urls: self.cluster.urls(),
            clients,
            iterations,
            probability,
            seed: seed(),
            ..options
        }
    }

    /// Runs clients in the background while `meanwhile` does what it does to the bazaar; then ends
    /// the trading and gives what the clients saw. Their orders are recorded.
    ///
    /// # Panics
    /// When the workload cannot start.
    pub fn trade_while(
        &mut self,
        clients: usize,
        meanwhile: impl FnOnce(&mut Self, &Control),
    ) -> Outcome {
        let options = Options {
            iterations: u64::MAX,
            ..self.workload(clients, 0, 0.8)
        };
        let control = Control::default();
        let outcome = thread::scope(|scope| {
            let clients = scope.spawn(|| workload::run(&options, &control));
            // Also when `meanwhile` panics: the clients must end, or the scope would wait for ever.
            let ending = StopAtEnd(&control);
            meanwhile(self, &control);
            drop(ending);
            clients
                .join()
                .expect("the workload ends without panic")
                .expect("the workload starts")
        });
        self.recorder.note_all(&outcome);
        outcome
    }

    /// The end of every test: see [`closing`].
    pub fn close(self) {
        self.close_after(|_| ());
    }

    /// The same with checks of its own, made when all services are stopped and the files are still
    /// there.
    pub fn close_after(mut self, more: impl FnOnce(&Self)) {
        closing::check(&mut self);
        more(&self);
        self.closed = true;
    }
}

struct StopAtEnd<'a>(&'a Control);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop_trading();
    }
}

impl Drop for Bazaar {
    fn drop(&mut self) {
        if thread::panicking() {
            if let Some(folder) = self.folder.take() {
                eprintln!(
                    "files and logs of this test stay in {}",
                    folder.keep().display()
                );
            }
        } else {
            assert!(self.closed, "a system test ends with the closing checks");
        }
    }
}

/// No client got an error or a wrong answer.
///
/// # Panics
/// When one did.
pub fn assert_clean(outcome: &Outcome) {
    assert!(
        outcome.is_clean(),
        "{:?} {:?}",
        outcome.mismatches,
        outcome.examples
    );
}

/// Waits until clients have done so many more steps: the bazaar trades, or trades again.
///
/// # Panics
/// When they do not.
pub fn wait_steps(control: &Control, steps: u64) {
    let wanted = control.done() + steps;
    let done = wait::until(SOON * 2, || (control.done() >= wanted).then_some(()));
    assert!(
        done.is_some(),
        "clients stand still: {} of {wanted} steps",
        control.done()
    );
}

/// The seed of a random test: `BAZAAR_SEED`, or a random one; printed, to be used again.
///
/// # Panics
/// When `BAZAAR_SEED` is no number.
pub fn seed() -> u64 {
    let given = std::env::var("BAZAAR_SEED")
        .ok()
        .map(|text| text.parse().expect("BAZAAR_SEED is a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("BAZAAR_SEED={seed}");
    seed
}
