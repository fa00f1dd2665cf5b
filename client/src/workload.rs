//! The lab's clients. Each client has one connection. It looks up a random stock, trades with a
//! given probability, and records the number and content of every success. At the end it reads
//! every order back and compares it field by field.
//!
//! A client repeats a request that got no answer, or a 503, until a deadline. It repeats an order
//! with the same Idempotency-Key, so the order trades at most once. Keys are random for each run
//! and never come from the seed: a second run with one seed draws the same orders, and must trade
//! them again.

mod session;

use crate::api::{Api, ApiError};
use crate::stats::{Kind, Stats};
use common::clock::BootInstant;
use common::shutdown::Shutdown;
use common::timing::CLIENT_TIMEOUT;
use common::wire::order::Side;
use common::wire::public::NewOrder;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use session::Session;
use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The settings of a workload.
#[derive(Debug, Clone)]
pub struct Options {
    /// Front-ends; client i talks to the one at index i modulo their count. Not empty.
    pub urls: Vec<String>,
    /// Probability that a trade follows a lookup, 0 to 1.
    pub probability: f64,
    /// Lookups of each client.
    pub iterations: u64,
    /// Clients at once, each a thread with its own connection.
    pub clients: usize,
    /// Seed of stocks, sides and quantities.
    pub seed: u64,
    /// Time-out of one attempt.
    pub attempt_timeout: Duration,
    /// How long a client repeats a request before it counts as unanswered.
    pub deadline: Duration,
    /// Whether all clients stop when a request reached its deadline and no client got an answer
    /// meanwhile. Otherwise each request of each client waits that long.
    pub stop_when_silent: bool,
    /// Whether the outcome keeps every single success, for an evaluation beyond [`Stats`].
    pub keep_samples: bool,
}

impl Options {
    /// One client of one front-end, with the default time-outs and a random seed.
    pub fn new(url: &str) -> Self {
        Self {
            urls: vec![url.into()],
            probability: 0.6,
            iterations: 200,
            clients: 1,
            seed: fastrand::u64(..),
            attempt_timeout: CLIENT_TIMEOUT,
            deadline: Duration::from_secs(30),
            stop_when_silent: false,
            keep_samples: false,
        }
    }
}

/// Shows the progress of a running workload and ends it early; shared between threads.
#[derive(Debug, Default)]
pub struct Control {
    done: AtomicU64,
    checks: AtomicU64,
    stop: AtomicBool,
    check_again: AtomicBool,
    /// Time of the last answer to any client, in microseconds since the machine's start.
    answered_us: AtomicU64,
    /// When triggered, clients send no further request, not even in the final check.
    ended: Shutdown,
    why: OnceLock<String>,
    /// The connections of all clients. A lock, because [`Control::cut`] comes from another thread.
    apis: Mutex<Vec<Api>>,
}

