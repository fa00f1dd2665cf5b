//! Reads of the order log at the replicas, in two steps, so that a read that any replica can
//! answer never waits behind one that only a leader can.
//!
//! 1. **Found.** An order, or a page that more orders follow, is immutable, and true from every
//!    replica that has it. The threads of this step ask for nothing else. Such a call waits for
//!    the replica's file alone and is bounded by [`FOUND_TIMEOUT`]; nothing is asked twice.
//! 2. **Leader.** That there is no such order, or that none follows, only a leader may say that
//!    confirms its term at the catalog. It may have to be waited for, as long as the read's whole
//!    time. Reads that step 1 did not answer go here; one thread asks for all of them together,
//!    again and again.
//!
//! The trace that this prevents: the catalog is down, so no leader can say that a page is the last
//! one. Four clients ask for the last page. A fifth asks for the first one, which every replica
//! has, and got it after 2.1 s instead of 1 ms: one thread asked for one page after the other, each
//! as long as it took. With numbers in the place of pages the two threads for queries were held up
//! the same way, and so were the orders that were asked for in one call with a missing one.

use crate::intake::{QueueKind, Waiting, refuse_if_full, unavailable};
use crate::leader::cell::{LeaderCell, LeaderSnapshot, WaitFor};
use crate::leader::health_table::HealthTable;
use crate::leader::monitor::Reports;
use crate::metrics::QueueMetrics;
use common::http::client::HttpClient;
use common::metrics::QueueGauges;
use common::queue::{Queue, QueueReceiver, queue};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{MAX_BATCH, PROBE_TIMEOUT};
use common::wire::order::{ClusterId, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bound of a call for what is found: a replica only reads its own file. As short as a probe, since
/// the next replica can be asked instead.
const FOUND_TIMEOUT: Duration = PROBE_TIMEOUT;
/// Bound of a call to the leader, which has to confirm its term at the catalog.
const LEADER_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Least time for that, however near the deadline is.
const LEADER_LEAST: Duration = Duration::from_millis(50);
/// Pause before all are asked again, unless there is news of the leader: a follower may have caught
/// up meanwhile.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A kind of read.
pub trait ReplicaRead: Waiting + Send + Sized + 'static {
    /// Names the threads.
    const THREAD: &'static str;
    /// Between the steps.
    const LEADER_QUEUE: QueueKind;
    /// Reads that step 1 takes at once.
    const BATCH: usize;
    /// For the client, when no replica and no leader answered in time.
    const UNANSWERED: &'static str;

    /// Until when it may wait.
    fn deadline(&self) -> Instant;

    /// Asks a replica, answers the reads that it can answer, and returns the others.
    fn ask(reads: Vec<Self>, replica: &Asked<'_>) -> Rest<Self>;
}

/// A replica that is asked.
pub struct Asked<'a> {
    pub id: ReplicaId,
    pub url: &'a str,
    /// Connections to it.
    pub client: &'a HttpClient,
    /// For each call.
    pub timeout: Duration,
    /// This bazaar, once it is known: a replica of another one finds nothing.
    pub cluster: Option<ClusterId>,
    pub metrics: &'a QueueMetrics,
    /// Asks for what is found; else also whether anything is missing, which is for a leader.
    pub found_only: bool,
}

/// The reads that a replica left.
pub struct Rest<R> {
    /// Reads without an answer.
    pub reads: Vec<R>,
    /// Whether the replica answered all calls, and leads or was not asked as a leader.
    pub well: bool,
}

/// All replicas, and how they are reached.
#[derive(Clone)]
pub struct Replicas {
    /// Where the leader is named.
    pub cell: Arc<LeaderCell>,
    /// Where failed calls to it are reported.
    pub reports: Reports,
    /// Base URLs.
    pub urls: BTreeMap<ReplicaId, String>,
    /// A replica that is down is not asked.
    pub health_table: Arc<HealthTable>,
    /// Connections to replicas that do not lead.
    pub client: HttpClient,
    pub metrics: QueueMetrics,
}

impl Replicas {
    /// Step 1. A leader that answers has all that the others have.
    fn ask_for_found<R: ReplicaRead>(&self, reads: Vec<R>, known: &LeaderSnapshot) -> Vec<R> {
        let rest = self.ask_leader(reads, known, true);
        // So the others are only asked when it did not answer, or does not lead any more.
        if rest.well {
            return rest.reads;
        }
        self.ask_others(rest.reads, known)
    }

    /// Asks the leader, then the others, which may have come up since.
    fn ask_all<R: ReplicaRead>(&self, reads: Vec<R>, known: &LeaderSnapshot) -> Vec<R> {
        let rest = self.ask_leader(reads, known, false);
        self.ask_others(rest.reads, known)
    }

    fn ask_leader<R: ReplicaRead>(
        &self,
        reads: Vec<R>,
        known: &LeaderSnapshot,
        found_only: bool,
    ) -> Rest<R> {
        // Nobody to ask: the caller goes on with the others, which can still answer what they have.
        let Some(leader) = &known.leader else {
            return Rest { reads, well: false };
        };
        let timeout = if found_only {
            FOUND_TIMEOUT
        } else {
            // The first deadline bounds the call: a leader that hangs makes no read late.
            let first = reads.iter().map(R::deadline).min();
            let left = first.map(|at| at.saturating_duration_since(Instant::now()));
            left.unwrap_or(LEADER_TIMEOUT)
                .clamp(LEADER_LEAST, LEADER_TIMEOUT)
        };
        let asked = Asked {
            id: leader.id,
            url: &leader.url,
            // The pool of its term: when that ends, a call that hangs ends with it.
            client: &leader.client,
            timeout,
            cluster: self.health_table.cluster(),
            metrics: &self.metrics,
            found_only,
        };
        let rest = R::ask(reads, &asked);
        // Only a hint: the monitor probes before it judges.
        if !rest.well {
            self.reports.failed(leader.term);
        }
        rest
    }

