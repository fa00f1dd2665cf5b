//! A bazaar across hosts under load, what is measured of each fault, and the verdict at the end.

use super::bazaar::{Hosts, SOON};
use super::engine::Image;
use super::host::{FRONTENDS, Host, Layout};
use super::links::{self, Harm, Way};
use crate::closing::agree;
use crate::contract;
use crate::faults::judge::{self, Figures, Keep};
use crate::faults::run::{elapse, worst};
use crate::faults::store::Store;
use crate::history::load::{Load, Options};
use crate::history::{Answer, Call, Event, History};
use crate::recorder::Recorder;
use client::api::Api;
use cluster::service::Service::{self, Order};
use cluster::wait;
use common::wire::order::Genesis;
use fastrand::Rng;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Clients at once: one that keeps to each front-end, and others that change between them.
const CLIENTS: u32 = 6 + FRONTENDS as u32;
/// Threads that read in the end.
const READERS: usize = 8;
/// Orders that are acknowledged before a bazaar counts as healthy.
const HEALTHY: u64 = 20;

/// A bazaar under load.
#[derive(Debug)]
pub struct Run {
    /// The bazaar.
    pub hosts: Hosts,
    /// Where the random choices of the schedule come from.
    pub rng: Rng,
    load: Load,
    faults: u64,
    total: u64,
    keep: Keep,
}

impl Run {
    /// Starts a bazaar and its clients.
    ///
    /// # Panics
    /// When it does not trade.
    #[must_use]
    pub fn start(layout: Layout, image: &Image, seed: u64) -> Self {
        let hosts = Hosts::start(layout, image);
        contract::hold(hosts.urls());
        let history = Arc::new(History::default());
        let keep = Keep::new(&hosts.folder(), "hosts", seed, &history, &Store::File);
        let options = Options {
            urls: hosts.urls(),
            clients: CLIENTS,
            // Those that change wait at a front-end that is cut off, sooner or later all of them:
            // the time without a trade would be theirs.
            faithful: u32::from(FRONTENDS),
            seed: seed ^ 0x5eed,
        };
        let load = Load::start(&options, &history);
        let mut run = Self {
            hosts,
            rng: Rng::with_seed(seed),
            load,
            faults: 0,
            total: 0,
            keep,
        };
        println!(
            "{:<28} {:>6} {:>7} {:>16} {:>12}",
            "scenario", "faults", "orders", "without trade ms", "worst ms"
        );
        run.healthy();
        run
    }

    /// Runs a scenario until the bazaar is healthy again, and prints its line: faults, orders, the
    /// longest time without an acknowledged order, the longest that an order took.
    ///
    /// # Panics
    /// When the bazaar does not behave.
    pub fn scenario(&mut self, name: &str, action: fn(&mut Self)) {
        let (from, orders) = (self.now_us(), self.load.acknowledged());
        self.faults = 0;
        action(self);
        links::heal(&mut self.hosts);
        self.healthy();
        let events = self.load.history().events();
        let during = events.iter().filter(|event| event.end_us >= from);
        println!(
            "{name:<28} {:>6} {:>7} {:>16} {:>12}",
            self.faults,
            self.load.acknowledged() - orders,
            without_trade(&events, from, self.now_us()).as_millis(),
            worst(during).as_millis()
        );
        self.total += self.faults;
    }

    /// Counts an injected fault.
    pub fn fault(&mut self) {
        self.faults += 1;
    }

    /// Lets a random time between two lengths pass.
    pub fn elapse_ms(&mut self, from: u64, to: u64) {
        let ms = self.rng.u64(from..=to);
        elapse(Duration::from_millis(ms));
    }

    /// The leader.
    pub fn leader(&self) -> u8 {
        self.hosts.leader()
    }

    /// A replica that does not lead, chosen at random.
    #[must_use]
    pub fn follower(&mut self) -> u8 {
        let leader = self.leader();
        let others: Vec<u8> = (1..=3).filter(|id| *id != leader).collect();
        others[self.rng.usize(..others.len())]
    }

    /// All hosts, in a random sequence.
    #[must_use]
    pub fn shuffled(&mut self) -> Vec<Host> {
        let mut hosts = self.hosts.layout.hosts();
        self.rng.shuffle(&mut hosts);
        hosts
    }

