//! The thread that builds each event, once for all subscribers.

use super::load::{Counts, Sample};
use super::timeline::Timeline;
use super::{Feed, unix_ms};
use crate::api::status::StatusReport;
use common::http::edge::subscribers::Subscribers;
use common::metrics::HttpMetrics;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::wire::catalog::CatalogState;
use common::wire::order::{ReplicaId, Term};
use common::wire::public::{ReplicaState, Status};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the status is read: subscribers see a change of leader within this time.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often load and plain numbers are sent: also the heartbeat, by which subscribers know that
/// they are still connected.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

pub struct Publisher {
    pub feed: Arc<Feed>,
    /// Those who watch, where the server can stream.
    pub subscribers: Option<Subscribers>,
    pub report: StatusReport,
    pub http: Arc<HttpMetrics>,
    /// The service's stop.
    pub stop: Shutdown,
}

impl Publisher {
    /// Starts the thread. The service's stop ends it.
    #[must_use]
    pub fn start(self) -> Thread {
        Thread::spawn("feed", move || self.run())
    }

    fn run(&self) {
        let mut timeline = Timeline::default();
        // `None` at first, so that the first look counts as a change.
        let mut outline = None;
        let (mut counts, mut counted) = (self.counts(&self.report.status()), Instant::now());
        while !self.stop.wait(LOOK_EVERY) {
            let status = self.report.status();
            // At each look, not each second: a leader that fails for half a second is an entry too.
            let entries = timeline.look(&status, unix_ms());
            // Measured rather than counted in looks: on a busy machine looks come late, and rates
            // must not.
            let due = counted.elapsed() >= SAMPLE_EVERY;
            let sample = due.then(|| {
                let (before, seconds) = (
                    // The new counts replace the old in one step, so that no request falls between
                    // two samples.
                    std::mem::replace(&mut counts, self.counts(&status)),
                    counted.elapsed(),
                );
                counted = Instant::now();
                let viewers = self.subscribers.as_ref().map_or(0, Subscribers::count);
                Sample {
                    at_ms: unix_ms(),
                    viewers,
                    ..counts.since(&before, seconds.as_secs_f64())
                }
            });
            // Taken before the board's lock: no function holds two locks of the feed.
            let table = self.feed.table.lock().take();
            let now = Outline::of(&status);
            let changed = outline.replace(now.clone()) != Some(now);
            let mut events = Vec::new();
            // The lock ends with this block, before the event goes to the cores, which may want the
            // snapshot.
            {
                let mut board = self.feed.board.lock();
                // The numbers in a status change all the time: they go out once a second, a change
                // of state at once.
                if due || changed {
                    board.set_status(status, &mut events);
                }
                board.add_entries(entries, &mut events);
                if let Some(table) = table {
                    board.set_stocks(table, &mut events);
                }
                if let Some(sample) = sample {
                    board.add_sample(sample, &mut events);
                }
            }
            // After the board: a viewer that comes now sees it there.
            if let Some(subscribers) = self.subscribers.as_ref().filter(|_| !events.is_empty()) {
                subscribers.publish(&events.into());
            }
        }
    }
}

impl Publisher {
    fn counts(&self, status: &Status) -> Counts {
        Counts::read(&self.http, status.cache.hits, status.cache.misses)
    }
}

/// The parts of a status whose change is sent at once; its numbers are sent each second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outline {
    ready: bool,
    leader: Option<ReplicaId>,
    term: Term,
    replicas: Vec<ReplicaState>,
    catalog: Option<CatalogState>,
    leased: bool,
}

impl Outline {
    fn of(status: &Status) -> Self {
        Self {
            ready: status.ready,
            leader: status.leader,
            term: status.term,
            replicas: status
                .replicas
                .iter()
                .map(|replica| replica.state)
                .collect(),
            catalog: status.catalog.state,
            leased: status.cache.leased,
        }
    }
}
