//! The threads `replication-<id>`, one per other replica.
//!
//! While this replica leads, the thread forwards the log to that follower. It asks where the
//! follower's log ends, sends the missing rows in pages, then new rows as they come. Catch-up and
//! steady state are one loop, so nothing has to decide when the one ends and the other begins.
//!
//! Two rules:
//!
//! - **No batch waits for a follower longer than one replication time-out.** A follower that lets
//!   it wait longer is out of sync, and orders go on without it. A call to it gets only the time
//!   that the oldest waiting batch has left.
//! - **A follower's log is never overwritten.** Where it differs from this one, a file is damaged
//!   or belongs elsewhere, and a person must look. The thread sends nothing and logs an error.
//!
//! While it has nothing to send it offers the follower's connection to the thread of a lone batch
//! ([`super::links`]).
//!
//! While this replica does not lead, the thread fetches once what this replica missed
//! ([`CatchUp`]).

use crate::leading::catalog::CatalogClient;
use crate::leading::identity::{Mismatch, identify};
use crate::leading::links::Link;
use crate::leading::pace::Pace;
use crate::leading::pipeline::{FollowerReport, PositionSource};
use crate::log::catch_up::CatchUp;
use crate::log::reader::LogReader;
use crate::metrics::OrderMetrics;
use crate::replica::{Replica, ToSend};
use common::crash;
use common::database::orders;
use common::http::client::{Call, CallError, HttpClient};
use common::http::split::SplitConnection;
use common::shutdown::Shutdown;
use common::timing::{PAGE_ROWS, PROBE_TIMEOUT};
use common::wire::catalog::{TermInfo, TradeRequest};
use common::wire::order::{ClusterId, Position, ReplicaId, Rows, Term};
use common::wire::replica::{AppendRequest, LogPosition};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread of one other replica.
#[derive(Debug)]
pub struct Replication {
    pub replica: Arc<Replica>,
    pub peer: ReplicaId,
    pub url: String,
    pub http: HttpClient,
    /// To ask about rows that only the follower has.
    pub catalog: CatalogClient,
    /// For rows that are no longer in memory.
    pub reader: LogReader,
    /// `ORDER_REPLICATION_TIMEOUT_MS`.
    pub timeout: Duration,
    pub pace: Pace,
    /// The other replica or bazaar that answered last under the follower's URL, already logged.
    pub mismatch: Option<Mismatch>,
    pub catch_up: CatchUp,
    pub metrics: Arc<OrderMetrics>,
    pub stop: Shutdown,
}

/// A call brought no position: pause for so long, then ask the follower again where its log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AskAgainAfter(Duration);

/// After a failed call. Short, because orders may wait for this follower from its first answer on.
const FAILED_CALL: AskAgainAfter = AskAgainAfter(Duration::from_millis(50));
/// After a contradiction, which does not go away by itself.
const CONTRADICTION: AskAgainAfter = AskAgainAfter(Duration::from_secs(1));
/// After a newer term: this leadership is over.
const NOT_AT_ALL: AskAgainAfter = AskAgainAfter(Duration::ZERO);
/// How long the loop waits for something new before it looks at its role and the stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// How long the loop leaves a follower alone to which it has nothing to send.
const IDLE_ASK: Duration = Duration::from_millis(500);

impl Replication {
    /// Works until the service stops.
    pub fn run(mut self) {
        while !self.stop.is_triggered() {
            // Read anew in each round. A role that changes inside `lead` ends that loop, which
            // compares its own term.
            if let Some(term) = self.replica.led_term() {
                self.lead(term);
            } else if self.replica.must_ask(self.peer) {
                self.catch_up.step();
            } else {
                // A leadership ends the wait at once, a file that was set aside at the next look.
                self.replica.wait_leading(LOOK_AROUND);
            }
        }
    }

