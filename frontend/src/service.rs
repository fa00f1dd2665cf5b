//! A whole front-end in one value, so that a test can run it as `main` does.

use crate::api::Api;
use crate::api::origin::Origins;
use crate::api::status::StatusReport;
use crate::cache::session::{self, SessionConfig};
use crate::cache::shared::SharedCache;
use crate::feed::Feed;
use crate::feed::publisher::Publisher;
use crate::feed::stocks::StockReader;
use crate::intake::{LOOKUPS, ORDERS, PAGES, QUERIES};
use crate::internal::Internal;
use crate::leader::catalog_prober;
use crate::leader::cell::LeaderCell;
use crate::leader::health_table::HealthTable;
use crate::leader::monitor::{Monitor, MonitorConfig};
use crate::metrics::{CacheMetrics, QueueMetrics, watch_cache, watch_ready};
use crate::orders::batcher::{BatchReceiver, OrderBatcher, order_batcher};
use crate::orders::evidence::OrderEvidence;
use crate::orders::forwarder;
use crate::orders::forwarder::{OrderForwarder, PendingOrder};
use crate::reads::lookups::{Lookups, PendingLookup};
use crate::reads::pages::PendingPage;
use crate::reads::queries::PendingQuery;
use crate::reads::replicas::Replicas;
use crate::reads::{lookups, pages, queries, replicas};
use crate::settings::FrontendSettings;
use common::http::access::Access;
use common::http::catalogs::Catalogs;
use common::http::client::HttpClient;
use common::http::edge::Edge;
use common::http::edge::subscribers::Subscribers;
use common::http::internal::InternalServer;
use common::http::tiny::{TinyConfig, TinyServer};
use common::metrics::{HttpMetrics, Metrics, QueueGauges};
use common::port_owner::explain_listen;
use common::queue::{QueueReceiver, queue};
use common::settings::ServerKind;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::{PUBLIC_BODY_LIMIT_BYTES, STOP_GRACE};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The rest of [`STOP_GRACE`] for orders that are still held to be answered 503, and for
/// threads to be joined.
const STOP_REST: Duration = Duration::from_millis(500);

/// Threads that read from the replicas, those of both steps (one leader thread for each kind of
/// read), and so connections to each: every thread finds a kept one.
const READERS: usize = queries::THREADS + pages::THREADS + 2;

/// A running front-end. Dropping it stops it, in this order:
///
/// 1. The public server: it takes nothing more, and waits for what is in flight, which needs
///    everything below.
/// 2. The stop is triggered, and calls in flight are ended. If requests are still held shortly
///    before the grace ends, that happens first, so that they are answered 503.
/// 3. The threads behind the queues, whose requests have been answered.
/// 4. Monitor, session, feed and catalog watch.
/// 5. The internal server last: until then invalidations are acknowledged, so that trades elsewhere
///    do not wait for our lease.
pub struct Frontend {
    public: Option<Public>,
    callers: Vec<Thread>,
    monitor: Option<Monitor>,
    background: Vec<Thread>,
    internal: InternalServer,
    address: SocketAddr,
    ending: Ending,
}

/// The ways to end the threads.
#[derive(Clone)]
struct Ending {
    stop: Shutdown,
    orders: OrderBatcher<PendingOrder>,
    cell: Arc<LeaderCell>,
    catalogs: Catalogs,
    others: HttpClient,
}

impl Ending {
    fn trigger(&self) {
        // First the flag, then the wake-ups: a thread whose call is ended looks at the flag, and
        // would call again if it came later.
        self.stop.trigger();
        // The forwarders take the orders that still wait and answer each of them, as the cell is
        // closed.
        self.orders.close();
        self.cell.close();
        // A thread that waits for an answer does not look at the flag. The calls of the cache's
        // session have connections of their own and are not ended: the session's end is yet to be
        // sent.
        self.catalogs.abort();
        self.others.abort();
    }
}

