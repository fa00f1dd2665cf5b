//! Allowed responses to a client: to orders, and "no such order" for a number.

use super::catalog::Verdict;
use super::config::{Config, Key, STOCKS};
use super::state::{Broken, State};
use catalog::market::{Decision, decide};

impl State {
    /// An answer reaches the client. The journal's order is the order of events that it must fit: a
    /// trade lies between the request and the answer, and after all that was answered before the
    /// request; a refusal is true at some moment in between.
    pub fn tell(&mut self, config: &Config, key: Key, verdict: Verdict) {
        let client = &self.clients[usize::from(key)];
        match client.verdict {
            Some(before) if before != verdict => drop(self.broken.insert(Broken::ToldTwoThings)),
            Some(_) => {}
            None => {
                let (from, after) = (usize::from(client.from), client.after);
                let fits = match verdict {
                    Verdict::Accepted(number) => {
                        self.catalog.journal.get(usize::from(number)) == Some(&key)
                            && usize::from(number) >= from
                            && self.numbers_of(after).all(|other| other < number)
                    }
                    Verdict::Refused => self.was_short(config, key, from),
                };
                if !fits {
                    self.broken.insert(Broken::NotLinearizable);
                }
                self.clients[usize::from(key)].verdict = Some(verdict);
            }
        }
    }

    fn numbers_of(&self, keys: u16) -> impl Iterator<Item = u8> {
        self.clients
            .iter()
            .enumerate()
            .filter_map(move |(key, client)| match client.verdict {
                Some(Verdict::Accepted(number)) if keys >> key & 1 == 1 => Some(number),
                _ => None,
            })
    }

    /// Whether there was a moment, since the journal had `from` rows, at which the order had to be
    /// refused.
    fn was_short(&self, config: &Config, key: Key, from: usize) -> bool {
        let order = config.orders[usize::from(key)];
        (from..=self.catalog.journal.len()).any(|rows| {
            let left = Self::left_after(config, &self.catalog.journal[..rows]);
            left.is_some_and(|left| {
                decide(left[order.stock], order.side, order.quantity)
                    == Decision::InsufficientQuantity
            })
        })
    }

    /// The quantities that these rows leave; `None` when a row would not have been allowed.
    pub fn left_after(config: &Config, rows: &[Key]) -> Option<[u64; STOCKS]> {
        rows.iter().try_fold(config.initial, |mut left, key| {
            let order = config.orders[usize::from(*key)];
            let Decision::Trade { left: after } =
                decide(left[order.stock], order.side, order.quantity)
            else {
                return None;
            };
            left[order.stock] = after;
            Some(left)
        })
    }

    /// A replica that did not find an acknowledged order finds out whether it may say so: it must
    /// lead the current term, and have led it when it looked.
    pub fn confirm_missing(&mut self, config: &Config) {
        let Some(query) = self.query.take() else {
            return;
        };
        let leads = self.replicas[query.replica].role.led_term();
        let current = leads == Some(self.catalog.term_info().term);
        if current && (leads == query.led || !config.rules.led_before_looking) {
            self.broken.insert(Broken::AcknowledgedNotFound);
        }
    }
}
