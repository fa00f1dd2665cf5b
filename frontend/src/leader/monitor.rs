//! The thread that decides who leads, by the rules of [`crate::leader::election`]. It never blocks:
//! probers and the election thread make the calls, and send it their outcomes as events.
//!
//! ```text
//!   probers ──probe──┐                       ┌──> probers: probe now, announce
//!   election ─answer─┼─> bounded ─> monitor ─┼──> election: read the term, ask to lead
//!   queues ──failed──┘                       └──> LeaderCell: adopt, release, confirm
//! ```

use crate::leader::cell::LeaderCell;
use crate::leader::election::{Command, Election, Event, TICK};
use crate::leader::election_calls::ElectionCalls;
use crate::leader::health_table::HealthTable;
use crate::leader::prober::{Prober, ProberConfig};
use common::clock::BootInstant;
use common::http::catalogs::Catalogs;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::HEARTBEAT;
use common::wire::order::{ClusterId, ReplicaId, Term};
use common::wire::replica::{LeadRequest, LeaderNotice};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events that may wait. Probers and the election thread wait for room; a failure report that finds
/// none is dropped, since the heartbeat sees the same a little later.
const EVENTS: usize = 1_024;

/// A running monitor with its probers. The service's stop ends it; dropping it waits for that.
#[derive(Debug)]
pub struct Monitor {
    reports: Reports,
    _thread: Thread,
}

/// How the threads behind the queues report that a call to the leader failed.
#[derive(Debug, Clone)]
pub struct Reports(Sender<Event>);

impl Reports {
    /// A call to the leader of this term failed. That only triggers a check.
    pub fn failed(&self, term: Term) {
        // Never waits: a forwarder that waited for the monitor would hold its orders up.
        let _ = self.0.try_send(Event::Failed(term));
    }
}

pub struct MonitorConfig {
    pub replicas: BTreeMap<ReplicaId, String>,
    pub catalogs: Catalogs,
    /// Shown to all of them, where there is one.
    pub token: Option<String>,
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    pub health_table: Arc<HealthTable>,
    /// The service's stop.
    pub stop: Shutdown,
}

impl Monitor {
    /// Starts the monitor, the probers and the election thread.
    #[must_use]
    pub fn start(config: MonitorConfig) -> Self {
        // Bounded, so that a monitor that cannot keep up slows its probers down rather than fill
        // the memory.
        let (events, inbox) = bounded(EVENTS);
        let reports = Reports(events.clone());
        let thread = Thread::spawn("monitor", move || {
            MonitorThread::new(config, &events, inbox).run()
        });
        Self {
            reports,
            _thread: thread,
        }
    }

    /// For the threads that call the leader.
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }
}

/// The state of the monitor's thread. Fields drop in order: first the inbox, so that no prober
/// waits for room in it, then the threads are joined.
struct MonitorThread {
    inbox: Receiver<Event>,
    election: Election,
    probers: BTreeMap<ReplicaId, Prober>,
    calls: ElectionCalls,
    replicas: BTreeMap<ReplicaId, String>,
    cell: Arc<LeaderCell>,
    stop: Shutdown,
}

impl MonitorThread {
    fn new(config: MonitorConfig, events: &Sender<Event>, inbox: Receiver<Event>) -> Self {
        let MonitorConfig {
            replicas,
            catalogs,
            token,
            cell,
            health_table,
            stop,
        } = config;
        let election = Election::new(replicas.keys().copied(), BootInstant::now());
        // The one place where calls of an election block. The monitor goes on meanwhile, so that a
        // leader's death is noticed during a slow claim.
        let calls = ElectionCalls::start(catalogs, token.as_deref(), events.clone(), &stop);
        let prober = |(id, url): (&ReplicaId, &String)| {
            let prober = Prober::start(ProberConfig {
                id: *id,
                url: url.clone(),
                token: token.clone(),
                events: events.clone(),
                health_table: Arc::clone(&health_table),
                stop: stop.clone(),
            });
            (*id, prober)
        };
        let probers = replicas.iter().map(prober).collect();
        Self {
            inbox,
            election,
            probers,
            calls,
            replicas,
            cell,
            stop,
        }
    }

    fn run(mut self) {
        let mut commands = Vec::new();
        let mut next_tick = BootInstant::BOOT;
        while !self.stop.is_triggered() {
            // While there is a leader only events move the election, so the thread sleeps for a
            // heartbeat. Without one, time-outs have to take effect within a tick: orders wait.
            let patience = if self.election.is_led() {
                HEARTBEAT
            } else {
                TICK
            };
            let event = self.stop.receive_timeout(&self.inbox, patience);
            // Read once for the event and the tick: both judge the same moment.
            let now = BootInstant::now();
            if let Some(event) = event {
                self.election.on(&event, now, &mut commands);
            }
            // Not at each event: a tick may ask for a probe, whose end is an event.
            if now >= next_tick {
                self.election.tick(now, &mut commands);
                next_tick = now + TICK;
            }
            // After the rules are done with the event: a command must not change the state under
            // them.
            for command in std::mem::take(&mut commands) {
                self.carry_out(command);
            }
        }
        // A candidate may take its whole time-out to answer, and nobody waits for it any more.
        self.calls.abandon();
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::ReadTerm(judgement) => self.calls.read_term(judgement),
            Command::ProbeNow(id) => self.probers[&id].probe_now(),
            Command::AskToLead {
                judgement,
                candidate,
                seen,
                newest_row,
            } => {
                // The replica compares it with its file: a front-end of another bazaar, under a
                // wrong URL, must not make it lead.
                let cluster = self.cluster();
                let request = LeadRequest {
                    cluster,
                    seen,
                    longest: newest_row,
                };
                let url = &self.replicas[&candidate];
                self.calls.ask(judgement, candidate, url, request);
            }
            Command::Abandon => self.calls.abandon(),
            Command::Announce { to, term, leader } => {
                let cluster = self.cluster();
                self.probers[&to].announce(LeaderNotice {
                    cluster,
                    term,
                    leader,
                });
            }
            Command::Adopt { leader, term } => {
                let changed = self.cell.set(leader, term, &self.replicas[&leader]);
                // The same one again, when another replica was asked to relieve it and could not.
                if changed {
                    tracing::info!(leader = %leader, term, "orders go to this leader");
                }
            }
            Command::Release { leader, term, why } => {
                self.cell.clear();
                tracing::warn!(
                    leader = %leader, term, why,
                    "the leader is gone: orders are held until the next one leads"
                );
            }
            // Orders whose call failed leave at once: the connection broke, not the leader.
            Command::Confirm => self.cell.confirm(),
        }
    }

    fn cluster(&self) -> ClusterId {
        let cluster = self.election.cluster();
        // Every command that needs the cluster follows a read of the term, which names it.
        cluster.expect("the catalog named its bazaar").clone()
    }
}