impl Control {
    /// Finished steps: lookups (with the trade that follows) and orders read back.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Acknowledged orders; the clients will read each of them back.
    pub fn acknowledged(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// Ends the trading; the final check still follows.
    pub fn stop_trading(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// While this is set, each client repeats its final check, so that a fault can happen during
    /// one.
    pub fn check_again(&self, again: bool) {
        self.check_again.store(again, Ordering::Relaxed);
    }

    /// Ends the whole run: clients finish their requests in flight and send no more. The first
    /// reason counts.
    pub fn end(&self, why: &str) {
        self.why.get_or_init(|| why.into());
        self.stop_trading();
        self.ended.trigger();
    }

    /// Closes the connections: the outcome of requests in flight is unknown.
    pub fn cut(&self) {
        for api in self.apis.lock().iter() {
            api.shutdown();
        }
    }

    fn is_ended(&self) -> bool {
        self.ended.is_triggered()
    }

    fn answered(&self) {
        let now = micros(BootInstant::now());
        // The newest of all clients counts, whichever thread stores it last.
        self.answered_us.fetch_max(now, Ordering::Relaxed);
    }

    fn is_silent_since(&self, began: BootInstant) -> bool {
        // Compared with the beginning of the caller's own request: another client that was answered
        // since proves that the bazaar lives.
        self.answered_us.load(Ordering::Relaxed) < micros(began)
    }

    fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Kind of the request.
    pub kind: Kind,
    /// On a clock that all programs of this machine share.
    pub began: BootInstant,
    /// With retries.
    pub took: Duration,
}

/// An order that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Number from the response.
    pub number: u64,
    /// The order as the client sent it.
    pub order: NewOrder,
    /// Its idempotency key.
    pub key: String,
}

/// The outcome of a workload.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Figures of all clients together.
    pub stats: Stats,
    /// Every acknowledged order, by client and time.
    pub acknowledged: Vec<Acknowledged>,
    /// Every success, by client and time, where [`Options::keep_samples`] asks for them.
    pub samples: Vec<Sample>,
    /// Acknowledged orders that read back differently, are missing, or share a number; each in a
    /// sentence.
    pub mismatches: Vec<String>,
    /// The first few failures that clients noticed, each in a sentence.
    pub examples: Vec<String>,
    /// Whether a client noticed a failure (a repeat, no answer, an unexpected one) while it looked
    /// up and traded.
    pub noticed_during_orders: bool,
    /// The same for the final check; a mismatch counts.
    pub noticed_in_final_check: bool,
    /// Reason of an early end.
    pub stopped: Option<String>,
    /// From the first request to the last.
    pub took: Duration,
}

fn micros(instant: BootInstant) -> u64 {
    let since_start = instant.saturating_since(BootInstant::BOOT).as_micros();
    u64::try_from(since_start).unwrap_or(u64::MAX)
}

/// Most failures that an outcome describes.
const EXAMPLES: usize = 5;

impl Outcome {
    /// Whether the run came to its end, every request was answered, and every acknowledged order
    /// read back equal.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let bad = |kind| {
            let figures = self.stats.of(kind);
            figures.unanswered + figures.unexpected
        };
        self.stopped.is_none()
            && self.mismatches.is_empty()
            && Kind::ALL.into_iter().map(bad).sum::<u64>() == 0
    }

    fn merge(&mut self, other: Self) {
        self.stats.merge(&other.stats);
        self.acknowledged.extend(other.acknowledged);
        self.samples.extend(other.samples);
        self.mismatches.extend(other.mismatches);
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
        self.noticed_during_orders |= other.noticed_during_orders;
        self.noticed_in_final_check |= other.noticed_in_final_check;
    }
}

/// Runs a workload to its end.
///
/// # Errors
/// When the list of stocks cannot be read: there is nothing to trade.
///
/// # Panics
/// When a client's thread panics, which would be a bug.
pub fn run(options: &Options, control: &Control) -> Result<Outcome, String> {
    assert!(
        !options.urls.is_empty() && (0.0..=1.0).contains(&options.probability),
        "{options:?}"
    );
    // Read once, from the first front-end: a stock that is not in the list is never asked for.
    let stocks = stock_names(options, control)?;
    // From the system, not from the seed: see the module.
    let run_id = common::secret::hex(16);
    let started = Instant::now();
    let mut outcome = Outcome::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..options.clients)
            .map(|client| {
                let (stocks, run_id) = (&stocks, &run_id);
                scope.spawn(move || Session::new(options, control, stocks, run_id, client).run())
            })
            .collect();
        for client in clients {
            // In their order, so that the outcome does not depend on which client ended first.
            outcome.merge(client.join().expect("a client ends without panic"));
        }
    });
    outcome.took = started.elapsed();
    outcome.stopped = control.why.get().cloned();
    find_shared_numbers(&mut outcome);
    Ok(outcome)
}

