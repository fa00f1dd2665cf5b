//! One client: its requests, its retries, its final check.

use super::{Acknowledged, Control, EXAMPLES, Options, Outcome, Sample, draw, pause};
use crate::api::{Api, ApiError};
use crate::stats::Kind;
use common::clock::BootInstant;
use std::sync::atomic::Ordering;
use std::time::Instant;

pub(super) struct Session<'a> {
    options: &'a Options,
    control: &'a Control,
    stocks: &'a [String],
    /// Prefix of every key of this client.
    key_prefix: String,
    api: Api,
    rng: fastrand::Rng,
    /// For pauses only: a retry must not change the drawn orders.
    pauses: fastrand::Rng,
    checking: bool,
    outcome: Outcome,
}

/// The end of one request, after its repeats.
enum RequestEnd<T> {
    Success(T),
    /// Refused or given up; the figures count it already.
    Otherwise,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        options: &'a Options,
        control: &'a Control,
        stocks: &'a [String],
        run_id: &str,
        client: usize,
    ) -> Self {
        let url = &options.urls[client % options.urls.len()];
        // One seed for all clients; the multiple of a large odd number separates their sequences.
        let seed = options
            .seed
            .wrapping_add((client as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let api = Api::with_timeout(url, options.attempt_timeout);
        // Known to `cut` before the first request is sent.
        control.apis.lock().push(api.clone());
        Self {
            options,
            control,
            stocks,
            key_prefix: format!("{run_id}-{client}"),
            api,
            rng: fastrand::Rng::with_seed(seed),
            pauses: fastrand::Rng::new(),
            checking: false,
            outcome: Outcome::default(),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        for iteration in 0..self.options.iterations {
            if self.control.stop.load(Ordering::Relaxed) {
                break;
            }
            self.look_up_and_trade(iteration);
            self.control.step();
        }
        self.checking = true;
        loop {
            // The final check goes round again while a test injures the bazaar.
            for index in 0..self.outcome.acknowledged.len() {
                if self.control.is_ended() {
                    break;
                }
                self.read_back(index);
                self.control.step();
            }
            if self.control.is_ended()
                || self.outcome.acknowledged.is_empty()
                || !self.control.check_again.load(Ordering::Relaxed)
            {
                break;
            }
        }
        self.outcome.noticed_in_final_check |= !self.outcome.mismatches.is_empty();
        self.outcome
    }

    fn look_up_and_trade(&mut self, iteration: u64) {
        let name = &self.stocks[self.rng.usize(..self.stocks.len())];
        // Draw everything before the first request: the answers must not change the sequence.
        let order = (self.rng.f64() < self.options.probability).then(|| draw(&mut self.rng, name));
        let looked_up = self.request(Kind::Lookup, |api| api.stock(name));
        if let RequestEnd::Success(stock) = looked_up
            && stock.name != *name
        {
            self.outcome.stats.of_mut(Kind::Lookup).unexpected += 1;
            self.note(&format!("looked {name} up and got {}", stock.name));
        }
        // Also where the lookup failed: the orders that a seed draws are the same whatever is
        // answered.
        let Some(order) = order else { return };
        if self.control.is_ended() {
            return;
        }
        // One key for all attempts of this order, and never the same in another run.
        let key = format!("{}-{iteration}", self.key_prefix);
        if let RequestEnd::Success(number) =
            self.request(Kind::Order, |api| api.order(&order, Some(&key)))
        {
            // Counted only now: an order whose outcome is unknown is not read back.
            self.control.checks.fetch_add(1, Ordering::Relaxed);
            self.outcome
                .acknowledged
                .push(Acknowledged { number, order, key });
        }
    }

    fn read_back(&mut self, index: usize) {
        let number = self.outcome.acknowledged[index].number;
        let RequestEnd::Success(found) =
            self.request(Kind::OrderQuery, |api| api.order_by_number(number))
        else {
            return;
        };
        let ordered = &self.outcome.acknowledged[index].order;
        let equal = found.number == number
            && found.name == ordered.name
            && found.side == ordered.side
            && found.quantity == ordered.quantity;
        if !equal {
            self.outcome.mismatches.push(format!(
                "order {number} was {ordered:?} and reads back as {found:?}"
            ));
        }
    }

    /// Sends a request, and repeats it until an answer comes or the deadline has passed.
    fn request<T>(
        &mut self,
        kind: Kind,
        call: impl Fn(&Api) -> Result<T, ApiError>,
    ) -> RequestEnd<T> {
        let (began, started) = (BootInstant::now(), Instant::now());
        for attempt in 0.. {
            let error = match call(&self.api) {
                // Any answer, also one to another client, shows that the bazaar lives.
                Ok(answer) => {
                    self.control.answered();
                    let took = started.elapsed();
                    // With its retries: this is how long the client waited.
                    self.outcome.stats.of_mut(kind).record(took);
                    if self.options.keep_samples {
                        self.outcome.samples.push(Sample { kind, began, took });
                    }
                    return RequestEnd::Success(answer);
                }
                Err(error) => error,
            };
            if self.control.is_ended() {
                // Our own `cut` may have closed the connection: that is no failure of the bazaar.
                break;
            }
            if !error.is_retryable() {
                self.control.answered();
            }
            // A promised outcome, and no failure: too few are left.
            if kind == Kind::Order && error.status() == Some(409) {
                self.outcome.stats.of_mut(kind).refused += 1;
                return RequestEnd::Otherwise;
            }
            self.note(&format!("{}: {error}", kind.label()));
            if !error.is_retryable() {
                self.answered_wrongly(kind, &error);
                return RequestEnd::Otherwise;
            }
            let wait = pause(&error, attempt, &mut self.pauses);
            // Before the pause: it would end beyond the deadline.
            if started.elapsed() + wait >= self.options.deadline {
                break;
            }
            self.outcome.stats.of_mut(kind).retries += 1;
            // The end of the run ends the pause.
            if self.control.ended.wait(wait) {
                break;
            }
        }
        self.outcome.stats.of_mut(kind).unanswered += 1;
        let silent = self.options.stop_when_silent && self.control.is_silent_since(began);
        if silent && !self.control.is_ended() {
            let waited = self.options.deadline.as_secs();
            self.control
                .end(&format!("no request was answered for {waited} s"));
            // All clients at once: each of them would wait for its own deadline otherwise.
            self.control.cut();
        }
        RequestEnd::Otherwise
    }

    fn answered_wrongly(&mut self, kind: Kind, error: &ApiError) {
        // An acknowledged order must be there: this is no response of another shape, but a lost
        // order.
        if kind == Kind::OrderQuery && error.status() == Some(404) {
            self.outcome
                .mismatches
                .push(format!("an acknowledged order is missing: {error}"));
        } else {
            self.outcome.stats.of_mut(kind).unexpected += 1;
        }
    }

    /// Records that the client noticed a failure; keeps the first few in words.
    fn note(&mut self, what: &str) {
        let (noticed, when) = if self.checking {
            (
                &mut self.outcome.noticed_in_final_check,
                "in the final check",
            )
        } else {
            (&mut self.outcome.noticed_during_orders, "during orders")
        };
        *noticed = true;
        if self.outcome.examples.len() < EXAMPLES {
            self.outcome.examples.push(format!("{when}, {what}"));
        }
    }
}
