//! The thread that decides who leads, by the rules of [`crate::leader::election`], and never blocks: probers
//! and the election thread make the calls and send it what they learnt.
//!
//! ```text
//!   probers ──probe──┐                       ┌──> probers: probe now, announce
//!   election ─answer─┼─> bounded ─> monitor ─┼──> election: read the term, ask to lead
//!   queues ──failed──┘                       └──> LeaderCell: adopt, release, confirm
//! ```

use crate::leader::cell::LeaderCell;
use crate::leader::election::{Choice, Command, Event, TICK};
use crate::leader::election_calls::Elections;
use crate::leader::health_table::Views;
use crate::leader::prober::{Prober, ProberConfig};
use common::clock::BootInstant;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::HEARTBEAT;
use common::wire::order::{ReplicaId, Term};
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
        let _ = self.0.try_send(Event::Failed(term));
    }
}

/// What a monitor watches and tells.
pub struct MonitorConfig {
    /// All replicas.
    pub replicas: BTreeMap<ReplicaId, String>,
    /// Base URL of the catalog.
    pub catalog_url: String,
    /// Shown to all of them, where there is one.
    pub token: Option<String>,
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    /// For the status.
    pub views: Arc<Views>,
    /// The service's stop.
    pub stop: Shutdown,
}

impl Monitor {
    /// Starts the monitor, the probers and the election thread.
    #[must_use]
    pub fn start(config: MonitorConfig) -> Self {
        let (events, inbox) = bounded(EVENTS);
        let reports = Reports(events.clone());
        let thread = Thread::spawn("monitor", move || {
            Watcher::new(config, &events, inbox).run()
        });
        Self {
            reports,
            _thread: thread,
        }
    }

    /// For the threads that call the leader.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.clone()
    }
}

/// The monitor's own thread. When it ends its inbox goes first, so that nobody waits for room in
/// it, then its threads are joined.
struct Watcher {
    inbox: Receiver<Event>,
    choice: Choice,
    probers: BTreeMap<ReplicaId, Prober>,
    elections: Elections,
    replicas: BTreeMap<ReplicaId, String>,
    cell: Arc<LeaderCell>,
    stop: Shutdown,
}

impl Watcher {
    fn new(config: MonitorConfig, events: &Sender<Event>, inbox: Receiver<Event>) -> Self {
        let MonitorConfig {
            replicas,
            catalog_url,
            token,
            cell,
            views,
            stop,
        } = config;
        let choice = Choice::new(replicas.keys().copied(), BootInstant::now());
        let elections = Elections::start(&catalog_url, token.as_deref(), events.clone(), &stop);
        let prober = |(id, url): (&ReplicaId, &String)| {
            let prober = Prober::start(ProberConfig {
                id: *id,
                url: url.clone(),
                token: token.clone(),
                events: events.clone(),
                views: Arc::clone(&views),
                stop: stop.clone(),
            });
            (*id, prober)
        };
        let probers = replicas.iter().map(prober).collect();
        Self {
            inbox,
            choice,
            probers,
            elections,
            replicas,
            cell,
            stop,
        }
    }

    fn run(mut self) {
        let mut commands = Vec::new();
        let mut next_tick = BootInstant::BOOT;
        while !self.stop.is_triggered() {
            let patience = if self.choice.is_led() {
                HEARTBEAT
            } else {
                TICK
            };
            let event = self.stop.receive_timeout(&self.inbox, patience);
            let now = BootInstant::now();
            if let Some(event) = event {
                self.choice.on(&event, now, &mut commands);
            }
            // Not at each event: a tick may ask for a probe, whose end is an event.
            if now >= next_tick {
                self.choice.tick(now, &mut commands);
                next_tick = now + TICK;
            }
            for command in commands.drain(..) {
                Self::carry_out(
                    command,
                    &self.cell,
                    &self.replicas,
                    &self.probers,
                    &mut self.elections,
                );
            }
        }
        self.elections.abandon();
    }

    fn carry_out(
        command: Command,
        cell: &LeaderCell,
        replicas: &BTreeMap<ReplicaId, String>,
        probers: &BTreeMap<ReplicaId, Prober>,
        elections: &mut Elections,
    ) {
        match command {
            Command::ReadTerm(round) => elections.read_term(round),
            Command::ProbeNow(id) => probers[&id].probe_now(),
            Command::AskToLead {
                round,
                candidate,
                seen,
                longest,
            } => {
                elections.ask(
                    round,
                    candidate,
                    &replicas[&candidate],
                    LeadRequest { seen, longest },
                );
            }
            Command::Abandon => elections.abandon(),
            Command::Announce { to, term, leader } => {
                probers[&to].announce(LeaderNotice { term, leader })
            }
            Command::Adopt { leader, term } => {
                cell.set(leader, term, &replicas[&leader]);
                tracing::info!(leader = %leader, term, "orders go to this leader");
            }
            Command::Release { leader, term, why } => {
                cell.clear();
                tracing::warn!(leader = %leader, term, why, "the leader is gone: orders are held until the next one is chosen");
            }
            Command::Confirm => cell.confirm(),
        }
    }
}