    /// The catalog beside this one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn other_catalog(&self, catalog: Service) -> Service {
        let catalogs = self.hosts.layout.catalogs();
        let other = catalogs.into_iter().find(|other| *other != catalog);
        other.expect("there are two catalogs")
    }

    /// Now, on the clock of the history.
    pub fn now_us(&self) -> u64 {
        self.load.history().now_us()
    }

    /// Harm on some ways for a random time. Returns how many packets met it.
    pub fn harm_for(&mut self, ways: &[Way], harm: Harm, from_ms: u64, to_ms: u64) -> u64 {
        self.harm(ways, harm);
        self.elapse_ms(from_ms, to_ms);
        // Copies are made where packets leave, everything else is done where they arrive.
        let hosts: BTreeSet<Host> = ways
            .iter()
            .map(|way| {
                if matches!(harm, Harm::Repeat(_)) {
                    way.0
                } else {
                    way.1
                }
            })
            .collect();
        hosts
            .into_iter()
            .map(|host| links::met(&self.hosts, host))
            .sum()
    }

    /// Harm on some ways until [`links::heal`].
    pub fn harm(&mut self, ways: &[Way], harm: Harm) {
        for way in ways {
            links::harm(&mut self.hosts, *way, harm);
        }
        self.fault();
    }

    /// Ends all harm, and waits for orders.
    pub fn heal(&mut self) {
        links::heal(&mut self.hosts);
        self.progress(5);
    }

    /// Waits until so many more orders are acknowledged.
    ///
    /// # Panics
    /// When they are not.
    pub fn progress(&self, orders: u64) {
        let wanted = self.load.acknowledged() + orders;
        let done = wait::until(SOON, || (self.load.acknowledged() >= wanted).then_some(()));
        assert!(
            done.is_some(),
            "trading stands still: {} of {wanted} orders acknowledged; {:?}; {:?}",
            self.load.acknowledged(),
            self.hosts.status(),
            self.hosts.died()
        );
    }

    /// Starts what does not run, and waits until every front-end is ready, orders are acknowledged,
    /// and all replicas are in sync.
    ///
    /// # Panics
    /// When that does not happen, or a service died by itself.
    pub fn healthy(&mut self) {
        let died = self.hosts.died();
        assert!(
            died.is_empty(),
            "services ended unasked: {}",
            died.join("\n")
        );
        for host in self.hosts.down.clone() {
            self.hosts.start_host(host);
        }
        self.hosts.wait_ready();
        self.progress(HEALTHY);
        self.hosts.wait_standing_by();
        self.hosts.wait_in_sync(false);
    }

    /// Ends the load and judges all that its clients saw, as `make faults` does.
    ///
    /// # Panics
    /// When a check fails.
    pub fn finish(self) -> Figures {
        let Self {
            mut hosts,
            load,
            total,
            keep,
            ..
        } = self;
        let history = Arc::clone(load.history());
        load.finish();
        let events = history.events();
        hosts.wait_in_sync(true);
        let api = Api::new(&hosts.urls()[0]);
        judge::keys_keep_their_answers(&api, &events, 0);
        for id in 1..=3 {
            read_through(&mut hosts, id, &events);
        }
        let genesis: Genesis = hosts
            .internal(hosts.active())
            .internal("/genesis")
            .expect("a genesis");
        let recorder = Recorder::default();
        for event in &events {
            if let (Call::Order { key, order }, Answer::Number(number)) =
                (&event.call, &event.answer)
            {
                recorder.note(*number, order, key.as_deref());
            }
        }
        let recorded = recorder.orders();
        let stocks = api.stocks().expect("the stocks");
        let now: BTreeMap<String, u64> = stocks
            .into_iter()
            .map(|stock| (stock.name, stock.quantity))
            .collect();
        hosts.stop_all();
        let files: Vec<_> = (1..=3).map(|id| hosts.database(Order(id))).collect();
        let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
        let rows = agree(&files, &recorded, &genesis, &now);
        let figures = Mutex::new(Figures {
            faults: total,
            ..Figures::default()
        });
        judge::verdict(&hosts.folder(), &genesis, &rows, &events, &figures);
        hosts.close();
        keep.not_needed();
        figures.into_inner()
    }
}

/// Lets this replica lead alone, and reads every acknowledged order, through both front-ends.
fn read_through(hosts: &mut Hosts, id: u8, events: &[Event]) {
    let others: Vec<Service> = [1, 2, 3]
        .into_iter()
        .filter(|o| *o != id)
        .map(Order)
        .collect();
    for other in &others {
        hosts.kill(*other);
    }
    let leads = wait::until(SOON, || {
        (hosts.status()?.leader.map(u8::from) == Some(id)).then_some(())
    });
    assert!(
        leads.is_some(),
        "replica {id} does not lead alone: {:?}",
        hosts.status()
    );
    let urls = hosts.urls();
    thread::scope(|scope| {
        let parts = events.chunks(events.len().div_ceil(READERS).max(1));
        for (part, url) in parts.zip(urls.iter().cycle()) {
            scope.spawn(move || judge::every_order_is_read(&Api::new(url), id, part));
        }
    });
    for other in others {
        hosts.start_host(other);
    }
    hosts.wait_in_sync(true);
}

/// The longest time between two acknowledged orders, the beginning and the end of the time counted
/// as one each.
fn without_trade(events: &[Event], from_us: u64, to_us: u64) -> Duration {
    let acknowledged = events.iter().filter(|event| {
        matches!(event.call, Call::Order { .. })
            && matches!(event.answer, Answer::Number(_))
            && (from_us..=to_us).contains(&event.end_us)
    });
    let mut ends: Vec<u64> = acknowledged.map(|event| event.end_us).collect();
    ends.extend([from_us, to_us]);
    ends.sort_unstable();
    let longest = ends.windows(2).map(|pair| pair[1] - pair[0]).max();
    Duration::from_micros(longest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest pause is found between orders, and before the first and after the last one;
    /// reads and refusals are no trade.
    #[test]
    fn the_longest_time_without_a_trade_is_found() {
        let event = |end_us, answer| Event {
            client: 0,
            start_us: 0,
            end_us,
            tries: 1,
            call: Call::Order {
                key: None,
                order: common::wire::public::NewOrder {
                    name: "FishCo".into(),
                    quantity: 1,
                    side: common::wire::order::Side::Buy,
                },
            },
            answer,
        };
        let numbers = |ends: &[u64]| -> Vec<Event> {
            let numbered = ends.iter().zip(0..);
            numbered
                .map(|(end, n)| event(*end, Answer::Number(n)))
                .collect()
        };
        let longest = |events: &[Event]| without_trade(events, 1_000, 2_000).as_micros();
        assert_eq!(longest(&numbers(&[1_100, 1_900, 1_300])), 600);
        assert_eq!(longest(&numbers(&[1_700, 1_800])), 700);
        assert_eq!(longest(&numbers(&[900, 1_200, 2_500])), 800);
        let mut refused = numbers(&[1_100, 1_900]);
        refused.push(event(1_500, Answer::Refused));
        assert_eq!(longest(&refused), 800);
    }
}
