//! The experiments, their durations and their sequence. All together take less than ten minutes.

use super::bootstrap::{RESAMPLES, SLICE_MS};
use super::tables::{Cache, Fact};
use std::time::Duration;

/// Estimated time for computing the intervals.
pub const COMPUTE: Duration = Duration::from_secs(10);
/// Estimated time of a run beside its trading: it starts the clients, and sometimes restarts the
/// front-end.
const AROUND: Duration = Duration::from_millis(900);

/// A fault of the crash experiments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    KillLeader,
    KillFollower,
    /// Kills the leader and a random follower at once.
    KillLeaderAndFollower,
    /// Kills both followers at once.
    KillFollowers,
    /// Pauses the leader with SIGSTOP, and resumes it later.
    PauseLeader,
}

impl Fault {
    pub fn label(self) -> &'static str {
        match self {
            Self::KillLeader => "kill leader",
            Self::KillFollower => "kill follower",
            Self::KillLeaderAndFollower => "kill leader and follower",
            Self::KillFollowers => "kill two followers",
            Self::PauseLeader => "pause leader",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    pub fault: Fault,
    /// Whether the fault comes while the clients read their orders back, not while they trade.
    pub in_final_check: bool,
}

/// The plan of a whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the random sequences and of the clients.
    pub seed: u64,
    pub clients: usize,
    pub percents: Vec<u32>,
    /// Rounds of every setting.
    pub rounds: u32,
    /// How long clients trade in one round.
    pub trade: Duration,
    pub distance: Duration,
    /// How long clients trade in one round at that distance.
    pub distance_trade: Duration,
    /// Numbers of clients of the growing load.
    pub loads: Vec<usize>,
    pub load_trade: Duration,
    /// Probability of a trade in the growing load and the crash experiments, in per cent.
    pub usual_percent: u32,
    /// Capacity of the small cache of the replacement experiment.
    pub small_capacity: usize,
    /// Rounds of the crash experiments, in their sequence.
    pub crashes: Vec<Round>,
    /// How long clients trade before a fault, and after its end.
    pub around_fault: Duration,
    /// How long a replica is away.
    pub away: Duration,
}

impl Plan {
    pub fn full(seed: u64) -> Self {
        use Fault::{KillFollower, KillFollowers, KillLeader, KillLeaderAndFollower, PauseLeader};
        let rounds = [
            (KillLeader, false),
            (KillLeader, false),
            (KillLeader, false),
            (KillLeader, true),
            (KillFollower, false),
            (KillFollower, false),
            (KillFollower, true),
            (KillLeaderAndFollower, false),
            (KillLeaderAndFollower, true),
            (KillFollowers, false),
            (PauseLeader, false),
            (PauseLeader, true),
        ];
        Self {
            seed,
            clients: 5,
            percents: vec![0, 20, 40, 60, 80],
            rounds: 3,
            trade: Duration::from_secs(3),
            distance: Duration::from_millis(10),
            distance_trade: Duration::from_millis(2_500),
            loads: vec![1, 2, 5, 10, 20, 50],
            load_trade: Duration::from_secs(4),
            usual_percent: 60,
            small_capacity: 5,
            crashes: shuffled(
                rounds.map(|(fault, in_final_check)| Round {
                    fault,
                    in_final_check,
                }),
                seed,
            ),
            around_fault: Duration::from_millis(900),
            away: Duration::from_millis(1_200),
        }
    }

    /// Every experiment once, for tests: less than a minute, too short for useful numbers.
    pub fn quick(seed: u64) -> Self {
        let rounds = [(Fault::KillLeader, false), (Fault::PauseLeader, true)];
        Self {
            percents: vec![0, 60],
            rounds: 1,
            trade: Duration::from_millis(700),
            distance_trade: Duration::from_millis(700),
            loads: vec![1, 5],
            load_trade: Duration::from_millis(500),
            crashes: shuffled(
                rounds.map(|(fault, in_final_check)| Round {
                    fault,
                    in_final_check,
                }),
                seed,
            ),
            around_fault: Duration::from_millis(500),
            away: Duration::from_millis(800),
            ..Self::full(seed)
        }
    }

