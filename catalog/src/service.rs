//! The running catalog: the database that it opens, and the order in which its parts stop.

use crate::activity::standing::Standing;
use crate::api::Api;
use crate::beginning::Beginning;
use crate::metrics::CatalogMetrics;
use crate::settings::CatalogSettings;
use crate::shared::{Holder, SharedThreads};
use crate::store::postgres::PostgresUrl;
use crate::store::sqlite::SqliteStore;
use crate::store::{Database, Store};
use crate::tenure::{StartUp, Surroundings, Tenure};
use common::clock::BootInstant;
use common::database::close::close_or_say;
use common::database::{CATALOG_FILE, as_io, header};
use common::filelock::FileLock;
use common::http::internal::InternalServer;
use common::metrics::{HttpMetrics, Metrics, QueueGauges};
use common::port_owner::{check_listen, explain_file, explain_listen};
use common::timing::{LEASE, LEASE_MARGIN};
use common::wire::catalog::CatalogState;
use common::wire::order::Genesis;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A running catalog. Dropping it stops it, in the order of its fields' comments.
#[derive(Debug)]
pub struct Catalog {
    /// First, with a shared database: no further tenure begins. The lease is renewed to the end.
    shared: Option<SharedThreads>,
    /// Then the tenure says nothing about now any more, as another catalog may be active from then
    /// on.
    standing: Arc<Standing>,
    /// Then answers what is in flight, which needs the tenure's threads.
    server: Option<InternalServer>,
    /// Then, with every connection closed, the file is made to stand alone, and freed at the very
    /// end: nothing writes any more.
    file: Option<(PathBuf, FileLock)>,
}

/// A database that was opened, and the threads that it needs.
struct Opened {
    genesis: Genesis,
    shared: Option<SharedThreads>,
    file: Option<(PathBuf, FileLock)>,
}

