//! A tenure: the time in which this catalog is active, with all that only an active catalog has.
//! The stocks in memory, the cache sessions and the waiting batches begin with it and are dropped
//! with it: nothing of an earlier tenure can be taken for the present.
//!
//! A catalog on a file of its own has one tenure, from its start to its stop, which needs no lease.

use crate::activity::RENEWAL;
use crate::activity::calls::Calls;
use crate::activity::standing::{SharedLease, Standing};
use crate::api::{JournalPage, serve_journal};
use crate::check::check;
use crate::metrics::CatalogMetrics;
use crate::sessions::Sessions;
use crate::store::{Database, JournalReader, Snapshot, Store, StoreError};
use crate::visible_state::{Service, VisibleState};
use crate::write_health::WriteHealth;
use crate::writer::{Context, Writer, WriterStage, WriterWork};
use common::clock::BootInstant;
use common::queue::{Queue, queue};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::wire::order::Genesis;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Batches and claims that wait for the writer at most: each leader has few under way.
const WORK_QUEUE: usize = 64;
/// Pages of the journal that are asked for at once, at most.
const JOURNAL_QUEUE: usize = 64;
/// Pause before the check's finding is given to a writer whose queue was full.
const RETRY_REPORT: Duration = Duration::from_millis(50);

/// All that an active catalog has.
#[derive(Debug)]
pub struct Tenure {
    pub visible: Arc<VisibleState>,
    pub writes: Arc<WriteHealth>,
    pub sessions: Arc<Sessions>,
    pub writer: Arc<WriterStage>,
    pub journal: Queue<JournalPage>,
    /// `None` with a file of its own.
    lease: Option<Arc<SharedLease>>,
    /// The switch that its threads watch.
    stop: Shutdown,
    /// In the order in which they end.
    threads: Mutex<Vec<Thread>>,
}

/// The parts of a catalog that outlive a tenure.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub standing: Arc<Standing>,
    pub metrics: Arc<CatalogMetrics>,
    pub database: Database,
    pub genesis: Genesis,
    pub token: Option<String>,
}

/// The wait of a tenure before it serves.
#[derive(Debug, Clone, Copy)]
pub struct StartUp {
    /// It takes no trade before: until then leases may last that an earlier run granted.
    pub serve_from: BootInstant,
    /// Until then it takes no trade before a log has shown that the file is no older copy.
    pub unconfirmed_until: Option<BootInstant>,
}

impl StartUp {
    /// It serves at once.
    pub const NONE: Self = Self {
        serve_from: BootInstant::BOOT,
        unconfirmed_until: None,
    };
}

impl Tenure {
    /// Begins with what was loaded.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin(
        around: &Surroundings,
        mut store: Box<dyn Store>,
        snapshot: Snapshot,
        lease: Option<(Arc<SharedLease>, Calls)>,
        StartUp {
            serve_from,
            unconfirmed_until,
        }: StartUp,
    ) -> Result<Arc<Self>, StoreError> {
        // Term 0: nothing was ever traded or read; but logs may exist that know more.
        let service = if snapshot.term.term == 0 {
            Service::AwaitingClaim
        } else if serve_from > BootInstant::now() || unconfirmed_until.is_some() {
            Service::StartUpWait
        } else {
            Service::Serving
        };
        let metrics = &around.metrics;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.journal_rows.set(gauge(snapshot.position.next()));
        metrics.term.set(gauge(snapshot.term.term));
        // An earlier run or tenure found it out: a restart must not give numbers again.
        let lost = store.history_lost()?;
        let (lease, moves) = lease.unzip();
        let visible = Arc::new(VisibleState::new(snapshot.clone(), service, lease.clone()));
        let token = around.token.as_deref();
        let sessions = Arc::new(Sessions::start(token, metrics, lease.clone()));
        if let Some(reason) = lost {
            tracing::error!("trades and stocks are refused, as was found before: {reason}");
            visible.lose_history(&reason);
            // No session can be there yet; from here on none is granted.
            sessions.end_all(&reason);
        }
        let writes = Arc::new(WriteHealth::new(Instant::now()));
        let (work, queued) = queue(WORK_QUEUE);
        let (journal, pages) = queue(JOURNAL_QUEUE);
        let seed = store.seed();
        let writer = Writer::new(Context {
            store,
            state: snapshot.clone(),
            visible: Arc::clone(&visible),
            sessions: Arc::clone(&sessions),
            metrics: Arc::clone(metrics),
            writes: Arc::clone(&writes),
            serve_from,
            unconfirmed_until,
            lease: lease.clone(),
            moves,
            standing: Arc::clone(&around.standing),
        });
        let writer = Arc::new(WriterStage::new(writer, work));
        let stop = Shutdown::new();
        let reader = || JournalReader::new(around.database.clone(), seed);
        // A connection and a thread of its own: a page of a candidate that completes its log never
        // waits behind a commit, nor a commit behind a page.
        let pages_reader = Thread::spawn("journal", {
            let (journal, visible, stop) = (reader(), Arc::clone(&visible), stop.clone());
            move || serve_journal(journal, &visible, &pages, &stop)
        });
        let check = Thread::spawn("check", {
            let (journal, at_start, stop) = (reader(), snapshot, stop.clone());
            let (genesis, writer) = (around.genesis.clone(), Arc::clone(&writer));
            move || {
                let mut finding =
                    // Given to the writer, which alone ends service: no batch is under way when it
                    // does.
                    check(journal, &genesis, &at_start, &stop).map(WriterWork::CheckFailed);
                // Again while the writer's queue is full.
                while let Some(unsaid) = finding.take().and_then(|wrong| writer.put(wrong).err()) {
                    finding = (!stop.wait(RETRY_REPORT)).then_some(unsaid);
                }
            }
        });
        let writer_thread = Thread::spawn("writer", {
            let (stop, writer, writes) = (stop.clone(), Arc::clone(&writer), Arc::clone(&writes));
            // The keeper of a lease wants signs of life.
            let life = lease.as_ref().map_or(Duration::MAX, |_| RENEWAL);
            move || Writer::run(&writer, &writes, &queued, life, &stop)
        });
        Ok(Arc::new(Self {
            visible,
            writes,
            sessions,
            writer,
            journal,
            lease,
            stop,
            // The writer finishes what it took; it needs the sessions, which end after it.
            threads: Mutex::new(vec![writer_thread, pages_reader, check]),
        }))
    }

    /// The epoch that its answers carry; `None` with a file of its own.
    pub fn epoch(&self) -> Option<u64> {
        self.lease.as_ref().map(|lease| lease.epoch())
    }

    /// Whether its lease holds now; it always does with a file of its own.
    pub fn holds(&self) -> bool {
        let held = |lease: &Arc<SharedLease>| lease.holds_until().is_some();
        self.lease.as_ref().is_none_or(held)
    }

    /// Whether another catalog took over, this one gave up, or it has stopped.
    pub fn is_over(&self) -> bool {
        self.visible.is_silent() || self.lease.as_ref().is_some_and(|lease| lease.is_over())
    }

    /// The clean stop: see [`Writer::stop_cleanly`]. Waits for the batch under way.
    pub fn stop_cleanly(&self) {
        self.writer.state().stop_cleanly();
    }

    /// Ends its threads, once. The writer answers what is queued.
    pub fn end(&self) {
        self.stop.trigger();
        let threads = std::mem::take(&mut *self.threads.lock());
        threads.into_iter().for_each(drop);
    }
}
