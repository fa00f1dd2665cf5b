//! The running catalog: its threads, and the order in which they stop.

use crate::api::{Api, serve_journal};
use crate::beginning::Beginning;
use crate::check::check;
use crate::metrics::CatalogMetrics;
use crate::sessions::Sessions;
use crate::settings::CatalogSettings;
use crate::store::sqlite::SqliteStore;
use crate::store::{JournalReader, Store};
use crate::visible_state::{Service, VisibleState};
use crate::write_health::WriteHealth;
use crate::writer::{Writer, WriterStage, WriterWork};
use common::clock::BootInstant;
use common::database::close::close_or_say;
use common::database::{CATALOG_FILE, as_io, header};
use common::filelock::FileLock;
use common::http::internal::InternalServer;
use common::metrics::{HttpMetrics, Metrics, QueueGauges};
use common::port_owner::{check_listen, explain_file, explain_listen};
use common::queue::queue;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{LEASE, LEASE_MARGIN};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Batches and claims that wait for the writer at most: each leader has few under way.
const WORK_QUEUE: usize = 64;
/// Pages of the journal that are asked for at once, at most.
const JOURNAL_QUEUE: usize = 64;

/// Pause before the check's finding is given to a writer whose queue was full.
const RETRY_REPORT: Duration = Duration::from_millis(50);

/// A running catalog. Dropping it stops it, in the order of its fields' comments.
#[derive(Debug)]
pub struct Catalog {
    /// First: answers what is in flight, which needs all others.
    server: Option<InternalServer>,
    /// Then the switch that all threads watch.
    stop: Shutdown,
    /// The writer finishes what it took; it needs the sessions.
    writer: Option<Thread>,
    journal: Option<Thread>,
    check: Option<Thread>,
    /// Last owner of the sessions, whose threads end after the writer that pushes through them.
    sessions: Option<Arc<Sessions>>,
    /// Then, with every connection closed, the file is made to stand alone.
    database: PathBuf,
    /// Freed at the very end: nothing writes any more.
    _lock: FileLock,
}

impl Catalog {
    /// Opens the file, starts the threads, listens.
    ///
    /// # Errors
    /// When the file or the address cannot be had; the message names it and the remedy.
    pub fn start(settings: &CatalogSettings) -> io::Result<Self> {
        let Some(path) = settings.database.file() else {
            // Several catalogs over one database take turns, which is not wired up here.
            let message = format!("CATALOG_DB={}: a file is needed", settings.database);
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        };
        let file = |error| explain_file("CATALOG_DB", path, &error);
        // Before anything is made: a failed start leaves nothing behind.
        check_listen("CATALOG_LISTEN", &settings.listen)?;
        let beginning = Beginning::prepare(settings)?;
        let lock = header::lock(path, CATALOG_FILE).map_err(file)?;
        let mut store: Box<dyn Store> = match SqliteStore::open(path, || beginning.genesis()) {
            Ok(store) => Box::new(store),
            Err(error) => {
                lock.discard();
                return Err(file(as_io(error)));
            }
        };
        beginning.warn_if_ignored();
        let snapshot = store.load(0).map_err(io::Error::other)?;
        // Term 0: nothing was ever traded or read, also when an earlier run made the file, so there
        // is no lease to wait for; but logs may exist that know more.
        let (service, serve_from) = if snapshot.term.term == 0 {
            (Service::AwaitingClaim, BootInstant::BOOT)
        } else {
            (
                Service::StartUpWait,
                BootInstant::now() + LEASE + LEASE_MARGIN,
            )
        };
        tracing::info!(
            file = %path.display(), cluster = %store.genesis().cluster,
            orders = snapshot.position.next(), term = snapshot.term.term, "file opened"
        );
        let metrics = Metrics::new();
        let own = CatalogMetrics::new(&metrics);
        own.journal_rows
            .set(i64::try_from(snapshot.position.next()).unwrap_or(i64::MAX));
        own.term
            .set(i64::try_from(snapshot.term.term).unwrap_or(i64::MAX));
        // With a file of its own there is no other to stand by for.
        own.active.set(1);
        own.epoch.set(0);
        let stop = Shutdown::new();
        let visible = Arc::new(VisibleState::new(snapshot.clone(), service));
        let sessions = Arc::new(Sessions::start(settings.shared.token_text(), &own));
        if let Some(reason) = store.history_lost().map_err(io::Error::other)? {
            tracing::error!("trades and stocks are refused, as an earlier run found: {reason}");
            visible.lose_history(&reason);
            sessions.end_all(&reason);
        }
        let writes = Arc::new(WriteHealth::new(Instant::now()));
        let (work, queued) = queue(WORK_QUEUE);
        let (journal, pages) = queue(JOURNAL_QUEUE);
        let (genesis, seed) = (store.genesis().clone(), store.seed());
        let writer = Writer::new(
            store,
            snapshot.clone(),
            Arc::clone(&visible),
            Arc::clone(&sessions),
            own,
            Arc::clone(&writes),
            serve_from,
        );
        let writer = Arc::new(WriterStage::new(writer, work));
        let api = Api {
            visible: Arc::clone(&visible),
            writes: Arc::clone(&writes),
            sessions: Arc::clone(&sessions),
            genesis: genesis.clone(),
            writer: Arc::clone(&writer),
            journal,
            metrics: metrics.clone(),
            queues: QueueGauges::new(&metrics),
        };
        api.queues.watch("work", writer.queue());
        api.queues.watch("journal", &api.journal);
        let database = settings.database.clone();
        let reader = || JournalReader::new(database.clone(), seed);
        let pages_reader = Thread::spawn("journal", {
            let (journal, visible, stop) = (reader(), Arc::clone(&visible), stop.clone());
            move || serve_journal(journal, &visible, &pages, &stop)
        });
        let check = Thread::spawn("check", {
            let (journal, at_start, stop) = (reader(), snapshot, stop.clone());
            let writer = Arc::clone(&writer);
            move || {
                let mut finding =
                    check(journal, &genesis, &at_start, &stop).map(WriterWork::CheckFailed);
                // Again while the writer's queue is full.
                while let Some(unsaid) = finding.take().and_then(|wrong| writer.put(wrong).err()) {
                    finding = (!stop.wait(RETRY_REPORT)).then_some(unsaid);
                }
            }
        });
        let writer = Thread::spawn("writer", {
            let stop = stop.clone();
            move || Writer::run(&writer, &writes, &queued, &stop)
        });
        // From here on a failure drops what was started, in order.
        let mut catalog = Self {
            server: None,
            stop,
            writer: Some(writer),
            journal: Some(pages_reader),
            check: Some(check),
            sessions: Some(sessions),
            database: path.into(),
            _lock: lock,
        };
        let server = InternalServer::start(
            "catalog",
            &settings.listen,
            &settings.shared,
            Arc::new(api),
            HttpMetrics::new(&metrics),
            &metrics,
        );
        catalog.server = Some(
            server.map_err(|error| explain_listen("CATALOG_LISTEN", &settings.listen, &error))?,
        );
        tracing::info!(address = %catalog.address(), "listening");
        Ok(catalog)
    }

    /// The address in use.
    ///
    /// # Panics
    /// Never: a started catalog listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server
            .as_ref()
            .expect("a started catalog listens")
            .address()
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.server.take();
        self.stop.trigger();
        self.writer.take();
        self.journal.take();
        self.check.take();
        self.sessions.take();
        close_or_say(&self.database);
    }
}
