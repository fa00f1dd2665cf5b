//! Where the catalog's state lives: genesis, stocks, journal, refusals, term. One writer holds the
//! [`Store`]; readers of the journal have connections of their own ([`Journal`]).
//!
//! Decisions ([`crate::batch`], [`crate::market`], the chain) know no store, and a store decides
//! nothing: it gives the recorded verdicts, takes a decided batch, and makes it durable.

pub mod postgres;
pub mod sqlite;

use crate::batch::DecidedBatch;
use crate::market::Market;
use common::chain::Hash;
use common::database::DbError;
use common::wire::catalog::TermInfo;
use common::wire::order::{Genesis, Order, Position, Rows, Side, Verdict};
use postgres::{PostgresJournal, PostgresUrl};
use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Refusals kept for clients' keys: the newest so many.
pub const CLIENT_REFUSALS: u64 = 1_000_000;
/// Refusals kept for front-ends' own keys, which only their own retries use.
pub const FRONTEND_REFUSALS: u64 = 100_000;

/// The state that the writer holds in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The stocks, with the quantities that are left.
    pub market: Market,
    /// Where the journal ends.
    pub position: Position,
    /// The newest granted term, and its owner.
    pub term: TermInfo,
}

/// The store of a running catalog, on the one connection that writes.
pub trait Store: Send + fmt::Debug {
    /// The genesis, as it was read when the store was opened.
    fn genesis(&self) -> &Genesis;

    /// Hash of the genesis, with which the chain begins.
    fn seed(&self) -> Hash;

    /// Reads what the writer holds in memory. Everything that is written later was decided on it,
    /// so it is written under `epoch` too: a store that several catalogs share refuses what an
    /// older epoch decided. A store of one catalog knows no epochs and takes 0.
    ///
    /// # Errors
    /// [`StoreError`]
    fn load(&mut self, epoch: u64) -> Result<Snapshot, StoreError>;

    /// Rows of the journal from `first` on, each checked against the chain.
    ///
    /// # Errors
    /// [`StoreError`]
    fn rows(&mut self, first: u64, limit: usize) -> Result<Rows, StoreError>;

    /// The hash of the row before `number`; `None` beyond the journal.
    ///
    /// # Errors
    /// [`StoreError`]
    fn hash_before(&mut self, number: u64) -> Result<Option<Hash>, StoreError>;

    /// Makes a term durable.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown.
    ///
    /// # Panics
    /// When the term is not above the stored one.
    fn set_term(&mut self, term: TermInfo) -> Result<(), StoreError>;

    /// Why the history counts as lost, where an earlier run found that out.
    ///
    /// # Errors
    /// [`StoreError`]
    fn history_lost(&mut self) -> Result<Option<String>, StoreError>;

    /// Remembers that the history is lost, so that a restart does not forget it.
    ///
    /// # Errors
    /// [`StoreError`]
    fn set_history_lost(&mut self, reason: &str) -> Result<(), StoreError>;

    /// Remembers that every cache session is over and nothing is said any more, so that the next
    /// start or takeover need not wait for leases.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown.
    fn set_clean(&mut self) -> Result<(), StoreError>;

    /// Makes this many random bytes durable, in place of those of the probe before: shows whether
    /// the store can be written, and changes nothing else.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot.
    fn probe(&mut self, bytes: usize) -> Result<(), StoreError>;

    /// Begins the transaction of a batch, and reads the recorded verdicts of its orders in it.
    ///
    /// # Errors
    /// [`StoreError`]
    fn begin<'a>(
        &'a mut self,
        before: &Snapshot,
        orders: &[&Order],
    ) -> Result<Box<dyn Batch + 'a>, StoreError>;
}

/// The transaction of a batch; rolled back unless committed. After an error it must be dropped: the
/// database may have rolled it back already.
pub trait Batch {
    /// For each order the verdict that was recorded before this batch, if its key has one.
    fn recorded(&self) -> &[Option<Verdict>];

    /// Writes rows, refusals and quantities into the transaction; `before` is the state on which
    /// they were decided.
    ///
    /// # Errors
    /// [`StoreError`]: nothing happened.
    fn write(&mut self, before: &Snapshot, decided: &DecidedBatch) -> Result<(), StoreError>;