    /// Keeps the follower's log equal to this one, as long as this replica leads the term.
    fn lead(&mut self, term: Term) {
        // `None` until it has answered, and while another thread sends to it.
        let mut link: Option<Link<SplitConnection>> = None;
        // The term, not "leads": between two looks this replica may have lost term 4 and begun term
        // 5, whose followers are all out of sync until they answer again.
        while self.replica.led_term() == Some(term) && !self.stop.is_triggered() {
            let to_send = self
                .replica
                .rows_for(term, self.peer, &mut link, PAGE_ROWS, LOOK_AROUND);
            // When the reading of a page from the file began.
            let mut page_began = None;
            let (source, sent) = match to_send {
                ToSend::Question => (PositionSource::Question, self.ask(term)),
                ToSend::Rows(rows) => (PositionSource::Append, self.send(term, &rows)),
                ToSend::FromFile(next) => {
                    page_began = Some(Instant::now());
                    let page = self.read_page(next);
                    let sent = page.and_then(|rows| self.send(term, &rows));
                    (PositionSource::Append, sent)
                }
                // Nothing would notice a follower that died or lost its file, until the next order
                // had to wait for it.
                ToSend::Nothing
                    if link
                        .as_ref()
                        .is_some_and(|link| link.answered.elapsed() >= IDLE_ASK) =>
                {
                    (PositionSource::Question, self.ask(term))
                }
                // A borrower gives up a late follower by itself. One that has not by now hangs at
                // this replica's own disk: go on without it.
                ToSend::Lent(since) if since.elapsed() >= self.timeout + LOOK_AROUND => {
                    self.replica.recall(term, self.peer);
                    continue;
                }
                ToSend::Nothing | ToSend::Lent(_) => continue,
            };
            // The link is gone from here until an answer: after a failure the next round finds
            // none, and asks the follower where its log ends instead of guessing.
            let kept = link.take().and_then(|link| link.connection);
            match sent {
                Ok(position) => {
                    let report = FollowerReport {
                        follower: self.peer,
                        rows: position.next(),
                        source,
                    };
                    self.replica.follower_at(term, report);
                    link = Some(Link {
                        next: position.next(),
                        answered: Instant::now(),
                        // Opened only after an answer, so that the wait for a connection is one to
                        // a living follower.
                        connection: kept.or_else(|| self.open()),
                    });
                    if let Some(began) = page_began {
                        self.leave_time(term, began);
                    }
                }
                Err(AskAgainAfter(pause)) => {
                    self.give_up_if_overdue(term);
                    let _stopped = self.stop.wait(pause);
                }
            }
        }
    }

    /// A connection for a thread that borrows the link. Without one, this thread sends all rows.
    fn open(&self) -> Option<SplitConnection> {
        SplitConnection::open(&self.http, &self.url, self.timeout).ok()
    }

    /// Some failures do not put the follower out of sync by themselves: this replica's own file
    /// could not be read, say. The rule of time holds for them, too.
    fn give_up_if_overdue(&self, term: Term) {
        let overdue = self
            .replica
            .waiting_since(self.peer)
            .is_some_and(|since| since.elapsed() >= self.timeout);
        if overdue {
            self.replica
                .follower_lost(term, self.peer, "it does not take rows");
        }
    }

    /// Asks where the follower's log ends, and compares the hash there with this log's.
    fn ask(&mut self, term: Term) -> Result<Position, AskAgainAfter> {
        // The question is an append without rows: the follower compares term and bazaar as with any
        // other, and answers without its disk.
        let here = self.replica.durable().ok_or(FAILED_CALL)?;
        let nothing = Rows {
            first: here.next(),
            orders: Vec::new(),
            hash: here.hash,
        };
        // Not the replication time-out: the answer needs no disk, so a slow one means a dead peer.
        let answer = self.exchange(term, &nothing, PROBE_TIMEOUT)?;
        let position = self.position(term, &answer)?;
        // The hash decides, not the number. Two logs of equal length may differ after a file was
        // lost, and the follower would refuse every row that is sent after the difference.
        let own = self
            .reader
            .read(|connection, seed| orders::hash_before(connection, seed, position.next()));
        match own {
            Ok(Some(Some(own))) if own == position.hash => Ok(position),
            Ok(Some(Some(_))) => {
                let last = position.last.map_or("genesis".into(), |n| n.to_string());
                tracing::error!(
                    follower = %self.peer, last,
                    "the follower's log differs: nothing is sent to it"
                );
                self.replica
                    .follower_lost(term, self.peer, "its log differs");
                Err(CONTRADICTION)
            }
            // The follower has more rows than are durable here.
            Ok(_) => {
                self.look_into_longer_log(term, position);
                Err(FAILED_CALL)
            }
            Err(error) => {
                tracing::warn!(%error, "the log could not be read");
                Err(FAILED_CALL)
            }
        }
    }

    /// The follower's log is longer than the durable one here. Most often this leader has received
    /// those rows and its log writer is slower than the follower's. If it never received them, a
    /// newer leader sent them, or the catalog's file was lost or cut. Only the catalog can tell, so
    /// it gets an empty batch with the follower's position.
    fn look_into_longer_log(&self, term: Term, position: Position) {
        // Against `received`: rows that are at the log writer here are no surprise.
        let unknown = self
            .replica
            .received(term)
            .is_some_and(|received| position.next() > received.next());
        if !unknown {
            return;
        }
        // The follower's bazaar too: `exchange` has compared them.
        let Some(cluster) = self.replica.cluster() else {
            return;
        };
        tracing::error!(
            follower = %self.peer, last = ?position.last,
            "the follower has orders that this leader does not know"
        );
        let question = TradeRequest {
            term,
            // The follower's position under the follower's name: the catalog judges that log, not
            // this leader's, and names the right one in its message.
            replica: self.peer,
            cluster,
            position,
            orders: Vec::new(),
        };
        match self.catalog.trade(&question) {
            Ok(_) => {
                tracing::info!(
                    follower = %self.peer,
                    "the catalog knows those orders: they are on their way"
                );
            }
            // 412: a newer leader exists. 409: the catalog has just lost its history, loudly.
            Err(
                // Either way this leader must not go on: its next batch would get rows under
                // numbers that the follower already has with another content, or be fenced.
                error @ CallError::Status {
                    status: 409 | 412, ..
                },
            ) => {
                tracing::error!(follower = %self.peer, %error, "the catalog refused those orders");
                self.replica
                    .step_down(term, "a follower has orders that it does not know");
            }
            Err(error) => {
                tracing::warn!(
                    follower = %self.peer, %error,
                    "the catalog could not be asked about those orders"
                );
            }
        }
    }

