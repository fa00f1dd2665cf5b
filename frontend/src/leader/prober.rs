//! One thread per replica: asks for its health each heartbeat, or at once when woken, and announces
//! the leader to it. It never decides.

use crate::leader::election::{Event, Outcome, Probe};
use crate::leader::health_table::{HealthTable, Observation};
use common::clock::BootInstant;
use common::http::client::{Call, CallError, HttpClient};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{CONNECT_TIMEOUT, HEARTBEAT, PROBE_TIMEOUT};
use common::wire::order::ReplicaId;
use common::wire::replica::{Health, LeaderNotice};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A running prober. The service's stop ends it; dropping it waits for that.
#[derive(Debug)]
pub struct Prober {
    /// Bounded at one: a second wake-up while one waits adds nothing, and the monitor never blocks.
    wake: Sender<()>,
    /// The newest leader, until it was announced to the replica. A newer one replaces it: nobody
    /// needs to hear of a leader that is gone.
    notice: Arc<Mutex<Option<LeaderNotice>>>,
    _thread: Thread,
}

pub struct ProberConfig {
    pub id: ReplicaId,
    /// Its base URL.
    pub url: String,
    /// Shown to it, where there is one.
    pub token: Option<String>,
    /// For each probe that ended.
    pub events: Sender<Event>,
    pub health_table: Arc<HealthTable>,
    /// The service's stop.
    pub stop: Shutdown,
}

impl Prober {
    #[must_use]
    pub fn start(config: ProberConfig) -> Self {
        let (wake, woken) = bounded(1);
        let notice = Arc::new(Mutex::new(None));
        let thread = Thread::spawn(&format!("probe-{}", config.id), {
            let notice = Arc::clone(&notice);
            // One connection: probes of a replica follow each other.
            let client = HttpClient::new(1, config.token.as_deref());
            move || {
                Worker {
                    config,
                    client,
                    notice,
                    woken,
                    said: None,
                }
                .run()
            }
        });
        Self {
            wake,
            notice,
            _thread: thread,
        }
    }

    /// Begins a probe at once, or as soon as the one under way has ended.
    pub fn probe_now(&self) {
        // Full: it will be woken anyway.
        let _ = self.wake.try_send(());
    }

    /// Announces the leader to the replica.
    pub fn announce(&self, notice: LeaderNotice) {
        // The notice before the wake-up: the thread that wakes must find it.
        *self.notice.lock() = Some(notice);
        self.probe_now();
    }
}

struct Worker {
    config: ProberConfig,
    client: HttpClient,
    notice: Arc<Mutex<Option<LeaderNotice>>>,
    woken: Receiver<()>,
    /// The stranger in the replica's place that the log names already.
    said: Option<Observation>,
}

impl Worker {
    fn run(&mut self) {
        while !self.config.stop.is_triggered() {
            let began = Instant::now();
            let probe = self.probe();
            // The table before the event: whoever acts on the monitor's decision finds the health
            // that led to it.
            self.config
                .health_table
                .set_replica(self.config.id, &probe.outcome);
            self.say();
            // Waits for room. The monitor blocks on nothing, so it makes some soon; it drops the
            // inbox first when it ends, which ends this wait.
            if self
                .config
                .events
                .send(Event::Probe(self.config.id, probe))
                .is_err()
            {
                return;
            }
            // After the probe was reported: an announcement to a replica that hangs takes a whole
            // time-out.
            self.announce();
            // From the start of the probe, so that a slow answer does not stretch the heartbeat.
            let rest = HEARTBEAT.saturating_sub(began.elapsed());
            // Woken, timed out or stopped: the loop's head knows.
            let _ = self.config.stop.receive_timeout(&self.woken, rest);
        }
    }

    /// Logs that someone else answers in the replica's place, and that it answers again; once each.
    fn say(&mut self) {
        // As the table shows it, since it alone knows which bazaar is ours.
        let seen = self.config.health_table.replica(self.config.id);
        let (replica, url) = (self.config.id, &self.config.url);
        match &seen {
            _ if self.said.as_ref() == Some(&seen) => return,
            // Silence is no news of a stranger: the log's last line on it stands until it answers.
            Observation::Down => return,
            Observation::WrongReplica(other) => {
                tracing::error!(
                    %replica, url, answers = %other,
                    "another replica answers under this URL, so this one counts as down: \
                     correct ORDER_REPLICAS"
                );
            }
            Observation::Foreign(cluster) => {
                tracing::error!(
                    %replica, url, %cluster,
                    "this replica's file belongs to another bazaar, so it counts as down: give it \
                     its own file, or move that one away and it fetches this bazaar's log"
                );
            }
            Observation::Health(_) if self.said.is_some() => {
                tracing::info!(
                    %replica,
                    "the replica itself answers again, with a file of this bazaar"
                );
            }
            Observation::Health(_) => {}
        }
        // Only strangers are kept: ordinary health changes with every order.
        self.said = Some(seen).filter(|seen| seen.health().is_none());
    }

    fn probe(&self) -> Probe {
        let mut probe = self.probe_once();
        // Only a miss that came at once can be such a connection. One that took its time is a
        // time-out, and a second try would double it.
        if probe.outcome == Outcome::Missed
            && BootInstant::now().saturating_since(probe.began) < PROBE_TIMEOUT / 2
        {
            // A kept connection that the other side closed does not show that the port is closed.
            probe = self.probe_once();
        }
        probe
    }

    fn probe_once(&self) -> Probe {
        // Before the call leaves: a judgement counts only health that was asked for after it began.
        let began = BootInstant::now();
        let answer = self
            .client
            .get::<Health>(&self.config.url, "/health", PROBE_TIMEOUT);
        let outcome = outcome(
            answer,
            self.config.id,
            BootInstant::now().saturating_since(began),
        );
        Probe { began, outcome }
    }

    fn announce(&self) {
        let Some(notice) = self.notice.lock().take() else {
            return;
        };
        let call = Call {
            method: "PUT",
            base: &self.config.url,
            path: "/term",
            timeout: PROBE_TIMEOUT,
            trace: None,
        };
        // The election repeats a lost one: the replica's health names the leader that it knows.
        match self.client.call::<_, serde::de::IgnoredAny>(call, &notice) {
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(
                    replica = %self.config.id, term = notice.term, %error,
                    "leader not announced"
                );
            }
        }
    }
}

fn outcome(answer: Result<Health, CallError>, id: ReplicaId, took: Duration) -> Outcome {
    match answer {
        Ok(health) if health.replica == id => Outcome::Health(health),
        // Its word counts for nothing: with one URL given twice, one replica's health would pass
        // for two.
        Ok(health) => Outcome::WrongReplica(health.replica),
        // Refused at once, so nobody listens there. A connection that was not made in time is a
        // miss like any other: one lost packet does not end a leader.
        Err(CallError::NotSent(_)) if took < CONNECT_TIMEOUT / 2 => Outcome::Refused,
        Err(error) => {
            tracing::debug!(replica = %id, %error, "probe missed");
            Outcome::Missed
        }
    }
}
