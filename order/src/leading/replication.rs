//! One thread per other replica. While this one leads, it forwards the log to that follower: it
//! asks where the follower's log ends, sends what is missing in chunks, then new rows as they come;
//! catching up and keeping up are the same loop. Before, it asks that replica once for what this
//! one missed while it was away.

use crate::leading::catalog::{CatalogClient, after};
use crate::leading::identity::{Stranger, identify};
use crate::log::reader::LogReader;
use crate::log::writer::{AppendOrigin, LogStage, WriterWork};
use crate::metrics::OrderMetrics;
use crate::replica::{Replica, ToSend};
use common::crash;
use common::database::orders;
use common::http::client::{Call, CallError, HttpClient};
use common::shutdown::Shutdown;
use common::timing::{PAGE_ROWS, PROBE_TIMEOUT};
use common::wire::catalog::{TermView, TradeRequest};
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Term};
use common::wire::replica::{AppendRequest, Health, LogPosition};
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread of one other replica.
#[derive(Debug)]
pub struct Replication {
    /// This replica.
    pub replica: Arc<Replica>,
    /// The other one.
    pub peer: ReplicaId,
    /// Its URL.
    pub url: String,
    /// Connections to it.
    pub http: HttpClient,
    /// The catalog, to ask about rows that only the follower has.
    pub catalog: CatalogClient,
    /// The log, for rows that are no longer in memory.
    pub reader: LogReader,
    /// The log writer, for rows of a catch-up.
    pub writer: Arc<LogStage>,
    /// How long a follower may take.
    pub timeout: Duration,
    /// Held while a page is fetched and appended, so that no row is fetched from two replicas.
    pub turn: Arc<Mutex<()>>,
    /// Whether orders are traded while one of the two catches up.
    pub pace: Pace,
    /// The stranger in the follower's place that the log says already.
    pub stranger: Option<Stranger>,
    /// What is counted.
    pub metrics: Arc<OrderMetrics>,
    /// Ends the thread.
    pub stop: Shutdown,
}

/// How often a catch-up looks whether orders are traded meanwhile.
const PACE_LOOK: Duration = Duration::from_millis(50);

/// A catch-up beside traffic: pages at full speed would take the other replicas' processors and
/// disks from the orders, for which nobody waits here.
#[derive(Debug, Default)]
pub struct Pace {
    looked: Option<(Instant, Option<u64>)>,
    busy: bool,
}

impl Pace {
    /// How long to pause after a page that took `took`. `last` tells the last order where they are
    /// traded: when it moves, orders are traded, and four fifths of the time are theirs.
    fn pause(
        &mut self,
        took: Duration,
        now: Instant,
        last: impl FnOnce() -> Option<u64>,
    ) -> Duration {
        if self
            .looked
            .is_none_or(|(looked, _)| now.duration_since(looked) >= PACE_LOOK)
        {
            let last = last();
            self.busy = self.looked.is_some_and(|(_, before)| last > before);
            self.looked = Some((now, last));
        }
        if self.busy { 4 * took } else { Duration::ZERO }
    }
}

/// Pause after a failed call.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Pause after a follower refused rows as contradicting its log: a person must look.
const CONTRADICTION_PAUSE: Duration = Duration::from_secs(1);
/// How long the loop waits for something new before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How long a follower to which there is nothing to send is left alone.
const IDLE_ASK: Duration = Duration::from_millis(500);
/// Bound of reading a page from the other replica.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

impl Replication {
    /// Works until the service stops.
    pub fn run(mut self) {
        while !self.stop.is_triggered() {
            if let Some(term) = self.replica.leading() {
                self.lead(term);
            } else if self.replica.must_query(self.peer) {
                self.catch_up();
            } else {
                // A leadership, or a file that was set aside, ends the wait at its next look.
                let _leading = self.replica.wait_leading(LOOK_AROUND);
            }
        }
    }

    /// Keeps the follower's log equal to this one, as long as this one leads the term.
    fn lead(&mut self, term: Term) {
        let (mut next, mut heard) = (None, Instant::now());
        while self.replica.leading() == Some(term) && !self.stop.is_triggered() {
            let mut asked = next.is_none();
            let sent = match next {
                None => self.ask(term),
                Some(from) => match self.replica.rows_from(term, from, PAGE_ROWS, LOOK_AROUND) {
                    ToSend::Rows(rows) => self.send(term, &rows),
                    ToSend::FromFile => self.send_from_file(term, from),
                    // A follower that lost its file, or died, is noticed before an order has to
                    // wait for it.
                    ToSend::Nothing if heard.elapsed() >= IDLE_ASK => {
                        asked = true;
                        self.ask(term)
                    }
                    ToSend::Nothing => continue,
                },
            };
            next = match sent {
                Ok(position) => {
                    self.replica
                        .follower_at(term, self.peer, position.next(), !asked);
                    heard = Instant::now();
                    Some(position.next())
                }
                Err(pause) => {
                    // Whatever the reason: no batch waits longer than one time-out for this
                    // follower.
                    if self
                        .replica
                        .waiting_since(self.peer)
                        .is_some_and(|since| since.elapsed() >= self.timeout)
                    {
                        self.replica
                            .follower_lost(term, self.peer, "it does not take rows");
                    }
                    let _stopped = self.stop.wait(pause);
                    None
                }
            };
        }
    }