    fn ask_others<R: ReplicaRead>(&self, mut reads: Vec<R>, known: &LeaderSnapshot) -> Vec<R> {
        for (id, seen) in self.health_table.replicas() {
            let leads = known.leader.as_ref().is_some_and(|leader| leader.id == id);
            // The leader was asked already. A replica that is down would cost every reader a
            // time-out.
            if reads.is_empty() || leads || seen.health().is_none() {
                continue;
            }
            let asked = Asked {
                id,
                url: &self.urls[&id],
                client: &self.client,
                timeout: FOUND_TIMEOUT,
                cluster: self.health_table.cluster(),
                metrics: &self.metrics,
                // Never as a leader: what a follower lacks proves nothing.
                found_only: true,
            };
            reads = R::ask(reads, &asked).reads;
        }
        reads
    }
}

/// One step of one kind of read.
struct Step<R> {
    replicas: Replicas,
    queue: QueueReceiver<R>,
    stop: Shutdown,
}

/// Starts the threads of both steps: so many for the first, one for the second. The service's stop
/// ends them, once their queues are empty.
#[must_use]
pub fn start<R: ReplicaRead>(
    threads: usize,
    arrived: &QueueReceiver<R>,
    replicas: &Replicas,
    gauges: &QueueGauges,
    stop: &Shutdown,
) -> Vec<Thread> {
    // Between the steps, so that step 1 never waits: it would hold up reads that any replica can
    // answer.
    let (to_leader, for_leader) = queue(R::LEADER_QUEUE.bound);
    gauges.watch(R::LEADER_QUEUE.name, &to_leader);
    let step = |queue: &QueueReceiver<R>| Step {
        replicas: replicas.clone(),
        queue: queue.clone(),
        stop: stop.clone(),
    };
    let first = |i| {
        let (step, to_leader, gauges) = (step(arrived), to_leader.clone(), gauges.clone());
        Thread::spawn(&format!("{}-{i}", R::THREAD), move || {
            step.answer_found(&to_leader, &gauges);
        })
    };
    let mut threads: Vec<Thread> = (0..threads).map(first).collect();
    let second = step(&for_leader);
    // One thread for all reads of the kind: it asks for them together, so more threads would only
    // repeat its calls.
    threads.push(Thread::spawn(&format!("{}-leader", R::THREAD), move || {
        second.wait_for_leader();
    }));
    threads
}

impl<R: ReplicaRead> Step<R> {
    /// Step 1.
    fn answer_found(&self, to_leader: &Queue<R>, gauges: &QueueGauges) {
        while let Some(reads) = self.queue.take_batch(R::BATCH, &self.stop) {
            // Read once for the batch: leader and pool of one moment.
            let known = self.replicas.cell.snapshot();
            for read in self.replicas.ask_for_found(reads, &known) {
                // A full queue means that no leader has answered for a while: new readers hear so
                // at once rather than after their whole time.
                refuse_if_full(to_leader.put(read), &R::LEADER_QUEUE, gauges);
            }
        }
    }

    /// Step 2.
    fn wait_for_leader(&self) {
        // Goes round with these reads until each is answered or its time is over; whatever arrives
        // joins in `ask_once`.
        while let Some(mut reads) = self.queue.take_batch(MAX_BATCH, &self.stop) {
            while !reads.is_empty() {
                reads = self.ask_once(reads);
            }
        }
    }

    /// Asks everyone once, and pauses if that did not answer all. Reads that arrive meanwhile are
    /// taken along.
    fn ask_once(&self, reads: Vec<R>) -> Vec<R> {
        // The snapshot before the calls: a leader that is named during them ends the pause below at
        // once.
        let known = self.replicas.cell.snapshot();
        let reads = self.replicas.ask_all(reads, &known);
        // After the asking, so that a reader whose time is over still has the answer that came just
        // now.
        let mut reads = give_up_expired(reads);
        if reads.is_empty() {
            return reads;
        }
        // Before the pause, which a closed cell does not make: this would go round without one.
        if self.replicas.cell.is_closed() {
            give_up(reads, "this front-end is stopping");
            return Vec::new();
        }
        let first = reads.iter().map(R::deadline).min();
        let until = Instant::now() + BACK_OFF;
        self.replicas.cell.wait_news(
            known.news,
            WaitFor::Change,
            // Not beyond the first deadline: that reader is answered on time.
            first.map_or(until, |deadline| deadline.min(until)),
        );
        // Bounded: one batch is one call.
        while reads.len() < MAX_BATCH
            && let Ok(read) = self.queue.receiver().try_recv()
        {
            reads.push(read);
        }
        reads
    }
}

fn give_up_expired<R: ReplicaRead>(reads: Vec<R>) -> Vec<R> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) =
        reads.into_iter().partition(|read| read.deadline() <= now);
    give_up(expired, R::UNANSWERED);
    rest
}

fn give_up<R: Waiting>(reads: Vec<R>, why: &str) {
    for read in reads {
        // Says "try again" whatever the reason: a read has no effect.
        let response = unavailable(&format!("{why}; try again"));
        read.into_responder().send(response);
    }
}