/// The names of all stocks. Waits for the front-end until the same deadline as any other request.
fn stock_names(options: &Options, control: &Control) -> Result<Vec<String>, String> {
    let api = Api::with_timeout(&options.urls[0], options.attempt_timeout);
    control.apis.lock().push(api.clone());
    let deadline = Instant::now() + options.deadline;
    loop {
        match api.stocks() {
            Ok(stocks) if stocks.is_empty() => return Err("the bazaar has no stocks".into()),
            Ok(stocks) => return Ok(stocks.into_iter().map(|stock| stock.name).collect()),
            // A bazaar may be started beside the client: the first request waits like any other.
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                if control.ended.wait(Duration::from_millis(100)) {
                    let why = control.why.get().map_or("", String::as_str);
                    return Err(format!(
                        "{why}; {} has not answered: {error}",
                        options.urls[0]
                    ));
                }
            }
            Err(error) => {
                return Err(format!(
                    "the list of stocks of {} could not be read: {error}",
                    options.urls[0]
                ));
            }
        }
    }
}

/// No two acknowledged orders may share a number, also not those of two clients.
fn find_shared_numbers(outcome: &mut Outcome) {
    let mut seen = HashSet::new();
    for acknowledged in &outcome.acknowledged {
        if !seen.insert(acknowledged.number) {
            outcome.noticed_in_final_check = true;
            outcome.mismatches.push(format!(
                "two orders have the number {}",
                acknowledged.number
            ));
        }
    }
}

/// The pause before the next attempt: the response's `Retry-After`, or a pause that grows with each
/// attempt. It is random, so that clients do not come back all at once.
fn pause(error: &ApiError, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
    if let ApiError::Refused {
        retry_after: Some(asked),
        ..
    } = error
    {
        // Also if it is long: the bazaar knows better when to come back.
        return *asked;
    }
    // Doubling up to a second. The shift is bounded, as attempts are not.
    let longest = 50_u64.saturating_mul(1 << attempt.min(5)).min(1_000);
    Duration::from_millis(rng.u64(longest / 2..=longest))
}

fn draw(rng: &mut fastrand::Rng, name: &str) -> NewOrder {
    let side = if rng.bool() { Side::Buy } else { Side::Sell };
    NewOrder {
        name: name.into(),
        quantity: rng.u64(1..=10),
        side,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(number: u64) -> Acknowledged {
        let order = NewOrder {
            name: "FishCo".into(),
            quantity: 1,
            side: Side::Buy,
        };
        Acknowledged {
            number,
            order,
            key: "k".into(),
        }
    }

    /// A number that two clients have is a mismatch.
    #[test]
    fn a_number_that_two_clients_have_is_a_mismatch() {
        let mut outcome = Outcome {
            acknowledged: vec![acknowledged(1), acknowledged(2)],
            ..Outcome::default()
        };
        find_shared_numbers(&mut outcome);
        assert!(outcome.is_clean());
        outcome.merge(Outcome {
            acknowledged: vec![acknowledged(1)],
            ..Outcome::default()
        });
        find_shared_numbers(&mut outcome);
        assert_eq!(outcome.mismatches, ["two orders have the number 1"]);
        assert!(!outcome.is_clean() && outcome.noticed_in_final_check);
    }

    /// A client waits as long as `Retry-After` asks, otherwise between 25 ms and 1 s, growing.
    #[test]
    fn a_pause_obeys_retry_after_and_else_grows() {
        let mut rng = fastrand::Rng::with_seed(1);
        let wait = Some(Duration::from_secs(2));
        let asked = ApiError::Refused {
            status: 503,
            message: String::new(),
            retry_after: wait,
        };
        assert_eq!(Some(pause(&asked, 0, &mut rng)), wait);
        let reset = ApiError::NoAnswer("reset".into());
        for (attempt, longest) in [(0, 50), (1, 100), (4, 800), (5, 1_000), (40, 1_000)] {
            let paused = pause(&reset, attempt, &mut rng).as_millis();
            assert!(
                (longest / 2..=longest).contains(&paused),
                "{attempt}: {paused}"
            );
        }
    }

    /// The same seed draws the same orders.
    #[test]
    fn a_seed_draws_the_same_orders_again() {
        let orders = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            (0..20)
                .map(|_| draw(&mut rng, "FishCo"))
                .collect::<Vec<_>>()
        };
        assert_eq!(orders(5), orders(5));
        assert_ne!(orders(5), orders(6));
        assert!(
            orders(5)
                .iter()
                .all(|order| (1..=10).contains(&order.quantity))
        );
    }
}
