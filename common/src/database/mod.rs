//! SQLite files of the bazaar. The catalog's journal and the replicas' logs are the same rows, so
//! they share the tables: [`orders`], the chained rows, and [`genesis`], the start of the chain.
//! While a service has one open it is in WAL mode with `synchronous = FULL`: a commit that returned
//! is on disk, at the price of one fsync. Closed cleanly it is not, and stands alone.
//!
//! | module | one idea |
//! |---|---|
//! | [`orders`], [`genesis`] | the tables |
//! | [`header`] | whose file it is, judged before anything is changed |
//! | [`draft`] | a file is complete and checked before it takes its name |
//! | [`aside`] | a file is moved with what belongs to it, durably |
//! | [`close`] | after a clean stop a file stands alone |
//! | [`look`] | a file is read without being changed |

pub mod aside;
pub mod close;
pub mod draft;
pub mod genesis;
pub mod header;
pub mod look;
pub mod orders;

use crate::private::protect_database;
use draft::{Draft, finish_install};
use header::{Found, check_version, identify};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// Why a file could not be read or written.
#[derive(Debug)]
pub enum DbError {
    /// SQLite's refusal: full disk, I/O error, lock.
    Sqlite(rusqlite::Error),
    /// The file's content contradicts itself, or SQLite says that it is corrupt: set it aside.
    Damaged(String),
    /// The file is none of ours, of another kind, or of a newer version.
    Foreign(String),
    /// The system's refusal: a file or folder cannot be read, written, renamed or synced.
    File(String),
    /// There is no place for the copy to look at: `TMPDIR` is to blame, and no database.
    Scratch(String),
}

impl DbError {
    /// Whether the file must be set aside.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => match error {
                // We never write such a value: the file is damaged.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => Self::Damaged(error.to_string()),
                other => Self::Sqlite(other),
            },
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "damaged: {what}"),
            Self::Foreign(what) | Self::File(what) | Self::Scratch(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DbError {}

/// A kind of file, with the marks in its header that tell it from others.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// Its name in messages.
    pub name: &'static str,
    /// SQLite's `application_id`.
    pub application_id: i32,
    /// SQLite's `user_version`: the version of the tables.
    pub version: i32,
}

/// The catalog's file.
pub const CATALOG_FILE: FileKind = FileKind {
    name: "a catalog file",
    application_id: 0x6261_7a63,
    version: 1,
};
/// A replica's file.
pub const ORDER_LOG: FileKind = FileKind {
    name: "an order log",
    application_id: 0x6261_7a6f,
    version: 1,
};

/// Pages in the WAL, after which the commit that adds one more moves them into the file: 8 MB.
/// SQLite's own 1 000 make twice as many such commits, each longer than others by some
/// milliseconds, and write the pages that grow (the end of the log, of the index) more often.
const CHECKPOINT_PAGES: u32 = 2_000;
/// How many bytes of WAL file stay after a checkpoint, and are there from the start; see
/// [`fill_wal`].
const WAL_BYTES: u64 = 32 + CHECKPOINT_PAGES as u64 * (24 + 4_096);
/// Prepared statements kept per connection; the library's 16 are fewer than a service has.
const STATEMENTS: usize = 64;