impl Catalog {
    /// Opens the database, starts the threads, listens.
    ///
    /// # Errors
    /// When the database or the address cannot be had; the message names it and the remedy.
    pub fn start(settings: &CatalogSettings) -> io::Result<Self> {
        // Before anything is made: a failed start leaves nothing behind.
        check_listen("CATALOG_LISTEN", &settings.listen)?;
        let beginning = Beginning::prepare(settings)?;
        let metrics = Metrics::new();
        let standing = Arc::new(Standing::default());
        let around = |genesis: &Genesis| Surroundings {
            standing: Arc::clone(&standing),
            metrics: CatalogMetrics::new(&metrics),
            database: settings.database.clone(),
            genesis: genesis.clone(),
            token: settings.shared.token_text().map(Into::into),
        };
        let opened = match &settings.database {
            Database::File(path) => open_file(path, &beginning, around)?,
            Database::Server(url) => open_server(url, settings, &beginning, around)?,
        };
        beginning.warn_if_ignored();
        let queues = QueueGauges::new(&metrics);
        let waiting = |length: fn(&Tenure) -> usize| {
            let standing = Arc::clone(&standing);
            // Of the present tenure, looked up at each scrape: queues come and go with tenures.
            move || standing.current().map_or(0, |tenure| length(&tenure))
        };
        queues.watch_len("work", waiting(|tenure| tenure.writer.queue().len()));
        queues.watch_len("journal", waiting(|tenure| tenure.journal.len()));
        let api = Api {
            standing: Arc::clone(&standing),
            genesis: opened.genesis,
            metrics: metrics.clone(),
            queues,
        };
        // From here on a failure drops what was started, in order.
        let mut catalog = Self {
            shared: opened.shared,
            standing,
            server: None,
            file: opened.file,
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

/// Opens a file of its own: this catalog is active from the start.
fn open_file(
    path: &Path,
    beginning: &Beginning,
    around: impl FnOnce(&Genesis) -> Surroundings,
) -> io::Result<Opened> {
    let file = |error| explain_file("CATALOG_DB", path, &error);
    let lock = header::lock(path, CATALOG_FILE).map_err(file)?;
    let mut store = match SqliteStore::open(path, || beginning.genesis()) {
        Ok(store) => store,
        Err(error) => {
            lock.discard();
            return Err(file(as_io(error)));
        }
    };
    // Before the first lease is granted. If this run crashed with the mark still set, the next one
    // would skip the wait while its caches live.
    let was_clean = store.take_clean().map_err(io::Error::other)?;
    let snapshot = store.load(0).map_err(io::Error::other)?;
    // From now, as the last lease may have been granted just before a crash. Longer than that none
    // can last.
    let later = BootInstant::now() + LEASE + LEASE_MARGIN;
    let start_up = if snapshot.term.term == 0 {
        // Nothing was ever traded or read, also when an earlier run made the file, so there is no
        // lease to wait for. A claim is waited for, and shows whether a log knows more.
        StartUp::NONE
    } else if was_clean {
        // No lease is left; but the file may be an older copy, whose stop was clean too.
        StartUp {
            unconfirmed_until: Some(later),
            ..StartUp::NONE
        }
    } else {
        StartUp {
            serve_from: later,
            ..StartUp::NONE
        }
    };
    let genesis = store.genesis().clone();
    tracing::info!(
        file = %path.display(), cluster = %genesis.cluster, orders = snapshot.position.next(),
        term = snapshot.term.term, stopped_cleanly = was_clean, "file opened"
    );
    let around = around(&genesis);
    let tenure = Tenure::begin(&around, Box::new(store), snapshot, None, start_up)
        .map_err(io::Error::other)?;
    around.metrics.active.set(1);
    // Before the listener starts: the first request finds an active catalog.
    around.standing.begin(tenure);
    Ok(Opened {
        genesis,
        shared: None,
        file: Some((path.into(), lock)),
    })
}

/// Opens a database that catalogs share: this one stands by first.
fn open_server(
    url: &PostgresUrl,
    settings: &CatalogSettings,
    beginning: &Beginning,
    around: impl FnOnce(&Genesis) -> Surroundings,
) -> io::Result<Opened> {
    let holder = Holder {
        database: url.clone(),
        // An epoch belongs to one run of one process.
        holder: common::secret::hex(16),
        url: settings.advertise_url.clone(),
    };
    // A connection and a checked tail before it stands by, so that a takeover begins with a load.
    let store = holder
        .open_at_start(|| beginning.genesis())
        .map_err(|error| io::Error::other(format!("CATALOG_DB={url}: {error}")))?;
    let genesis = store.genesis().clone();
    tracing::info!(database = %url, cluster = %genesis.cluster, url = holder.url, "standing by");
    let shared = SharedThreads::start(around(&genesis), &holder, store);
    Ok(Opened {
        genesis,
        shared: Some(shared),
        file: None,
    })
}

impl Drop for Catalog {
    fn drop(&mut self) {
        if let Some(shared) = &mut self.shared {
            // No takeover from here on; the lease of the present tenure is still renewed, as the
            // clean stop may take longer than a lease.
            shared.end_tenures();
        }
        // Also for a tenure that is over: its threads are still to end.
        let tenure = self.standing.current();
        if let Some(tenure) = &tenure {
            // While it waits for earlier leases the writer's thread holds the writer, and there is
            // nothing that a clean stop could promise.
            if tenure.visible.state() != CatalogState::StartUpWait {
                tenure.stop_cleanly();
            }
        }
        // After the stop: late requests get their 421 instead of a broken connection.
        self.server.take();
        if let Some(tenure) = tenure {
            // After the server: a worker may have given the writer a batch, which it answers before
            // it ends.
            tenure.end();
        }
        self.standing.end();
        self.shared.take();
        if let Some((path, _lock)) = &self.file {
            // All connections are closed by now, and the lock is still held.
            close_or_say(path);
        }
    }
}