    /// Asks where the follower's log ends, and compares the hash there: a follower that differs is
    /// left alone.
    fn ask(&mut self, term: Term) -> Result<Position, Duration> {
        let here = self.replica.durable().ok_or(BACK_OFF)?;
        let nothing = Rows {
            first: here.next(),
            orders: Vec::new(),
            hash: here.hash,
        };
        let answer = self.exchange(term, &nothing, PROBE_TIMEOUT)?;
        let position = self.position(term, &answer)?;
        let own = self
            .reader
            .read(|connection, seed| orders::hash_before(connection, seed, position.next()));
        match own {
            Ok(Some(Some(own))) if own == position.hash => Ok(position),
            Ok(Some(Some(_))) => {
                let last = position.last.map_or("genesis".into(), |n| n.to_string());
                tracing::error!(follower = %self.peer, last, "the follower's log differs: nothing is sent to it");
                self.replica
                    .follower_lost(term, self.peer, "its log differs");
                Err(CONTRADICTION_PAUSE)
            }
            Ok(_) => {
                self.report_ahead(term, position);
                Err(BACK_OFF)
            }
            Err(error) => {
                tracing::warn!(%error, "the log could not be read");
                Err(BACK_OFF)
            }
        }
    }

    /// A follower that has more than is durable here. More than what came from the catalog: it was
    /// given by a newer leader, or by a catalog whose file was since lost or cut. The catalog can
    /// tell, and is asked with an empty batch from the follower's position.
    fn report_ahead(&self, term: Term, position: Position) {
        if self
            .replica
            .received(term)
            .is_none_or(|received| position.next() <= received.next())
        {
            return;
        }
        // The follower's too: `exchange` has compared them.
        let Some(cluster) = self.replica.cluster() else {
            return;
        };
        tracing::error!(follower = %self.peer, last = ?position.last, "the follower has orders that this leader does not know");
        let question = TradeRequest {
            term,
            replica: self.peer,
            cluster,
            position,
            orders: Vec::new(),
        };
        match self.catalog.trade(&question) {
            Ok(_) => {
                tracing::info!(follower = %self.peer, "the catalog knows them: they are on their way")
            }
            Err(
                error @ CallError::Status {
                    status: 409 | 412, ..
                },
            ) => {
                tracing::error!(follower = %self.peer, %error, "the catalog was asked about them");
                self.replica
                    .step_down(term, "a follower has orders that it does not know");
            }
            Err(error) => {
                tracing::warn!(follower = %self.peer, %error, "the catalog could not be asked about them")
            }
        }
    }

    /// The position in an answer; a follower without a log, since its file was set aside, is out of
    /// sync until it has one.
    fn position(&self, term: Term, answer: &LogPosition) -> Result<Position, Duration> {
        answer.position.ok_or_else(|| {
            self.replica
                .follower_lost(term, self.peer, "its log is empty");
            BACK_OFF
        })
    }

    fn send_from_file(&mut self, term: Term, from: u64) -> Result<Position, Duration> {
        let began = Instant::now();
        match self
            .reader
            .read(|connection, seed| orders::read(connection, seed, from, PAGE_ROWS))
        {
            Ok(Some(rows)) => {
                let sent = self.send(term, &rows);
                let received = || self.replica.received(term)?.last;
                let pause = self.pace.pause(began.elapsed(), Instant::now(), received);
                let _stopped = self.stop.wait(pause);
                sent
            }
            Ok(None) => Err(BACK_OFF),
            Err(error) => {
                tracing::warn!(%error, "the log could not be read");
                Err(BACK_OFF)
            }
        }
    }

    fn send(&mut self, term: Term, rows: &Rows) -> Result<Position, Duration> {
        // The oldest batch that waits for this follower bounds the call, so that no batch waits
        // longer than one time-out for it.
        let left = self
            .replica
            .waiting_since(self.peer)
            .map(|since| self.timeout.saturating_sub(since.elapsed()));
        let timeout = left.unwrap_or(self.timeout).max(Duration::from_millis(1));
        let sent = Instant::now();
        let answer = self.exchange(term, rows, timeout)?;
        crash::point("leader-after-follower");
        self.metrics
            .replication_seconds
            .observe(sent.elapsed().as_secs_f64());
        self.position(term, &answer)
    }

