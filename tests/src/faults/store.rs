//! Where the catalogs of a run keep their state: in a file; in a PostgreSQL that all runs of the
//! program share, each in a database of its own; or in a primary with a synchronous standby, which
//! one run has for itself.

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
    /// In a server that may be killed and replaced by its synchronous standby.
    Replicated(Arc<Mutex<Pair>>),
}

/// A primary, and a standby that its commits wait for.
#[derive(Debug)]
pub struct Pair {
    primary: Server,
    standby: Server,
}

/// The database of a pair. The standby has it too, as it was copied after it was made.
const PAIRED: &str = "paired";

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

    /// A primary and a synchronous standby.
    ///
    /// # Panics
    /// When no PostgreSQL is installed.
    #[must_use]
    pub fn replicated() -> Self {
        let primary = Server::start_durable();
        let primary = primary.expect("PostgreSQL is installed: sudo apt install postgresql");
        let _ = primary.database(PAIRED);
        let standby = primary.standby("standby");
        primary.require(standby.name());
        Self::Replicated(Arc::new(Mutex::new(Pair { primary, standby })))
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Postgres(_) | Self::Replicated(_) => "postgres",
        }
    }

    /// Gives the catalogs of a cluster an empty database.
    pub fn provide(&self, spec: &mut Spec) {
        static MADE: AtomicU64 = AtomicU64::new(0);
        spec.shared_database = match self {
            Self::File => None,
            Self::Postgres(server) => {
                let name = format!("run{}", MADE.fetch_add(1, Ordering::Relaxed));
                Some(server.lock().database(&name))
            }
            Self::Replicated(pair) => {
                let pair = pair.lock();
                Some(Server::url_of(&[&pair.primary, &pair.standby], PAIRED))
            }
        };
    }

    /// Removes a cluster's database; that of a pair goes with its servers.
    pub fn remove(&self, spec: &Spec) {
        if let (Self::Postgres(server), Some(url)) = (self, &spec.shared_database) {
            let name = url.rsplit('/').next().expect("a URL names its database");
            server.lock().drop_database(name);
        }
    }

    /// Copies the server's log to a folder that stays after a failure.
    pub fn keep_log(&self, folder: &Path) {
        // A failure here must not hide the one that is being kept.
        let keep = |server: &Server, name: &str| {
            let _ = std::fs::copy(server.log(), folder.join("logs").join(name));
        };
        match self {
            Self::File => {}
            Self::Postgres(server) => keep(&server.lock(), "postgres.log"),
            Self::Replicated(pair) => {
                let pair = pair.lock();
                keep(&pair.primary, "postgres-primary.log");
                keep(&pair.standby, "postgres-standby.log");
            }
        }
    }

    /// Kills the server and starts it again.
    ///
    /// # Panics
    /// When there is none, or it does not start.
    pub fn restart_database(&self, kill: bool, away: impl FnOnce()) {
        let Self::Postgres(server) = self else {
            panic!("there is no single server");
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

    /// Kills the primary, and makes its standby the primary. Commits then reach that one alone,
    /// until [`Store::rejoin`].
    ///
    /// # Panics
    /// When there is no standby, or it is not promoted.
    pub fn fail_over(&self, away: impl FnOnce()) {
        let mut pair = self.pair().lock();
        pair.primary.kill();
        away();
        pair.standby.promote();
        let Pair { primary, standby } = &mut *pair;
        std::mem::swap(primary, standby);
    }

    /// Makes the server that was killed a synchronous standby of the other one.
    ///
    /// # Panics
    /// When there is none, or it does not start.
    pub fn rejoin(&self) {
        let mut pair = self.pair().lock();
        let Pair { primary, standby } = &mut *pair;
        standby.follow(primary);
        primary.require(standby.name());
    }

    fn pair(&self) -> &Mutex<Pair> {
        match self {
            Self::Replicated(pair) => pair,
            Self::File | Self::Postgres(_) => panic!("there is no standby"),
        }
    }
}