    /// Makes the batch durable.
    ///
    /// # Errors
    /// [`StoreError`]: the outcome is unknown then, and memory must be loaded again.
    fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// A connection that only reads the journal.
pub trait Journal: Send {
    /// At most `limit` rows from `first` on, each checked against the chain that begins with
    /// `seed`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn rows(&mut self, seed: Hash, first: u64, limit: usize) -> Result<Rows, StoreError>;
}

/// The place that `CATALOG_DB` names.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one value a process")]
pub enum Database {
    /// An SQLite file, of one catalog.
    File(PathBuf),
    /// A PostgreSQL database, which several catalogs may share.
    Server(PostgresUrl),
}

impl Database {
    /// Opens a connection that reads the journal.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn open_journal(&self) -> Result<Box<dyn Journal>, StoreError> {
        Ok(match self {
            Self::File(path) => Box::new(sqlite::SqliteJournal::open(path)?),
            Self::Server(url) => Box::new(PostgresJournal::open(url)?),
        })
    }

    /// The same; a server's URL without a password gets this one.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        match self {
            Self::Server(url) => Self::Server(url.with_password(password)),
            file => file,
        }
    }

    /// The file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if PostgresUrl::is_meant(text) {
            return Ok(Self::Server(text.parse()?));
        }
        // A file of that name could be meant, but hardly is.
        if text.contains("://") {
            return Err("write a file's path, or postgres://user@host/database".into());
        }
        text.parse()
            .map(Self::File)
            .map_err(|e: Infallible| match e {})
    }
}

/// Without a password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => url.fmt(f),
        }
    }
}

/// Reads the journal for a thread: connects at the first read, and anew after one that failed.
pub struct JournalReader {
    database: Database,
    seed: Hash,
    open: Option<Box<dyn Journal>>,
}

impl JournalReader {
    /// A reader of the journal whose genesis has this hash.
    #[must_use]
    pub fn new(database: Database, seed: Hash) -> Self {
        Self {
            database,
            seed,
            open: None,
        }
    }

    /// At most `limit` rows from `first` on, each checked against the chain.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn rows(&mut self, first: u64, limit: usize) -> Result<Rows, StoreError> {
        // Taken out, so that a connection that failed is not used again.
        let mut journal = match self.open.take() {
            Some(journal) => journal,
            None => self.database.open_journal()?,
        };
        // The reader connects anew after any error, so a database that failed over needs no
        // restart.
        let rows = journal.rows(self.seed, first, limit)?;
        self.open = Some(journal);
        Ok(rows)
    }
}

/// Why a store could not be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// The file or the system refused.
    File(DbError),
    /// The content contradicts itself.
    Damaged(String),
    /// The database server refused, or cannot be reached.
    Server(String),
    /// The journal does not end where the last commit left it: rows were lost or changed. Nothing
    /// may be served.
    RowsLost(String),
    /// The epoch is over, as another catalog took over, or this one has moved on: nothing was
    /// written.
    Fenced,
    /// Nothing is written in this epoch any more: an earlier write of it may still be executed.
    /// Take the next epoch, and load.
    UnknownBefore {
        /// The epoch of that write.
        epoch: u64,
    },
}

impl StoreError {
    /// Whether the content contradicts itself, so that nothing of it may be served.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::RowsLost(_))
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Damaged(what) => Self::Damaged(what),
            other => Self::File(other),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Server(what) | Self::RowsLost(what) => f.write_str(what),
            Self::Fenced => f.write_str("another catalog has a newer epoch"),
            Self::UnknownBefore { epoch } => write!(
                f,
                "the outcome of an earlier write of epoch {epoch} is unknown: the next epoch and a \
                 load come first"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

/// An order as it was recorded under its key: accepted with a number, or refused without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub number: Option<u64>,
    pub name: String,
    /// As stored.
    pub side: u8,
    pub quantity: u64,
}

impl Recorded {
    /// The verdict for an order that comes with the same key now.
    pub fn verdict(&self, order: &Order) -> Verdict {
        let same = self.name == order.name
            && Side::from_byte(self.side) == Some(order.side)
            && self.quantity == order.quantity;
        match self.number {
            // Compared field by field: a client's key is made from its header alone, and says
            // nothing about the body.
            _ if !same => Verdict::KeyReused,
            Some(number) => Verdict::Accepted(number),
            None => Verdict::InsufficientQuantity,
        }
    }
}