impl Frontend {
    /// Starts all threads and both listeners.
    ///
    /// # Errors
    /// When a listener cannot be bound.
    pub fn start(settings: &FrontendSettings) -> io::Result<Self> {
        // 1. The parts that the threads share: counters, cache, leader, health, queues.
        let metrics = Metrics::new();
        let http_metrics = HttpMetrics::new(&metrics);
        let queue_metrics = QueueMetrics::new(&metrics);
        let token = settings.shared.token_text();
        let cache = Arc::new(SharedCache::new(
            settings.cache,
            settings.cache_size,
            CacheMetrics::new(&metrics),
        ));
        watch_cache(&metrics, &cache);
        let cell = Arc::new(LeaderCell::new(
            // A connection for each thread that calls the leader: with fewer, a forwarder would
            // open one for each batch, and a new connection costs more than the call.
            forwarder::FORWARDERS + READERS,
            token,
            queue_metrics.clone(),
        ));
        let health_table = Arc::new(HealthTable::new(
            settings.replicas.keys().copied(),
            settings.catalogs.len(),
        ));
        let (orders, receivers) = order_batcher(ORDERS.bound, forwarder::FORWARDERS);
        let (queries, queries_arrived) = queue(QUERIES.bound);
        let (pages, pages_arrived) = queue(PAGES.bound);
        let (lookups, lookups_arrived) = queue(LOOKUPS.bound);
        let queues = QueueGauges::new(&metrics);
        queues.watch(QUERIES.name, &queries);
        queues.watch(PAGES.name, &pages);
        queues.watch(LOOKUPS.name, &lookups);
        queues.watch_len(ORDERS.name, {
            let orders = orders.clone();
            move || orders.len()
        });

        let internal = Internal {
            cache: Arc::clone(&cache),
            metrics: metrics.clone(),
        };
        let evidence = Arc::<OrderEvidence>::default();
        // One for each user of it, all over the same parts, so that page, readiness and metric
        // cannot differ.
        let report = || StatusReport {
            cell: Arc::clone(&cell),
            health_table: Arc::clone(&health_table),
            cache: Arc::clone(&cache),
            evidence: Arc::clone(&evidence),
        };
        watch_ready(&metrics, report());
        let feed = Arc::new(Feed::default());
        let api = Arc::new(Api {
            cache: Arc::clone(&cache),
            orders: orders.clone(),
            queries,
            pages,
            lookups,
            queues: queues.clone(),
            outcomes: queue_metrics.outcomes.clone(),
            report: report(),
            feed: Arc::clone(&feed),
            // On loopback a browser names us by an address or by `localhost`, so that any other
            // name is foreign there. See `api::origin`.
            origins: Origins::new(settings.origins.clone(), settings.listen.is_loopback()),
        });
        let stop = Shutdown::new();
        // 2. Both listeners, before any other service is asked: a port in use ends the start
        // without a session begun at the catalog or a leader asked for. Requests that come before
        // the threads below run wait in their queues.
        let internal = InternalServer::start(
            "internal",
            &settings.internal_listen,
            &settings.shared,
            Arc::new(internal),
            Arc::clone(&http_metrics),
            &metrics,
        )
        .map_err(|error| {
            explain_listen(
                "FRONTEND_INTERNAL_LISTEN",
                &settings.internal_listen,
                &error,
            )
        })?;
        let public = Public::start(settings, api, Arc::clone(&http_metrics), &metrics)
            .map_err(|error| explain_listen("FRONTEND_LISTEN", &settings.listen, &error))?;
        let publisher = Publisher {
            feed,
            // None behind tiny_http, which cannot stream: the page polls there.
            subscribers: public.subscribers(),
            report: report(),
            http: http_metrics,
            stop: stop.clone(),
        };

        let parts = Parts {
            settings,
            cache,
            cell,
            health_table,
            evidence,
            metrics: queue_metrics,
            queues,
            // One connection more than lookup threads, for the stock reader of the feed.
            catalogs: Catalogs::new(&settings.catalogs, lookups::THREADS + 1, token),
            // Apart from the leader's connections, which end with its term: a replica that does not
            // lead is read from across terms.
            others: HttpClient::new(READERS, token),
            stop,
        };
        // 3. The threads. The monitor first, since the others report failed calls to it.
        let monitor = parts.monitor();
        let mut callers = parts.forwarders(&monitor, receivers);
        callers.extend(parts.readers(&monitor, &queries_arrived, &pages_arrived));
        callers.extend(parts.lookups(lookups_arrived));
        let mut background = parts.background(internal.address());
        background.extend(parts.feed(publisher));
        let Parts {
            cell,
            catalogs,
            others,
            stop,
            ..
        } = parts;
        let address = public.address();
        tracing::info!(
            %address, internal = %internal.address(),
            catalog = settings.catalogs.join(","), "listening"
        );
        let ending = Ending {
            stop,
            orders,
            cell,
            catalogs,
            others,
        };
        Ok(Self {
            public: Some(public),
            callers,
            monitor: Some(monitor),
            background,
            internal,
            address,
            ending,
        })
    }

    /// Where the public API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the internal listener is.
    pub fn internal_address(&self) -> SocketAddr {
        self.internal.address()
    }
}

impl Drop for Frontend {
    fn drop(&mut self) {
        // 1. A thread that loses patience: orders that are held while no leader is known would use
        // up the whole grace and then be cut off without an answer. It ends the waits shortly
        // before.
        let drained = Shutdown::new();
        let impatient = Thread::spawn("stop", {
            let (drained, ending) = (drained.clone(), self.ending.clone());
            move || {
                if !drained.wait(STOP_GRACE.saturating_sub(STOP_REST)) {
                    ending.trigger();
                }
            }
        });
        // 2. The listener takes nothing more, and waits for the requests in flight, which need
        // every thread below: ended earlier, they would be answered 503 for nothing.
        drop(self.public.take());
        drained.trigger();
        drop(impatient);
        // 3. Nobody waits for an answer any more: all threads end.
        self.ending.trigger();
        self.callers.clear();
        drop(self.monitor.take());
        // The session ends here: the cache is emptied first, then the catalog learns of it. The
        // internal listener still acknowledges invalidations meanwhile, and is dropped last, with
        // the fields.
        self.background.clear();
    }
}

