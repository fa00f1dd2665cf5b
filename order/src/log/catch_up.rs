//! Fetches from the other replicas the rows that this one missed while it was away.
//!
//! A returning replica could wait for the leader, whose replication thread sends it everything. It
//! asks each other replica once all the same, for two reasons: there may be no leader, and then the
//! longest log should be on as many replicas as possible before one is elected; and with a leader,
//! the pages come from a follower too, which has more time than the leader.

use crate::leading::catalog::after;
use crate::leading::pace::Pace;
use crate::log::writer::{LogStage, append_and_wait};
use crate::replica::Replica;
use common::http::client::HttpClient;
use common::shutdown::Shutdown;
use common::timing::PROBE_TIMEOUT;
use common::wire::order::{ReplicaId, Rows};
use common::wire::replica::Health;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause while this replica's own file has no genesis: no row fits before it.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Bound of reading a page from the other replica.
const PAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Another replica, as a source of missed rows.
#[derive(Debug)]
pub struct CatchUp {
    pub replica: Arc<Replica>,
    pub peer: ReplicaId,
    pub url: String,
    pub http: HttpClient,
    pub writer: Arc<LogStage>,
    /// Shared by the threads of all peers, and held while a page is fetched and appended. Without
    /// it two threads would fetch the same rows from two replicas.
    pub turn: Arc<Mutex<()>>,
    pub pace: Pace,
    pub stop: Shutdown,
}

impl CatchUp {
    /// Fetches one page. The caller repeats this while [`Replica::must_ask`] returns true, and
    /// looks in between whether this replica leads now.
    pub fn step(&mut self) {
        if self.replica.durable().is_none() {
            // Not counted as asked: the peer may have rows, and this file is about to get its
            // genesis.
            let _stopped = self.stop.wait(BACK_OFF);
            return;
        }
        let turn = Arc::clone(&self.turn);
        // Held over a call of up to a second and an append. Only the other threads
        // `replication-<id>` wait for it. If this replica is elected meanwhile, their followers
        // come into sync that much later; no order waits for them before.
        let _turn = turn.lock();
        // Read under the turn: another thread may have appended a page while this one waited.
        let Some(here) = self.replica.durable() else {
            return;
        };
        let began = Instant::now();
        let path = format!("/log{}", after(here.last));
        let rows = match self.http.get::<Rows>(&self.url, &path, PAGE_TIMEOUT) {
            Ok(rows) => rows,
            Err(error) => {
                // The peer may be down for long, so it is not asked again. The journal has every
                // row that it has; the leader sends the rest.
                tracing::info!(from = %self.peer, %error, "rows that were missed were not fetched");
                return self.replica.asked(self.peer);
            }
        };
        // The end of the peer's log. Whatever it appends from now on comes from a leader, which
        // sends it here as well.
        if rows.orders.is_empty() {
            return self.replica.asked(self.peer);
        }
        let count = rows.orders.len();
        if let Err(error) = append_and_wait(&self.writer, rows, &self.stop) {
            tracing::error!(from = %self.peer, error, "a page was refused");
            return self.replica.asked(self.peer);
        }
        tracing::info!(from = %self.peer, count, "caught up a page");
        let (http, url) = (&self.http, &self.url);
        let last = || http.get::<Health>(url, "/health", PROBE_TIMEOUT).ok()?.last;
        let pause = self.pace.pause(began.elapsed(), Instant::now(), last);
        let _stopped = self.stop.wait(pause);
    }
}
