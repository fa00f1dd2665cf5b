//! SQLite files of the bazaar. The catalog's journal and the replicas' logs are the same rows, so
//! they share the tables: [`orders`], the chained rows, and [`genesis`], what the chain starts
//! from. All are WAL with `synchronous = FULL`: a commit that returned is on disk, at the price of
//! one fsync.

pub mod genesis;
pub mod look;
pub mod orders;

use crate::private::protect_database;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
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
}

impl DbError {
    /// Whether the file must be set aside.
    #[must_use]
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
                // A column holds what we never write there.
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
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DbError {}

/// A kind of file, with the marks in its header that tell it from others.
#[derive(Debug, Clone, Copy)]
pub struct FileKind {
    /// What it is, for messages.
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
/// Prepared statements kept per connection.
const STATEMENTS: usize = 64;

/// Opens the one writing connection of a file, and makes the file with `create` when it is new.
///
/// # Errors
/// [`DbError`]; the message of one that concerns opening names the file.
pub fn open_writer(path: &Path, kind: FileKind, create: &str) -> Result<Connection, DbError> {
    let mut connection = Connection::open(path).map_err(|e| explain(path, e))?;
    configure(&connection)?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    if (version, application_id, tables) == (0, 0, 0) {
        let made = connection.transaction()?;
        made.execute_batch(create)?;
        made.pragma_update(None, "application_id", kind.application_id)?;
        made.pragma_update(None, "user_version", kind.version)?;
        made.commit()?;
    } else if application_id != kind.application_id {
        return Err(DbError::Foreign(format!(
            "{} is not {}: name another file",
            path.display(),
            kind.name
        )));
    } else if version > kind.version {
        return Err(DbError::Foreign(format!(
            "{} was written by a newer version (tables of version {version}, this one knows {}): update this program",
            path.display(),
            kind.version
        )));
    }
    protect_database(path).map_err(|e| DbError::Foreign(e.to_string()))?;
    if let Err(error) = fill_wal(&with_suffix(path, "-wal")) {
        // Commits are slower, nothing else.
        tracing::debug!(file = %path.display(), %error, "no room for the whole write-ahead log yet");
    }
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
        io::copy(&mut io::repeat(0).take(missing), &mut file).and_then(|_| file.sync_data());
    // All of it or nothing: on a small disk the room is for orders.
    filled.or_else(|error| file.set_len(before).and(Err(error)))
}

/// Opens a connection that only reads a file that exists.
///
/// # Errors
/// [`DbError`], with the file's name.
pub fn open_reader(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, e))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), DbError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 2 * WAL_BYTES)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(())
}

fn explain(path: &Path, error: rusqlite::Error) -> DbError {
    match DbError::from(error) {
        DbError::Sqlite(error) => {
            DbError::Foreign(format!("cannot open {}: {error}", path.display()))
        }
        other => other,
    }
}

/// Makes a database error an I/O error, for starts that fail.
#[must_use]
pub fn as_io(error: DbError) -> io::Error {
    io::Error::other(error)
}

/// Moves a file, with its `-wal` and `-shm`, to `<file>.<label>-<unix milliseconds>`, and returns
/// that name. Nothing is deleted.
///
/// # Errors
/// When the file cannot be moved; the message names it.
pub fn set_aside(path: &Path, label: &str) -> Result<PathBuf, DbError> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let to = with_suffix(path, &format!(".{label}-{now}"));
    for suffix in ["", "-wal", "-shm"] {
        match fs::rename(with_suffix(path, suffix), with_suffix(&to, suffix)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound || suffix.is_empty() => {
                return Err(DbError::Foreign(format!(
                    "cannot set {} aside: {e}",
                    path.display()
                )));
            }
            _ => {}
        }
    }
    Ok(to)
}

/// The path with something added to its last name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
