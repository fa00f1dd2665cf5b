//! The running replica: its threads, and the order in which they stop.

use crate::api::Api;
use crate::leading::catalog::CatalogClient;
use crate::leading::pace::Pace;
use crate::leading::replication::Replication;
use crate::leading::sequencer::{OrderBatch, Sequencer, SequencerStage};
use crate::leading::takeover::Takeover;
use crate::leading::term_keeper::keep_term;
use crate::log::catch_up::CatchUp;
use crate::log::check::check_old_rows;
use crate::log::genesis::GenesisFetcher;
use crate::log::reader::LogReader;
use crate::log::writer::{LogStage, LogWriter};
use crate::metrics::OrderMetrics;
use crate::queries::{Confirmer, Queries, Read, ToConfirm};
use crate::replica::Replica;
use crate::settings::OrderSettings;
use common::database::close::close_or_say;
use common::database::{ORDER_LOG, as_io, header};
use common::filelock::FileLock;
use common::http::client::HttpClient;
use common::http::internal::InternalServer;
use common::metrics::{HttpMetrics, Metrics, QueueGauges};
use common::port_owner::{check_listen, explain_file, explain_listen};
use common::queue::{Queue, QueueReceiver, queue};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{MAX_BATCH, ORDER_QUEUE};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Appends that wait for the log writer at most: the leader's runs, or a few leaders' and pages.
const WRITER_QUEUE: usize = 1_024;
/// Reads that wait at most.
const READ_QUEUE: usize = 1_024;
/// Threads that read the log for others.
const READ_THREADS: usize = 2;
/// Requests to lead that wait at most; each front-end has one.
const TAKEOVER_QUEUE: usize = 16;

/// A running replica. Dropping it stops it, in the order of its fields' comments.
#[derive(Debug)]
pub struct Order {
    replica: Arc<Replica>,
    /// First: answers what is in flight, which needs all others.
    server: Option<InternalServer>,
    /// Then the switch that all threads watch.
    stop: Shutdown,
    /// The threads that give work to the log writer end before it.
    threads: Vec<Thread>,
    /// Appends what is left, and closes its connection.
    log_writer: Option<Thread>,
    /// Then, with every connection closed, the file is made to stand alone.
    database: PathBuf,
    /// Freed at the very end: nothing writes any more.
    _lock: FileLock,
}

/// The parts that the threads are made from.
struct Parts<'a> {
    settings: &'a OrderSettings,
    replica: Arc<Replica>,
    catalog: CatalogClient,
    writer: Arc<LogStage>,
    own: Arc<OrderMetrics>,
    stop: Shutdown,
}

impl Order {
    /// Opens and checks the file, starts the threads, listens. Waits for no other service.
    ///
    /// # Errors
    /// When the file or the address cannot be had; the message names it and the remedy.
    pub fn start(settings: &OrderSettings) -> io::Result<Self> {
        let file = |error| explain_file("ORDER_DB", &settings.database, &error);
        // Before anything is made: a failed start leaves nothing behind.
        check_listen("ORDER_LISTEN", &settings.listen)?;
        let lock = header::lock(&settings.database, ORDER_LOG).map_err(file)?;
        let metrics = Metrics::new();
        let own = OrderMetrics::new(&metrics);
        let peers = settings.peers.keys().copied().collect();
        let replica = Arc::new(Replica::new(
            settings.id,
            peers,
            settings.min_copies,
            Arc::clone(&own),
        ));
        // Before any thread and before listening: nobody may see this replica with a log that is
        // not checked.
        let log_writer = match LogWriter::open(&settings.database, &replica, &own) {
            Ok(log_writer) => log_writer,
            Err(error) => {
                lock.discard();
                return Err(file(as_io(error)));
            }
        };
        let rows = log_writer.end().map_or(0, |end| end.next());
        let path = settings.database.display();
        tracing::info!(file = %path, orders = rows, "file opened, its end checked");
        let (writer, writer_work) = queue(WRITER_QUEUE);
        let writer = Arc::new(LogStage::new(log_writer, writer));
        let (orders, order_batches) = queue(ORDER_QUEUE);
        let (reads, read_work) = queue(READ_QUEUE);
        let (confirmer, to_confirm) = queue(READ_QUEUE);
        let (takeover, lead_requests) = queue(TAKEOVER_QUEUE);
        let stop = Shutdown::new();
        let catalog = CatalogClient::new(&settings.catalogs, settings.shared.token_text());
        let parts = Parts {
            settings,
            replica,
            catalog,
            writer,
            own,
            stop,
        };
        // No order between these threads: each works alone until it finds a role or a request for
        // it.
        let mut threads = parts.replication();
        let orders = Arc::new(parts.sequencer(orders));
        threads.push(Thread::spawn("sequencer", {
            let (orders, stop) = (Arc::clone(&orders), parts.stop.clone());
            move || orders.serve(&order_batches, MAX_BATCH, &stop)
        }));
        threads.extend(parts.readers(&read_work, &confirmer));
        threads.push(parts.confirmer(to_confirm));
        threads.extend(parts.keepers(lead_requests, rows));
        let Parts {
            replica,
            writer,
            own,
            stop,
            ..
        } = parts;
        let queues = QueueGauges::new(&metrics);
        queues.watch("orders", orders.queue());
        queues.watch("log", writer.queue());
        queues.watch("reads", &reads);
        queues.watch("confirmations", &confirmer);
        queues.watch("claims", &takeover);
        let api = Api {
            replica: Arc::clone(&replica),
            orders,
            writer: Arc::clone(&writer),
            reads,
            takeover,
            metrics: metrics.clone(),
            own: Arc::clone(&own),
            queues,
            replication_timeout: settings.replication_timeout,
        };
        // Held apart from the others: it ends last, so that a thread which waits for its append
        // gets an answer.
        let log_writer = Thread::spawn("log-writer", {
            let (replica, stop) = (Arc::clone(&replica), stop.clone());
            move || LogWriter::run(&writer, &replica, &writer_work, &stop)
        });
        // From here on a failure drops what was started, in order.
        let mut order = Self {
            replica,
            server: None,
            stop,
            threads,
            log_writer: Some(log_writer),
            database: settings.database.clone(),
            _lock: lock,
        };
        // Last: the first request finds every thread in place.
        let server = InternalServer::start(
            "order",
            &settings.listen,
            &settings.shared,
            Arc::new(api),
            HttpMetrics::new(&metrics),
            &metrics,
        );
        order.server =
            Some(server.map_err(|error| explain_listen("ORDER_LISTEN", &settings.listen, &error))?);
        tracing::info!(address = %order.address(), "listening");
        Ok(order)
    }

