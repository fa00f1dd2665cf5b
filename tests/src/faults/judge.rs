//! The verdict on a run. On top of what [`crate::closing`] checks after every test:
//!
//! - every acknowledged order is read through every replica as leader, the two others being dead;
//! - keys that were refused are refused again, and acknowledged ones have their number again;
//! - the history is right ([`crate::history::check`]).

use super::run;
use super::store::Store;
use crate::closing::{DumpRow, parse_dump};
use crate::harness::Bazaar;
use crate::history::check::{self, Fault, Violation};
use crate::history::{self, Answer, Call, Event, History};
use crate::tool;
use client::api::Api;
use cluster::service::Service::Order;
use cluster::wait;
use common::wire::order::Genesis;
use common::wire::public::NewOrder;
use parking_lot::Mutex;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Keys of each kind that are tried again.
const REPEATS: usize = 20;

/// The line of a run in the table.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Faults that were injected.
    pub faults: u64,
    /// Orders acknowledged.
    pub acknowledged: u64,
    /// Orders whose outcome the client does not know; the log settled them.
    pub unknown: u64,
    /// Acknowledged orders that are not in the log as they were acknowledged.
    pub lost: u64,
    /// Trades without an order, or two trades for one order.
    pub doubled: u64,
    /// Reads and refusals that no moment explains.
    pub stale: u64,
    /// Further findings of the checker.
    pub other: u64,
    /// The longest that an order took.
    pub worst: Duration,
    /// Further notes of the scenario.
    pub notes: Vec<String>,
}

impl Figures {
    /// Adds another run's figures.
    pub fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.stale += other.stale;
        self.other += other.other;
        self.worst = self.worst.max(other.worst);
    }

    fn count(&mut self, events: &[Event], violations: &[Violation]) {
        let answers = |wanted: fn(&Answer) -> bool| {
            let orders = events
                .iter()
                .filter(|event| matches!(event.call, Call::Order { .. }));
            orders.filter(|event| wanted(&event.answer)).count() as u64
        };
        let faults = |wanted: fn(Fault) -> bool| {
            violations.iter().filter(|v| wanted(v.fault)).count() as u64
        };
        self.acknowledged = answers(|answer| matches!(answer, Answer::Number(_)));
        self.unknown = answers(|answer| matches!(answer, Answer::Unknown));
        self.lost = faults(|fault| fault == Fault::Lost);
        self.doubled = faults(|fault| fault == Fault::Doubled);
        self.stale = faults(|fault| fault == Fault::Stale);
        self.other = violations.len() as u64 - self.lost - self.doubled - self.stale;
        self.worst = run::worst(events.iter());
    }
}

/// Writes history and seed beside the logs and database files when a run fails.
#[derive(Debug)]
pub struct Keep {
    folder: PathBuf,
    seed: String,
    history: Arc<History>,
    store: Store,
}

impl Keep {
    /// For a run in this folder.
    pub fn new(
        folder: &Path,
        scenario: &str,
        seed: u64,
        history: &Arc<History>,
        store: &Store,
    ) -> Self {
        let seed = format!("scenario {scenario}\nBAZAAR_SEED={seed}\n");
        Self {
            folder: folder.into(),
            seed,
            history: Arc::clone(history),
            store: store.clone(),
        }
    }

    /// The run was right.
    pub fn not_needed(self) {
        // The folder is gone: nothing is left to write into.
        drop(self);
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if thread::panicking() {
            self.store.keep_log(&self.folder);
            let written = fs::write(self.folder.join("seed.txt"), &self.seed).and_then(|()| {
                history::write(&self.folder.join("history.jsonl"), &self.history.events())
            });
            match written {
                Ok(()) => eprintln!(
                    "history and seed of this run are in {}",
                    self.folder.display()
                ),
                Err(error) => eprintln!(
                    "history and seed cannot be kept in {}: {error}",
                    self.folder.display()
                ),
            }
        }
    }
}

