//! A bazaar with two front-ends under load, what can be done to it, and when it counts as healthy.

use super::About;
use super::Scenario;
use super::judge::{self, Figures};
use super::network::Network;
use super::store::Store;
use crate::harness::{Bazaar, INTERNAL_SERVER, SOON};
use crate::history::load::{Load, Options};
use crate::history::{Answer, Call, Event, History};
use cluster::service::Service;
use cluster::wait;
use common::wire::catalog::CatalogRole;
use common::wire::public::Status;
use fastrand::Rng;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Clients at once.
const CLIENTS: u32 = 6;
/// Front-ends.
const FRONTENDS: u8 = 2;
/// Orders that are acknowledged before a bazaar counts as healthy.
const HEALTHY: u64 = 20;

/// A bazaar under load, in the middle of a scenario.
#[derive(Debug)]
pub struct Run {
    /// The bazaar.
    pub bazaar: Bazaar,
    /// Where the random choices of the schedule come from.
    pub rng: Rng,
    /// The ways between its services, where the scenario has proxies.
    pub network: Network,
    /// Where its catalogs keep their state.
    pub store: Store,
    load: Load,
    faults: u64,
    refusals_from_us: u64,
    notes: Vec<String>,
}

/// Runs a scenario from its start to the verdict. The figures are filled in as far as it came, also
/// when it panics.
///
/// # Panics
/// When the bazaar does not behave; its folder then stays.
pub fn run(scenario: &Scenario, store: &Store, seed: u64, figures: &Mutex<Figures>) {
    let own = scenario.replicated.then(Store::replicated);
    let store = own.as_ref().unwrap_or(store);
    let network = RefCell::new(Network::default());
    let bazaar = Bazaar::start_with(FRONTENDS, |spec| {
        if scenario.edge {
            spec.set(INTERNAL_SERVER, "edge");
        }
        (scenario.set)(spec);
        store.provide(spec);
        if scenario.about == About::TwoCatalogs {
            let next = spec.addresses.next_port();
            spec.addresses = spec.addresses.clone().with_catalogs(2, next);
        }
        if scenario.network {
            *network.borrow_mut() = Network::between(spec);
        }
    });
    let history = Arc::new(History::default());
    let options = Options {
        urls: bazaar.cluster.urls(),
        clients: CLIENTS,
        faithful: if scenario.faithful { CLIENTS } else { 0 },
        seed: seed ^ 0x5eed,
    };
    let load = Load::start(&options, &history);
    let network = network.into_inner();
    let mut run = Run {
        bazaar,
        rng: Rng::with_seed(seed),
        network,
        store: store.clone(),
        load,
        faults: 0,
        refusals_from_us: 0,
        notes: Vec::new(),
    };
    // Kept from here on when anything fails: `judge` writes the same, and more, at the end.
    let keep = judge::Keep::new(&run.bazaar.folder(), scenario.name, seed, &history, store);
    run.healthy();
    (scenario.run)(&mut run);
    run.network.heal();
    run.healthy();
    let Run {
        bazaar,
        load,
        faults,
        refusals_from_us,
        notes,
        ..
    } = run;
    load.finish();
    *figures.lock() = Figures {
        faults,
        notes,
        ..Figures::default()
    };
    let spec = bazaar.cluster.spec().clone();
    judge::judge(bazaar, &history.events(), refusals_from_us, figures);
    store.remove(&spec);
    keep.not_needed();
}

/// Lets time pass: the length of a fault, which is part of a schedule and no wait for anything.
pub fn elapse(time: Duration) {
    wait::until(time, || None::<()>);
}

impl Run {
    /// Counts an injected fault.
    pub fn fault(&mut self) {
        self.faults += 1;
    }

    /// The catalog's file was made anew: what was refused before may trade when its key is used
    /// again, as `catalog rebuild` says.
    pub fn refusals_are_lost(&mut self) {
        self.refusals_from_us = self.now_us();
    }

    /// Something for the table that is not a number.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Lets a random time between two lengths pass.
    pub fn elapse_ms(&mut self, from: u64, to: u64) {
        let ms = self.rng.u64(from..=to);
        elapse(Duration::from_millis(ms));
    }

