//! Where the catalogs of a run keep their state: in a file, or in a PostgreSQL that all runs of the
//! program share, each in a database of its own.

use crate::postgres::Server;
use cluster::Spec;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the catalogs keep their state.
#[derive(Debug, Clone)]
pub enum Store {
    /// In the catalog's file.
    File,
    /// In a server, which a scenario may kill and start again.
    Postgres(Arc<Mutex<Server>>),
}

impl Store {
    /// A PostgreSQL whose commits reach the disk.
    ///
    /// # Panics
    /// When none is installed.
    #[must_use]
    pub fn postgres() -> Self {
        let server = Server::start_durable();
        let server = server.expect("PostgreSQL is installed: sudo apt install postgresql");
        Self::Postgres(Arc::new(Mutex::new(server)))
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Gives the catalogs of a cluster an empty database.
    pub fn provide(&self, spec: &mut Spec) {
        static MADE: AtomicU64 = AtomicU64::new(0);
        if let Self::Postgres(server) = self {
            let name = format!("run{}", MADE.fetch_add(1, Ordering::Relaxed));
            spec.shared_database = Some(server.lock().database(&name));
        }
    }

    /// Removes a cluster's database.
    pub fn remove(&self, spec: &Spec) {
        if let (Self::Postgres(server), Some(url)) = (self, &spec.shared_database) {
            let name = url.rsplit('/').next().expect("a URL names its database");
            server.lock().drop_database(name);
        }
    }

    /// Copies the server's log to a folder that stays after a failure.
    pub fn keep_log(&self, folder: &Path) {
        if let Self::Postgres(server) = self {
            // What fails here must not hide the failure that is being kept.
            let _ = std::fs::copy(server.lock().log(), folder.join("logs/postgres.log"));
        }
    }

    /// Kills the server and starts it again.
    ///
    /// # Panics
    /// When there is none, or it does not start.
    pub fn restart_database(&self, kill: bool, away: impl FnOnce()) {
        let Self::Postgres(server) = self else {
            panic!("a file is no server");
        };
        let mut server = server.lock();
        if kill {
            server.kill();
        } else {
            server.stop();
        }
        away();
        server.up();
    }
}