/// Makes every check, and counts. Refusals of calls that began before `refusals_from_us` are not
/// asked for again.
///
/// # Panics
/// When one fails.
pub fn judge(
    mut bazaar: Bazaar,
    events: &[Event],
    refusals_from_us: u64,
    figures: &Mutex<Figures>,
) {
    figures.lock().count(events, &[]);
    for event in events {
        if let (Call::Order { key, order }, Answer::Number(number)) = (&event.call, &event.answer) {
            bazaar.recorder.note(*number, order, key.as_deref());
        }
    }
    bazaar.wait_level();
    keys_keep_their_answers(&bazaar.api(), events, refusals_from_us);
    for id in 1..=3 {
        read_through(&mut bazaar, id, events);
    }
    let genesis: Genesis = bazaar
        .cluster
        .internal(bazaar.active_catalog())
        .internal("/genesis")
        .expect("the genesis");
    bazaar.close_after(|bazaar| {
        let file = bazaar
            .cluster
            .spec()
            .database(Order(1))
            .expect("a replica has a file");
        let rows = parse_dump(&tool::order("dump", &[&file]));
        verdict(&bazaar.folder(), &genesis, &rows, events, figures);
    });
}

/// Checks the history against the log, and counts. The violations are kept in the folder.
///
/// # Panics
/// When there are any.
pub fn verdict(
    folder: &Path,
    genesis: &Genesis,
    rows: &[DumpRow],
    events: &[Event],
    figures: &Mutex<Figures>,
) {
    let violations = check::history(genesis, rows, events);
    figures.lock().count(events, &violations);
    let text: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let path = folder.join("violations.txt");
    fs::write(&path, text.join("\n")).expect("the verdict is written");
    assert!(
        violations.is_empty(),
        "{} violations, all in {}: {:#?}",
        text.len(),
        path.display(),
        text.first()
    );
}

/// A sample of keys is sent again: what was refused stays refused, what traded keeps its number.
///
/// # Panics
/// When one has another answer.
pub fn keys_keep_their_answers(api: &Api, events: &[Event], refusals_from_us: u64) {
    let keyed = |wanted: fn(&Answer) -> bool| {
        let fitting = events
            .iter()
            .rev()
            .filter(move |event| wanted(&event.answer));
        fitting
            .filter(|event| matches!(event.call, Call::Order { key: Some(_), .. }))
            .take(REPEATS)
    };
    let refused = keyed(|answer| matches!(answer, Answer::Refused))
        .filter(|event| event.start_us >= refusals_from_us);
    for event in refused.chain(keyed(|answer| matches!(answer, Answer::Number(_)))) {
        let Call::Order { key, order } = &event.call else {
            continue;
        };
        let answer = match api.order(order, key.as_deref()) {
            Ok(number) => Answer::Number(number),
            Err(error) if error.status() == Some(409) => Answer::Refused,
            Err(error) => panic!("{event:?}, repeated at the end, was answered with {error}"),
        };
        assert_eq!(
            answer, event.answer,
            "a key has another answer at the end: {event:?}"
        );
    }
}

/// Lets this replica lead alone, and reads every acknowledged order.
fn read_through(bazaar: &mut Bazaar, id: u8, events: &[Event]) {
    let others = [1, 2, 3]
        .map(Order)
        .into_iter()
        .filter(|other| *other != Order(id))
        .collect::<Vec<_>>();
    for other in &others {
        bazaar
            .cluster
            .kill(*other)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    bazaar.wait_led_by(id, &[]);
    every_order_is_read(&bazaar.api(), id, events);
    for other in others {
        bazaar
            .cluster
            .restart(other)
            .unwrap_or_else(|error| panic!("{error}"));
    }
    bazaar.wait_level();
}

/// Reads every acknowledged order while this replica leads alone.
///
/// # Panics
/// When one is missing or another one.
pub fn every_order_is_read(api: &Api, id: u8, events: &[Event]) {
    for event in events {
        let (Call::Order { order, .. }, Answer::Number(number)) = (&event.call, &event.answer)
        else {
            continue;
        };
        let found = wait::until(crate::harness::SOON, || {
            match api.order_by_number(*number) {
                Err(error) if error.is_retryable() => None,
                answer => Some(answer),
            }
        });
        let found =
            found.unwrap_or_else(|| panic!("order {number} cannot be read through replica {id}"));
        let found = found
            .unwrap_or_else(|error| panic!("replica {id} answers for order {number}: {error}"));
        let content = NewOrder {
            name: found.name,
            quantity: found.quantity,
            side: found.side,
        };
        assert_eq!(&content, order, "replica {id} has another order {number}");
    }
}