    /// The position in an answer. A follower without a log, whose file was set aside, is out of
    /// sync until it has one.
    fn position(&self, term: Term, answer: &LogPosition) -> Result<Position, AskAgainAfter> {
        answer.position.ok_or_else(|| {
            self.replica
                .follower_lost(term, self.peer, "its log is empty");
            FAILED_CALL
        })
    }

    fn read_page(&mut self, first: u64) -> Result<Rows, AskAgainAfter> {
        // One short read per page: a longer one would hold back the checkpoint of the -wal.
        let page = self
            .reader
            .read(|connection, seed| orders::read(connection, seed, first, PAGE_ROWS));
        match page {
            Ok(Some(rows)) => Ok(rows),
            Ok(None) => Err(FAILED_CALL),
            Err(error) => {
                tracing::warn!(%error, "the log could not be read");
                Err(FAILED_CALL)
            }
        }
    }

    /// Leaves time for orders, after a page of the file whose reading began at `began`.
    fn leave_time(&mut self, term: Term, began: Instant) {
        // The pause is measured by this leader's own orders: it costs no call to see whether any
        // come.
        let received = || self.replica.received(term)?.last;
        let pause = self.pace.pause(began.elapsed(), Instant::now(), received);
        // A follower that misses few rows is in sync, and every order waits for them: here a pause
        // would be the orders' own (seen: 100 ms when two followers came back under load). It must
        // come after the report of the page, too, which may be the one that brings it into sync.
        if !self.replica.is_in_sync(self.peer) {
            let _stopped = self.stop.wait(pause);
        }
    }

    fn send(&mut self, term: Term, rows: &Rows) -> Result<Position, AskAgainAfter> {
        // The rule of time: the oldest batch that waits for this follower bounds the call. A call
        // with the whole time-out could begin when that batch has waited for most of it.
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

    /// One call to the follower. A failure, and an answer of another replica, puts the follower out
    /// of sync.
    fn exchange(
        &mut self,
        term: Term,
        rows: &Rows,
        timeout: Duration,
    ) -> Result<LogPosition, AskAgainAfter> {
        // `None` only while this replica's own file was set aside: then it no longer leads.
        let cluster = self.replica.cluster().ok_or(FAILED_CALL)?;
        let answer = self.call(term, &cluster, rows, timeout)?;
        let mismatch = identify(self.peer, &cluster, &answer).err();
        if let Some(found) = &mismatch {
            // Logged when it changes, not at each call.
            if self.mismatch != mismatch {
                tracing::error!(
                    follower = %self.peer, url = self.url,
                    "the follower counts for nothing: {found}"
                );
            }
            // At each wrong answer, though the line is logged once: a stranger's "I have it" must
            // never leave the follower in sync.
            self.replica.follower_lost(
                term,
                self.peer,
                "another replica or bazaar answers in its place",
            );
        } else if self.mismatch.is_some() {
            tracing::info!(follower = %self.peer, "the follower itself answers again");
        }
        self.mismatch = mismatch;
        match self.mismatch {
            Some(_) => Err(CONTRADICTION),
            None => Ok(answer),
        }
    }

    fn call(
        &self,
        term: Term,
        cluster: &ClusterId,
        rows: &Rows,
        timeout: Duration,
    ) -> Result<LogPosition, AskAgainAfter> {
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
            // No failure: the answer names the row to go on with. An empty file gets its genesis
            // through the follower's own fetcher.
            return Ok(gap);
        }
        if let Some(newer) = error.refusal::<TermInfo>(412) {
            // An error means that this replica knows a still newer term: nothing to learn.
            let _ = self.replica.observe_term(newer);
            return Err(NOT_AT_ALL);
        }
        self.replica
            .follower_lost(term, self.peer, &error.to_string());
        if let CallError::Status { status: 422, .. } = error {
            tracing::error!(
                follower = %self.peer, %error,
                "the follower's log contradicts these rows"
            );
            return Err(CONTRADICTION);
        }
        Err(FAILED_CALL)
    }
}