    /// One call to the follower. A failure, and an answer of someone else, puts it out of sync, and
    /// tells how long to pause.
    fn exchange(
        &mut self,
        term: Term,
        rows: &Rows,
        timeout: Duration,
    ) -> Result<LogPosition, Duration> {
        let cluster = self.replica.cluster().ok_or(BACK_OFF)?;
        let answer = self.call(term, &cluster, rows, timeout)?;
        let stranger = identify(self.peer, &cluster, &answer).err();
        if let Some(who) = &stranger {
            if self.stranger != stranger {
                tracing::error!(follower = %self.peer, url = self.url, "the follower counts for nothing: {who}");
            }
            self.replica
                .follower_lost(term, self.peer, "someone else answers in its place");
        } else if self.stranger.is_some() {
            tracing::info!(follower = %self.peer, "the follower itself answers again");
        }
        self.stranger = stranger;
        match self.stranger {
            Some(_) => Err(CONTRADICTION_PAUSE),
            None => Ok(answer),
        }
    }

    fn call(
        &self,
        term: Term,
        cluster: &ClusterId,
        rows: &Rows,
        timeout: Duration,
    ) -> Result<LogPosition, Duration> {
        let call = Call {
            method: "POST",
            base: &self.url,
            path: "/log",
            timeout,
            trace: None,
        };
        let traces = self.replica.traces.of(rows);
        let request = AppendRequest {
            term,
            leader: self.replica.id,
            cluster: cluster.clone(),
            rows,
            traces,
        };
        let error = match self.http.call(call, &request) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if let Some(gap) = error.refusal::<LogPosition>(409) {
            // Not a failure: it says where to go on. An empty file gets its genesis by itself.
            return Ok(gap);
        }
        if let Some(newer) = error.refusal::<TermView>(412) {
            // Only an older view is an error here, and then there is nothing to learn.
            let _ = self.replica.observe_term(newer);
            return Err(Duration::ZERO);
        }
        self.replica
            .follower_lost(term, self.peer, &error.to_string());
        if let CallError::Status { status: 422, .. } = error {
            tracing::error!(follower = %self.peer, %error, "the follower's log contradicts these rows");
            return Err(CONTRADICTION_PAUSE);
        }
        Err(BACK_OFF)
    }

    /// One step of asking the other replica for what this one missed.
    fn catch_up(&mut self) {
        let Some(here) = self.replica.durable() else {
            // Until the genesis is there.
            let _stopped = self.stop.wait(BACK_OFF);
            return;
        };
        let turn = Arc::clone(&self.turn);
        let _turn = turn.lock();
        let began = Instant::now();
        let page = self.http.get::<Rows>(
            &self.url,
            &format!("/log{}", after(here.last)),
            PAGE_TIMEOUT,
        );
        match page {
            Ok(rows) if rows.orders.is_empty() => self.replica.queried(self.peer),
            Ok(rows) => {
                let count = rows.orders.len();
                match self.append(rows) {
                    Ok(()) => {
                        tracing::info!(from = %self.peer, count, "caught up a page");
                        let health = || {
                            self.http
                                .get::<Health>(&self.url, "/health", PROBE_TIMEOUT)
                                .ok()?
                                .last
                        };
                        let pause = self.pace.pause(began.elapsed(), Instant::now(), health);
                        let _stopped = self.stop.wait(pause);
                    }
                    Err(error) => {
                        tracing::error!(from = %self.peer, error, "a page was refused");
                        self.replica.queried(self.peer);
                    }
                }
            }
            Err(error) => {
                // It may be down for long. What it has and nobody else, the journal has too; the
                // leader sends the rest.
                tracing::info!(from = %self.peer, %error, "not asked for what was missed");
                self.replica.queried(self.peer);
            }
        }
    }

    fn append(&self, rows: Rows) -> Result<(), String> {
        let (sender, receiver) = bounded(1);
        let work = WriterWork::Append(Arc::new(rows), AppendOrigin::Local(sender));
        self.writer
            .put(work)
            .map_err(|_| String::from("the log writer is busy"))?;
        self.stop
            .receive(&receiver)
            .unwrap_or_else(|| Err("stopped".into()))
            .map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside traffic a catch-up pauses four times as long as its pages take, looking only now and
    /// then; without, it does not pause.
    #[test]
    fn pauses_beside_traffic() {
        let (mut pace, start, took) = (Pace::default(), Instant::now(), Duration::from_millis(3));
        assert_eq!(
            pace.pause(took, start, || Some(10)),
            Duration::ZERO,
            "nothing to compare with yet"
        );
        assert_eq!(
            pace.pause(took, start + PACE_LOOK / 2, || panic!("too early to look")),
            Duration::ZERO
        );
        assert_eq!(pace.pause(took, start + PACE_LOOK, || Some(12)), 4 * took);
        assert_eq!(
            pace.pause(took, start + PACE_LOOK * 3 / 2, || panic!(
                "too early to look"
            )),
            4 * took
        );
        assert_eq!(
            pace.pause(took, start + PACE_LOOK * 2, || Some(12)),
            Duration::ZERO
        );
        assert_eq!(
            pace.pause(took, start + PACE_LOOK * 3, || None),
            Duration::ZERO,
            "it cannot be asked"
        );
    }
}