    /// Kills a service.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self, service: Service) {
        self.fault();
        self.bazaar
            .cluster
            .kill(service)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops a service as SIGTERM does.
    ///
    /// # Panics
    /// When it does not end with code 0.
    pub fn stop(&mut self, service: Service) {
        self.fault();
        let status = self
            .bazaar
            .cluster
            .stop(service)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            status.success(),
            "{service}, after SIGTERM, ended with {status}"
        );
    }

    /// Starts a service, and waits for nothing.
    ///
    /// # Panics
    /// When the system refuses the process.
    pub fn start(&mut self, service: Service) {
        self.bazaar
            .cluster
            .start_service(service)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts a service, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn revive(&mut self, service: Service) {
        self.start(service);
        self.bazaar
            .cluster
            .wait_live(service)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Pauses a service.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&mut self, service: Service) {
        self.fault();
        self.bazaar
            .cluster
            .pause(service)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Lets a paused service go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn resume(&mut self, service: Service) {
        self.bazaar
            .cluster
            .resume(service)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits for a service to die by itself.
    ///
    /// # Panics
    /// When it does not, or another one does.
    pub fn wait_death(&mut self, service: Service) {
        assert!(self.dies_within(service, SOON), "{service} does not die");
        self.fault();
    }

    /// Whether a service dies by itself within a time.
    ///
    /// # Panics
    /// When another one does.
    pub fn dies_within(&mut self, service: Service, time: Duration) -> bool {
        let died = wait::until(time, || {
            Some(self.bazaar.cluster.died()).filter(|died| !died.is_empty())
        });
        let others: Vec<Service> = died
            .iter()
            .flatten()
            .map(|(died, _)| *died)
            .filter(|died| *died != service)
            .collect();
        assert_eq!(others, [], "who died beside {service}");
        died.is_some()
    }

    /// Takes no offence at a service that ended by itself because it could not start (exit code 2),
    /// as long as it is this one.
    ///
    /// # Panics
    /// When another service ended, or this one in another way.
    pub fn forget_refused_start(&mut self, service: Service) {
        for (ended, status) in self.bazaar.cluster.died() {
            assert_eq!(
                (ended, status.code()),
                (service, Some(2)),
                "who ended, and how"
            );
        }
    }

    /// The catalog that is active, once there is one.
    #[must_use]
    pub fn active(&self) -> Service {
        self.bazaar.active_catalog()
    }

    /// The catalogs that are not this one.
    #[must_use]
    pub fn other_catalog(&self, catalog: Service) -> Service {
        let catalogs = self.bazaar.cluster.spec().catalogs();
        let other = catalogs.into_iter().find(|other| *other != catalog);
        other.expect("there are two catalogs")
    }

    /// Waits until this catalog is active.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_active(&self, catalog: Service) {
        let active = wait::until(SOON, || {
            let health = self.bazaar.catalog_health(catalog)?;
            (health.role == CatalogRole::Active).then_some(())
        });
        assert!(
            active.is_some(),
            "{catalog} is not active: {:?}",
            self.bazaar.catalog_health(catalog)
        );
    }

    /// A status from any front-end that answers: one of them may be the injured one.
    pub fn status(&self) -> Option<Status> {
        let urls = self.bazaar.cluster.urls();
        urls.iter().find_map(|url| {
            client::api::Api::with_timeout(url, Duration::from_millis(500))
                .status()
                .ok()
        })
    }

    /// The leader, once there is one.
    ///
    /// # Panics
    /// When none is found.
    pub fn leader(&self) -> u8 {
        let leader = wait::until(SOON, || self.status()?.leader);
        leader.map(u8::from).expect("a leader is found")
    }

    /// A replica that does not lead, chosen at random.
    ///
    /// # Panics
    /// When no leader is found.
    #[must_use]
    pub fn follower(&mut self) -> u8 {
        let leader = self.leader();
        let others: Vec<u8> = (1..=3).filter(|id| *id != leader).collect();
        others[self.rng.usize(..others.len())]
    }

    /// Waits until so many more orders are acknowledged.
    ///
    /// # Panics
    /// When they are not, in three times what is normal for a busy machine.
    pub fn progress(&self, orders: u64) {
        let wanted = self.load.acknowledged() + orders;
        let done = wait::until(SOON * 2, || {
            (self.load.acknowledged() >= wanted).then_some(())
        });
        assert!(
            done.is_some(),
            "trading stands still: {} of {wanted} orders acknowledged",
            self.load.acknowledged()
        );
    }

    /// Brings back what does not run, and waits until all replicas are level and in sync, every
    /// front-end is ready, and orders are acknowledged.
    ///
    /// # Panics
    /// When that does not happen, or a service died by itself.
    pub fn healthy(&mut self) {
        let died = self.bazaar.cluster.died();
        assert!(died.is_empty(), "services ended unasked: {died:?}");
        for service in self.bazaar.cluster.services() {
            if self.bazaar.cluster.pid(service).is_none() {
                self.revive(service);
            }
        }
        for index in 0..usize::from(FRONTENDS) {
            self.bazaar
                .cluster
                .wait_ready(index)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        self.progress(HEALTHY);
        self.wait_in_sync();
        self.wait_standing_by();
    }

    /// Waits until one of several catalogs is active, and the others stand by.
    fn wait_standing_by(&self) {
        let catalogs = self.bazaar.cluster.spec().catalogs();
        if catalogs.len() == 1 {
            return;
        }
        let mut last = None;
        let stand_by = wait::until(SOON, || {
            let health: Vec<_> = catalogs
                .iter()
                .filter_map(|catalog| self.bazaar.catalog_health(*catalog))
                .map(|health| health.role)
                .collect();
            let active = health.iter().filter(|role| **role == CatalogRole::Active);
            let fits = health.len() == catalogs.len() && active.count() == 1;
            last = Some(health);
            fits.then_some(())
        });
        assert!(
            stand_by.is_some(),
            "one catalog is active, and the other stands by: {last:?}"
        );
    }

    /// Waits until the leader counts both others as in sync. Their logs are compared at the end,
    /// when trading has stopped.
    fn wait_in_sync(&self) {
        let mut last = None;
        let level = wait::until(SOON, || {
            let health: Vec<_> = (1..=3)
                .filter_map(|id| self.bazaar.health(id).ok())
                .collect();
            let level = health
                .iter()
                .any(|h| h.leading.is_some() && h.in_sync.len() == 2);
            last = Some(health);
            level.then_some(())
        });
        assert!(level.is_some(), "not all replicas come in sync: {last:?}");
    }

    /// The longest time that an order took which was under way since `start_us`.
    pub fn worst_since(&self, start_us: u64) -> Duration {
        let events = self.load.history().events();
        worst(events.iter().filter(|event| event.end_us >= start_us))
    }

    /// Now, on the clock of the history.
    pub fn now_us(&self) -> u64 {
        self.load.history().now_us()
    }

    /// Orders acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.load.acknowledged()
    }

    /// Orders acknowledged by each client so far.
    pub fn acknowledged_by_client(&self) -> Vec<u64> {
        let mut count = vec![0; CLIENTS as usize];
        for event in self.load.history().events() {
            if matches!(event.answer, Answer::Number(_)) {
                count[event.client as usize] += 1;
            }
        }
        count
    }

    /// Every service, in a random sequence.
    #[must_use]
    pub fn shuffled(&mut self) -> Vec<Service> {
        let mut services = self.bazaar.cluster.services();
        self.rng.shuffle(&mut services);
        services
    }
}

/// The longest time that an acknowledged order took.
pub fn worst<'a>(events: impl Iterator<Item = &'a Event>) -> Duration {
    let orders = events.filter(|event| {
        matches!(event.call, Call::Order { .. })
            && matches!(event.answer, Answer::Number(_) | Answer::Refused)
    });
    Duration::from_micros(
        orders
            .map(|event| event.end_us - event.start_us)
            .max()
            .unwrap_or(0),
    )
}
