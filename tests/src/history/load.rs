//! Clients that make a history: each trades, reads and queries at all front-ends in turn, and keeps
//! to the contract (a repeat has the same key).

use super::{Answer, Call, Event, History};
use client::api::{Api, ApiError};
use common::wire::order::Side;
use common::wire::public::NewOrder;
use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Few, so that calls meet at one stock and buyers run it dry.
pub const STOCKS: [&str; 4] = ["GameStart", "FishCo", "BoarCo", "MenhirCo"];
/// Quantities of orders: up to here.
const LARGEST: u64 = 40;
/// How long a client goes on repeating an order.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it waits for one answer: more than a front-end takes for any.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
/// Rest between two repeats and two calls: keeps the load of a run bounded.
const REST: Duration = Duration::from_millis(5);
/// Calls of one client at most.
const MOST_CALLS: u64 = 100_000;

/// How clients behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// The front-ends' public URLs.
    pub urls: Vec<String>,
    /// Clients at once.
    pub clients: u32,
    /// How many of them keep to one front-end each, instead of changing between all.
    pub faithful: u32,
    /// The seed of the random choices.
    pub seed: u64,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    history: Arc<History>,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

impl Load {
    /// Starts the clients.
    ///
    /// # Panics
    /// When the system has no thread left.
    #[must_use]
    pub fn start(options: &Options, history: &Arc<History>) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |number| {
            let apis = options
                .urls
                .iter()
                .map(|url| Api::with_timeout(url, ANSWER_TIMEOUT))
                .collect();
            let mut client = Client {
                number,
                apis,
                faithful: number < options.faithful,
                rng: Rng::with_seed(options.seed.wrapping_add(u64::from(number))),
                keys: 0,
                history: Arc::clone(history),
                shared: Arc::clone(&shared),
            };
            let builder = thread::Builder::new().name(format!("client-{number}"));
            builder
                .spawn(move || client.run())
                .expect("the system starts a thread")
        };
        let clients = (0..options.clients).map(start).collect();
        Self {
            history: Arc::clone(history),
            shared,
            clients,
        }
    }

    /// Orders acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// The history that is being made.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Lets each client finish its call, and waits for all.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn finish(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client ends without panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // When a test fails: the clients end by themselves, and soon.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Client {
    number: u32,
    apis: Vec<Api>,
    faithful: bool,
    rng: Rng,
    keys: u64,
    history: Arc<History>,
    shared: Arc<Shared>,
}

impl Client {
    fn run(&mut self) {
        for _ in 0..MOST_CALLS {
            if self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
            match self.rng.u32(..20) {
                0 => self.order(false),
                1..=9 => self.order(true),
                10..=18 => self.read(),
                _ => self.query(),
            }
            thread::sleep(REST);
        }
    }

    fn api(&mut self) -> &Api {
        let count = self.apis.len();
        let at = if self.faithful {
            self.number as usize % count
        } else {
            self.rng.usize(..count)
        };
        &self.apis[at]
    }

    fn order(&mut self, keyed: bool) {
        let name = STOCKS[self.rng.usize(..STOCKS.len())].into();
        let side = if self.rng.u32(..9) < 5 {
            Side::Buy
        } else {
            Side::Sell
        };
        let order = NewOrder {
            name,
            quantity: self.rng.u64(1..=LARGEST),
            side,
        };
        self.keys += 1;
        let key = keyed.then(|| format!("client-{}-{}", self.number, self.keys));
        let start_us = self.history.now_us();
        let deadline = Instant::now() + PATIENCE;
        let (mut tries, mut nothing) = (0, true);
        let answer = loop {
            tries += 1;
            match self.api().order(&order, key.as_deref()) {
                Ok(number) => {
                    self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                    break Answer::Number(number);
                }
                Err(ApiError::Refused { status: 409, .. }) => break Answer::Refused,
                Err(error) => {
                    nothing &= matches!(
                        &error,
                        ApiError::Refused { message, .. } if message.contains("nothing happened")
                    );
                    assert!(error.is_retryable(), "{order:?} was answered with {error}");
                }
            }
            let gives_up =
                !keyed || self.shared.stop.load(Ordering::Relaxed) || Instant::now() >= deadline;
            if gives_up {
                break if nothing {
                    Answer::Nothing
                } else {
                    Answer::Unknown
                };
            }
            thread::sleep(REST);
        };
        self.note(start_us, tries, Call::Order { key, order }, answer);
    }

    fn read(&mut self) {
        let name = STOCKS[self.rng.usize(..STOCKS.len())];
        let start_us = self.history.now_us();
        let answer = self
            .api()
            .stock(name)
            .map_or(Answer::Unknown, |stock| Answer::Quantity(stock.quantity));
        self.note(start_us, 1, Call::Read { name: name.into() }, answer);
    }

    fn query(&mut self) {
        // Around the newest one: both found and missing occur.
        let newest = self.shared.acknowledged.load(Ordering::Relaxed);
        let number = if self.rng.bool() {
            newest.saturating_sub(5) + self.rng.u64(..10)
        } else {
            self.rng.u64(..=newest)
        };
        let start_us = self.history.now_us();
        let answer = match self.api().order_by_number(number) {
            Ok(found) => Answer::Found(NewOrder {
                name: found.name,
                quantity: found.quantity,
                side: found.side,
            }),
            Err(ApiError::Refused { status: 404, .. }) => Answer::Missing,
            Err(_) => Answer::Unknown,
        };
        self.note(start_us, 1, Call::Query { number }, answer);
    }

    fn note(&self, start_us: u64, tries: u32, call: Call, answer: Answer) {
        let end_us = self.history.now_us();
        self.history.note(Event {
            client: self.number,
            start_us,
            end_us,
            tries,
            call,
            answer,
        });
    }
}
