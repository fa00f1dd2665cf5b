//! The cache of the model and the cache of the front-end are driven by the same random events and
//! must answer the same. Without this the model would prove something about itself only.

use common::clock::BootInstant;
use common::wire::catalog::SessionId;
use frontend::cache::{Cache as Real, Fill as RealFill};
use std::sync::Arc;
use tests::model::cache::catalog::{Session, id};
use tests::model::cache::config::Rules;
use tests::model::cache::front::{Cache as Model, Fill as ModelFill};

/// Runs, and events of each.
const RUNS: u64 = 2_000;
const EVENTS: usize = 200;
const STOCK: &str = "FishCo";

struct Pair {
    real: Real,
    model: Model,
    fills: Vec<(RealFill, ModelFill)>,
    sessions: u8,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        Self {
            real: Real::new(4),
            model: Model::default(),
            fills: Vec::new(),
            sessions: 0,
            now: 1_000,
        }
    }

    /// One of the sessions so far, or an unknown one.
    fn some_session(&self, random: &mut fastrand::Rng) -> (Session, SessionId) {
        let session = (
            0,
            random.u8(self.sessions.saturating_sub(2)..=self.sessions + 1),
        );
        (session, id(session))
    }

    fn event(&mut self, random: &mut fastrand::Rng) {
        let at = BootInstant::from_millis;
        let lease_end = at(self.now + random.u64(0..600));
        match random.u8(0..10) {
            0 | 1 => self
                .fills
                .push((self.real.begin_fill(STOCK), self.model.begin_fill())),
            2 | 3 if !self.fills.is_empty() => {
                let (real, model) = self.fills.swap_remove(random.usize(0..self.fills.len()));
                let value = random.bool().then(|| random.u8(..));
                self.real
                    .finish_fill(&real, value.map(|value| Arc::from([value])));
                self.model.finish_fill(model, value);
            }
            4 => {
                let (session, name) = self.some_session(random);
                let taken = self.real.invalidate(&name, &[STOCK.into()]);
                assert_eq!(
                    taken,
                    self.model.invalidate(&Rules::DESIGN, session),
                    "whether {name} is known"
                );
            }
            5 => {
                self.sessions += 1;
                self.real.begin_session(id((0, self.sessions)));
                self.model.begin_session((0, self.sessions));
            }
            6 => {
                if let Some(session) = self.model.pending {
                    self.real.install_session(&id(session), lease_end);
                    self.model.install_session(&Rules::DESIGN, lease_end);
                }
            }
            7 => {
                let (session, name) = self.some_session(random);
                self.real.renew(&name, lease_end);
                self.model.renew(session, lease_end);
            }
            8 if random.u8(0..4) == 0 => {
                let (session, name) = self.some_session(random);
                self.real.lose(&name);
                self.model.lose(session);
            }
            _ => self.now += random.u64(0..200),
        }
        if self.fills.is_empty() {
            self.model.reset_counts();
        }
        let now = at(self.now);
        assert_eq!(
            self.real.get(STOCK, now).as_deref(),
            self.model.get(now).as_ref().map(std::slice::from_ref)
        );
        assert_eq!(self.real.leased(now), self.model.leased(now));
    }
}

/// The model's cache and the code's cache answer the same.
#[test]
fn the_models_cache_is_the_codes() {
    let seed = std::env::var("BAZAAR_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("BAZAAR_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = 0;
    for _ in 0..RUNS {
        let mut pair = Pair::new();
        for _ in 0..random.usize(1..EVENTS) {
            pair.event(&mut random);
            hits += u64::from(pair.model.get(BootInstant::from_millis(pair.now)).is_some());
        }
    }
    assert!(
        hits > RUNS,
        "only {hits} reads were answered from the caches: the events miss what matters"
    );
    println!("{RUNS} runs, {hits} reads answered from both caches alike");
}