/// The parts that the threads share.
struct Parts<'a> {
    settings: &'a FrontendSettings,
    cache: Arc<SharedCache>,
    cell: Arc<LeaderCell>,
    health_table: Arc<HealthTable>,
    evidence: Arc<OrderEvidence>,
    metrics: QueueMetrics,
    queues: QueueGauges,
    /// The catalogs, with the connections of lookups and feed.
    catalogs: Catalogs,
    /// Connections to replicas that do not lead.
    others: HttpClient,
    stop: Shutdown,
}

impl Parts<'_> {
    fn token(&self) -> Option<String> {
        self.settings.shared.token_text().map(Into::into)
    }

    fn monitor(&self) -> Monitor {
        Monitor::start(MonitorConfig {
            replicas: self.settings.replicas.clone(),
            // Connections of its own: those of the lookups are ended at a stop, and one of them may
            // hang.
            catalogs: self.catalogs.with_own_connections(1),
            token: self.token(),
            cell: Arc::clone(&self.cell),
            health_table: Arc::clone(&self.health_table),
            stop: self.stop.clone(),
        })
    }

    fn forwarders(
        &self,
        monitor: &Monitor,
        orders: Vec<BatchReceiver<PendingOrder>>,
    ) -> Vec<Thread> {
        let forwarder = OrderForwarder {
            cell: Arc::clone(&self.cell),
            reports: monitor.reports(),
            evidence: Arc::clone(&self.evidence),
            metrics: self.metrics.clone(),
        };
        forwarder.start(orders)
    }

    fn readers(
        &self,
        monitor: &Monitor,
        queries: &QueueReceiver<PendingQuery>,
        pages: &QueueReceiver<PendingPage>,
    ) -> Vec<Thread> {
        let replicas = Replicas {
            cell: Arc::clone(&self.cell),
            reports: monitor.reports(),
            urls: self.settings.replicas.clone(),
            health_table: Arc::clone(&self.health_table),
            client: self.others.clone(),
            metrics: self.metrics.clone(),
        };
        let (gauges, stop) = (&self.queues, &self.stop);
        // The queries have more threads than the pages: a page occupies its thread for one reader,
        // a call for queries serves all that wait.
        let mut threads = replicas::start(queries::THREADS, queries, &replicas, gauges, stop);
        threads.extend(replicas::start(
            pages::THREADS,
            pages,
            &replicas,
            gauges,
            stop,
        ));
        threads
    }

    fn lookups(&self, queue: QueueReceiver<PendingLookup>) -> Vec<Thread> {
        let lookups = Lookups {
            queue,
            cache: Arc::clone(&self.cache),
            catalogs: self.catalogs.clone(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        };
        lookups.start()
    }

    fn feed(&self, publisher: Publisher) -> [Thread; 2] {
        let reader = StockReader {
            feed: Arc::clone(&publisher.feed),
            subscribers: publisher.subscribers.clone(),
            // Ended with the lookups at a stop: the feed is worth no wait.
            catalogs: self.catalogs.clone(),
            stop: self.stop.clone(),
        };
        [reader.start(), publisher.start()]
    }

    fn background(&self, internal: SocketAddr) -> Vec<Thread> {
        let token = self.settings.shared.token_text();
        let (table, stop) = (&self.health_table, &self.stop);
        let mut background = catalog_prober::start(&self.catalogs, token, table, stop);
        // Without a cache there is no session, and the catalog waits for no acknowledgement from
        // here.
        if self.settings.cache {
            let own_url = self
                .settings
                .internal_url
                .clone()
                // The port is only known now where the setting said 0.
                .unwrap_or_else(|| format!("http://{internal}"));
            background.push(session::start(SessionConfig {
                // Connections of its own, which are not ended with the others: the last call of
                // this thread, which ends the session, is made after they were.
                catalogs: self.catalogs.with_own_connections(1),
                own_url,
                cache: Arc::clone(&self.cache),
                stop: self.stop.clone(),
            }));
        }
        background
    }
}

/// The server of the public API.
enum Public {
    Edge(Edge),
    Tiny(TinyServer),
}

impl Public {
    fn start(
        settings: &FrontendSettings,
        api: Arc<Api>,
        http_metrics: Arc<HttpMetrics>,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        if settings.server == ServerKind::Edge {
            return Edge::start(settings.edge.clone(), api, http_metrics, metrics).map(Self::Edge);
        }
        tracing::warn!(
            "the public API is served by tiny_http, for comparison only: it has no limits on \
             connections, heads and slow clients, a request that declares a large body costs it a \
             connection for good, and an accept error ends it"
        );
        let config = TinyConfig {
            name: "public",
            listen: settings.listen.one(),
            workers: settings.shared.threads,
            body_limit_bytes: PUBLIC_BODY_LIMIT_BYTES,
            access: Access::Public,
        };
        TinyServer::start(config, api, http_metrics).map(Self::Tiny)
    }

    fn subscribers(&self) -> Option<Subscribers> {
        match self {
            Self::Edge(edge) => Some(edge.subscribers()),
            Self::Tiny(_) => None,
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Edge(edge) => edge.address(),
            Self::Tiny(tiny) => tiny.address(),
        }
    }
}