    /// The address in use.
    ///
    /// # Panics
    /// Never: a started replica listens.
    pub fn address(&self) -> SocketAddr {
        self.server
            .as_ref()
            .expect("a started replica listens")
            .address()
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        // Front-ends go to the next leader at once, instead of waiting for this one's last answers.
        self.replica.begin_shutdown();
        // Waits for the responses in flight, which need sequencer, log writer and readers.
        self.server.take();
        self.stop.trigger();
        // Joined before the log writer. A replication thread may still be reading the file, and a
        // catch-up may be waiting for its append.
        self.threads.clear();
        self.log_writer.take();
        // With the lock of the file still held: no other process may open it in between.
        close_or_say(&self.database);
    }
}

impl Parts<'_> {
    fn reader(&self) -> LogReader {
        LogReader::new(
            &self.settings.database,
            Arc::clone(&self.replica),
            self.writer.clone(),
        )
    }

    fn replication(&self) -> Vec<Thread> {
        let turn = Arc::default();
        let thread = |(peer, url): (&_, &String)| {
            let http = HttpClient::new(2, self.settings.shared.token_text());
            let catch_up = CatchUp {
                replica: Arc::clone(&self.replica),
                peer: *peer,
                url: url.clone(),
                http: http.clone(),
                writer: Arc::clone(&self.writer),
                turn: Arc::clone(&turn),
                pace: Pace::default(),
                stop: self.stop.clone(),
            };
            let replication = Replication {
                replica: Arc::clone(&self.replica),
                peer: *peer,
                url: url.clone(),
                http,
                catalog: self.catalog.clone(),
                reader: self.reader(),
                timeout: self.settings.replication_timeout,
                pace: Pace::default(),
                mismatch: None,
                catch_up,
                metrics: Arc::clone(&self.own),
                stop: self.stop.clone(),
            };
            Thread::spawn(&format!("replication-{peer}"), move || replication.run())
        };
        self.settings.peers.iter().map(thread).collect()
    }

    fn sequencer(&self, orders: Queue<OrderBatch>) -> SequencerStage {
        let sequencer = Sequencer::new(
            Arc::clone(&self.replica),
            self.catalog.clone(),
            Arc::clone(&self.writer),
            Arc::clone(&self.own),
        );
        SequencerStage::new(sequencer, orders)
    }

    fn readers(&self, reads: &QueueReceiver<Read>, confirmer: &Queue<ToConfirm>) -> Vec<Thread> {
        let thread = |i| {
            let queries = Queries {
                replica: Arc::clone(&self.replica),
                confirmer: confirmer.clone(),
                reader: self.reader(),
            };
            let (reads, stop) = (reads.clone(), self.stop.clone());
            Thread::spawn(&format!("reader-{i}"), move || queries.run(&reads, &stop))
        };
        (0..READ_THREADS).map(thread).collect()
    }

    fn confirmer(&self, reads: QueueReceiver<ToConfirm>) -> Thread {
        let confirmer = Confirmer {
            replica: Arc::clone(&self.replica),
            catalog: self.catalog.clone(),
        };
        let stop = self.stop.clone();
        Thread::spawn("confirmer", move || confirmer.run(&reads, &stop))
    }

    /// Takeover, term keeper, the fetcher of the genesis, and the check of old rows.
    fn keepers(
        &self,
        asked: QueueReceiver<(common::wire::replica::LeadRequest, common::http::Responder)>,
        rows: u64,
    ) -> Vec<Thread> {
        let takeover = Takeover {
            replica: Arc::clone(&self.replica),
            catalog: self.catalog.clone(),
            writer: self.writer.clone(),
            stop: self.stop.clone(),
            logged: None,
        };
        let genesis = GenesisFetcher {
            replica: Arc::clone(&self.replica),
            peers: self.settings.peers.clone(),
            http: HttpClient::new(1, self.settings.shared.token_text()),
            catalog: self.catalog.clone(),
            writer: self.writer.clone(),
            stop: self.stop.clone(),
        };
        let (replica, catalog) = (Arc::clone(&self.replica), self.catalog.clone());
        let (term_stop, check_stop, mut reader) =
            (self.stop.clone(), self.stop.clone(), self.reader());
        vec![
            Thread::spawn("takeover", move || takeover.run(&asked)),
            Thread::spawn("genesis", move || genesis.run()),
            Thread::spawn("term-keeper", move || {
                keep_term(&replica, &catalog, &term_stop)
            }),
            Thread::spawn("check", move || {
                check_old_rows(&mut reader, rows, &check_stop)
            }),
        ]
    }
}