    /// Every setting of the cache and p, in random sequence, so that a slow minute of the machine
    /// does not meet the same setting in each round.
    pub fn settings(&self, caches: &[Cache], round: u32) -> Vec<(Cache, u32)> {
        let all = caches
            .iter()
            .flat_map(|cache| self.percents.iter().map(|p| (*cache, *p)));
        shuffled(all, self.seed.wrapping_add(u64::from(round)))
    }

    /// Estimated time of one round at one setting.
    pub fn run_estimate(&self, trade: Duration) -> Duration {
        // Reading back takes longer, the more was traded.
        trade + trade / 3 + AROUND
    }

    pub fn crash_estimate(&self) -> Duration {
        self.around_fault * 2 + self.away + Duration::from_millis(1_500)
    }

    pub fn estimate(&self) -> Duration {
        let settings = u32::try_from(2 * self.percents.len()).unwrap_or(u32::MAX);
        let loads = u32::try_from(2 * self.loads.len()).unwrap_or(u32::MAX);
        let crashes = u32::try_from(self.crashes.len()).unwrap_or(u32::MAX);
        let latency = self.run_estimate(self.trade) + self.run_estimate(self.distance_trade);
        latency * settings * self.rounds
            + self.run_estimate(self.load_trade) * loads
            + self.crash_estimate() * crashes
            + COMPUTE * 2
    }

    pub fn facts(&self) -> Vec<Fact> {
        let seconds = |time: Duration| format!("{:.1}", time.as_secs_f64());
        vec![
            Fact::new("seed", &self.seed.to_string()),
            Fact::new("slice_ms", &SLICE_MS.to_string()),
            Fact::new("resamples", &RESAMPLES.to_string()),
            Fact::new("clients", &self.clients.to_string()),
            Fact::new("rounds", &self.rounds.to_string()),
            Fact::new("trade_s", &seconds(self.trade)),
            Fact::new("distance_ms", &self.distance.as_millis().to_string()),
            Fact::new("distance_trade_s", &seconds(self.distance_trade)),
            Fact::new("load_trade_s", &seconds(self.load_trade)),
            Fact::new("usual_p", &self.usual_percent.to_string()),
            Fact::new("away_s", &seconds(self.away)),
        ]
    }
}

fn shuffled<T>(items: impl IntoIterator<Item = T>, seed: u64) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut items);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The full plan has the experiments of the lab and fits ten minutes, with the build; the quick
    /// plan fits a minute.
    #[test]
    fn fits() {
        let plan = Plan::full(1);
        assert!(
            plan.estimate() < Duration::from_secs(480),
            "{:?}",
            plan.estimate()
        );
        assert!(
            Plan::quick(1).estimate() < Duration::from_secs(50),
            "{:?}",
            Plan::quick(1).estimate()
        );
        assert_eq!(plan.clients, 5);
        let led = |round: &&Round| {
            matches!(
                round.fault,
                Fault::KillLeader | Fault::KillLeaderAndFollower
            )
        };
        assert!(plan.crashes.len() >= 10 && plan.crashes.iter().filter(led).count() >= 4);
        let of = |fault| {
            plan.crashes
                .iter()
                .filter(|round| round.fault == fault)
                .count()
        };
        assert!(
            of(Fault::KillFollowers) > 0
                && of(Fault::KillLeaderAndFollower) > 0
                && of(Fault::PauseLeader) > 0
        );
        assert!(plan.crashes.iter().any(|round| round.in_final_check));
    }

    /// Every round has every setting once, in another sequence; a seed repeats it.
    #[test]
    fn settings() {
        let plan = Plan::full(7);
        let caches = [Cache::On, Cache::Off];
        let (one, two) = (plan.settings(&caches, 1), plan.settings(&caches, 2));
        assert_ne!(one, two);
        assert_eq!(one, Plan::full(7).settings(&caches, 1));
        let sorted = |mut settings: Vec<(Cache, u32)>| {
            settings.sort_unstable();
            settings
        };
        assert_eq!(sorted(one), sorted(two));
        assert_eq!(plan.settings(&caches, 1).len(), 10);
    }
}