/// Opens the one writing connection of a file. A new file is made complete before it takes its
/// name: `create` makes its tables, `fill` what it begins with.
///
/// The caller holds the file's lock. Nothing of a file of another program is changed.
///
/// # Errors
/// [`DbError`]; the message of one that concerns opening names the file.
pub fn open_writer(
    path: &Path,
    kind: FileKind,
    create: &str,
    fill: impl FnOnce(&Transaction<'_>) -> Result<(), DbError>,
) -> Result<Connection, DbError> {
    // An install that was interrupted comes first: the file of the name may be the old one.
    if finish_install(path)?.is_some() {
        tracing::info!(file = %path.display(), "a new file was complete: it has taken its name");
    }
    // Before SQLite opens it: opening alone would change a stranger's file.
    match identify(path, kind)? {
        Found::Nothing => make(path, kind, create, fill)?,
        // Says WAL and has none: see docs/decisions.md for why it starts all the same.
        Found::Ours { open: true } if !aside::exists(path, "-wal") => tracing::error!(
            file = %path.display(),
            "the file was copied while a service had it open, or its -wal was removed: the newest \
             rows may be missing; \
             restore a backup, or the -wal that belongs to it"
        ),
        Found::Ours { .. } => {}
    }
    // Once the file is known to be ours, and before it is opened.
    protect_database(path).map_err(|e| DbError::File(e.to_string()))?;
    let connection = Connection::open(path).map_err(|e| explain(path, e))?;
    configure(&connection)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    // SQLite falls back silently where shared memory is missing. Another mode would block readers
    // while a commit runs.
    if mode != "wal" {
        return Err(DbError::File(format!(
            "{} cannot be used with a write-ahead log (journal mode {mode}): its file system lacks \
             shared memory",
            path.display()
        )));
    }
    // Again from SQLite: a header in the `-wal` is newer than that of the file.
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    check_version(path, kind, version)?;
    if let Err(error) = fill_wal(&with_suffix(path, "-wal")) {
        // Not an error: commits are slower, nothing else.
        let file = path.display();
        tracing::debug!(%file, %error, "no room for the whole write-ahead log yet");
    }
    Ok(connection)
}

fn make(
    path: &Path,
    kind: FileKind,
    create: &str,
    fill: impl FnOnce(&Transaction<'_>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut draft = Draft::begin(path, kind, create)?;
    let begun = draft.connection().transaction()?;
    fill(&begun)?;
    begun.commit()?;
    // Something had the name after all: parts of a file that was lost.
    if let Some(kept_as) = draft.complete(|_| Ok(()))?.install()? {
        tracing::error!(
            file = %path.display(), kept_as = %kept_as.display(),
            "the file was gone and a new one was made: what was left of it was set aside"
        );
    }
    Ok(())
}

/// An empty database of no file, for the time in which a file is being replaced.
///
/// # Errors
/// [`DbError`]
pub fn open_in_memory(create: &str) -> Result<Connection, DbError> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(create)?;
    Ok(connection)
}

/// Makes the WAL as large as it gets between two checkpoints, so that an fsync need not write the
/// file's new length and place too. The zeros at its end are no frames: a recovery stops at the
/// first one whose checksum is wrong.
fn fill_wal(wal: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).open(wal)?;
    let before = file.metadata()?.len();
    let missing = WAL_BYTES.saturating_sub(before);
    let filled =
        // Synced once here, so that no commit has to.
        io::copy(&mut io::repeat(0).take(missing), &mut file).and_then(|_| file.sync_data());
    // All of it or nothing: on a small disk orders need the room more.
    filled.or_else(|error| file.set_len(before).and(Err(error)))
}

/// Opens a connection that only reads a file that exists.
///
/// # Errors
/// [`DbError`], with the file's name.
pub fn open_reader(path: &Path) -> Result<Connection, DbError> {
    // Opened without SQLite's own mutex: a connection belongs to one thread, or stands behind a
    // lock of ours.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), DbError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A commit that returned survives a power cut. With `normal`, SQLite would sync at checkpoints
    // only.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // Twice: a long read can keep a checkpoint from ending, and then the file grows beyond its
    // size.
    connection.pragma_update(None, "journal_size_limit", 2 * WAL_BYTES)?;
    // Sorting must not need room on a disk that may be full.
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}

fn explain(path: &Path, error: rusqlite::Error) -> DbError {
    match DbError::from(error) {
        DbError::Sqlite(error) => DbError::File(format!("cannot open {}: {error}", path.display())),
        other => other,
    }
}

/// Makes a database error an I/O error, for starts that fail.
pub fn as_io(error: DbError) -> io::Error {
    io::Error::other(error)
}

/// The path with something added to its last name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
