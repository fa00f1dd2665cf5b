//! A lone batch becomes durable on the thread that took it through the catalog.
//!
//! That thread has to wait for the leader's own fsync and for the followers anyway. So it sends the
//! rows to them, appends, and reads their answers, without waking the log writer and the
//! replication threads. It does so after it gave up its turn at the sequencer: the next batch is at
//! the catalog meanwhile.
//!
//! This thread judges good answers only. After anything else the follower's own thread asks the
//! follower anew, and finds out.

use crate::leading::identity::identify;
use crate::leading::links::Loan;
use crate::log::writer::{AppendOrigin, LogStage, LogWriter, WriterWork};
use crate::metrics::OrderMetrics;
use crate::replica::Replica;
use common::crash;
use common::http::split::SplitConnection;
use common::stage::{Turn, Work};
use common::wire::order::{ClusterId, Rows, Term};
use common::wire::replica::{AppendRequest, LogPosition};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server's worker with a lone batch: the parts of the service that it needs to make it durable.
#[derive(Debug, Clone, Copy)]
pub struct LoneWorker<'a> {
    pub replica: &'a Replica,
    pub log: &'a LogStage,
    pub metrics: &'a OrderMetrics,
    /// `ORDER_REPLICATION_TIMEOUT_MS`.
    pub timeout: Duration,
}

/// The rows of a lone batch, on their way.
pub struct LoneBatch<'a> {
    pub worker: LoneWorker<'a>,
    pub term: Term,
    pub cluster: ClusterId,
    pub rows: Arc<Rows>,
    /// The turn at the log. `None` when the log writer was busy: it got the rows then.
    pub turn: Option<Turn<'a, LogWriter, WriterWork>>,
    /// The followers that this thread sends to. The others' threads were notified.
    pub loans: Vec<Loan<SplitConnection>>,
}

impl LoneBatch<'_> {
    /// Sends, appends, and waits for the followers. Their answers, and the append, acknowledge the
    /// batch.
    pub fn finish(self) {
        let LoneWorker {
            replica, metrics, ..
        } = self.worker;
        let (term, rows) = (self.term, self.rows);
        let request = AppendRequest {
            term,
            leader: replica.id,
            cluster: self.cluster.clone(),
            rows: rows.as_ref(),
            traces: replica.traces.of(&rows),
        };
        // One time-out for all followers together, from before the first byte. Orders wait for this
        // batch, and no batch may wait longer than one time-out.
        let began = Instant::now();
        let mut sent = Vec::with_capacity(self.loans.len());
        // The followers first: their round trip takes longer than the own fsync.
        for mut loan in self.loans {
            match loan.connection.send("/log", &request) {
                Ok(()) => sent.push(loan),
                // `None`: the follower is not out of sync yet. A kept connection breaks when the
                // follower was restarted a minute ago. Its own thread asks over a new connection,
                // and judges then.
                Err(_) => replica.loan_failed(term, &loan, None),
            }
        }
        // The followers write meanwhile: their fsyncs and this one overlap.
        if let Some(turn) = self.turn {
            let append = WriterWork::Append(Arc::clone(&rows), AppendOrigin::Leader(term));
            turn.run(|log| log.work(vec![append]));
        }
        // One after the other. A follower that hangs makes the batch wait for the whole time-out,
        // and the next one's answer lies ready by then.
        for mut loan in sent {
            let left = self.worker.timeout.saturating_sub(began.elapsed());
            // At least 1 ms: a read time-out of zero is an error of the socket, and an answer that
            // is there already must still be read.
            let answer = loan.connection.receive(left.max(Duration::from_millis(1)));
            let position = match &answer {
                Ok(answer) if answer.status == 200 => {
                    let position = serde_json::from_slice::<LogPosition>(&answer.body).ok();
                    position
                        .filter(|at| identify(loan.follower, &self.cluster, at).is_ok())
                        .and_then(|at| at.position)
                }
                // A gap, a newer term, a contradiction: the follower's thread gets the same answer
                // when it asks, and has the rules for each of them.
                Ok(_) | Err(_) => None,
            };
            match position {
                Some(position) => {
                    // Durable here and at one follower, and no client knows: the next leader must
                    // answer the repeat.
                    crash::point("leader-after-follower");
                    metrics
                        .replication_seconds
                        .observe(began.elapsed().as_secs_f64());
                    replica.borrowed_at(term, loan, position);
                }
                None => {
                    // Only a time-out proves that the follower is slow. After it the batch has
                    // waited for as long as it may, so the follower leaves the in-sync set now, not
                    // when its own thread gets to it.
                    let late = answer.is_err_and(|error| is_timeout(&error));
                    let why = late.then_some("it did not answer in time");
                    replica.loan_failed(term, &loan, why);
                }
            }
        }
    }
}

/// Whether a read ended because its time was over. Linux reports both kinds.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
