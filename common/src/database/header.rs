//! Whose file it is, read from the first bytes of the file and without SQLite: opening a database
//! of another program would run its recovery, change its journal mode, or leave files beside it.
//! A file that a setting names by a slip must stay as it is.

use super::{DbError, FileKind, with_suffix};
use crate::filelock::FileLock;
use rusqlite::Connection;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// How every SQLite file begins (<https://www.sqlite.org/fileformat2.html>, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the header.
const HEADER_BYTES: u64 = 100;
/// Where the header says by which versions the file may be written and read: 2 is WAL.
const WRITE_VERSION: usize = 18;
const READ_VERSION: usize = 19;
/// Where it has `user_version` and `application_id`.
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;
/// Largest main file of a database whose first rows are all in its `-wal`: one page.
const ONE_PAGE: u64 = 4_096;

/// The file under a database's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No file, or one without a byte.
    Nothing,
    /// A file of the kind that was asked for.
    Ours {
        /// Whether the header says WAL: a process has the file open, or had it open when it died.
        /// A file that was closed cleanly says otherwise.
        open: bool,
    },
}

/// Looks at a file and changes nothing. Not for a file that this process has open: closing it here
/// would drop the POSIX locks that SQLite holds on it.
///
/// # Errors
/// [`DbError::Foreign`] for what is not of this kind, [`DbError::Damaged`] for what ends within the
/// header, [`DbError::File`] for what cannot be read.
pub fn identify(path: &Path, kind: FileKind) -> Result<Found, DbError> {
    let unreadable = |e: io::Error| DbError::File(format!("cannot read {}: {e}", path.display()));
    let length = match fs::metadata(path) {
        // Nothing there is no error: a new file is made.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        metadata => metadata.map_err(unreadable)?,
    };
    // A folder, a pipe: opening it could wait for ever.
    if !length.is_file() {
        return Err(foreign(path, kind));
    }
    let mut bytes = Vec::new();
    File::open(path)
        // The header alone: the file may be large.
        .and_then(|file| file.take(HEADER_BYTES).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    // A file without a byte is nobody's database.
    if bytes.is_empty() {
        return Ok(Found::Nothing);
    }
    let Some(application_id) = number(&bytes, APPLICATION_ID) else {
        let known = bytes.len().min(MAGIC.len());
        // Ours or another program's cannot be known: but it began as a SQLite file, so it is not to
        // be overwritten.
        if bytes[..known] == MAGIC[..known] {
            return Err(DbError::Damaged(format!(
                "{} ends within its header",
                path.display()
            )));
        }
        return Err(foreign(path, kind));
    };
    // Only the application id is compared: a file of ours whose first bytes are damaged is ours.
    if application_id == kind.application_id {
        let version = number(&bytes, USER_VERSION).unwrap_or_default();
        check_version(path, kind, version)?;
        // Either says WAL, as SQLite itself takes it.
        let open = bytes[WRITE_VERSION] == 2 || bytes[READ_VERSION] == 2;
        return Ok(Found::Ours { open });
    }
    // A main file of one page with no mark may have its marks in the `-wal`.
    if application_id == 0 && length.len() <= ONE_PAGE && is_ours_in_wal(path, kind)? {
        return Ok(Found::Ours { open: true });
    }
    Err(foreign(path, kind))
}

/// Looks whose file it is, then takes its lock: beside another program's file no lock file is left.
///
/// # Errors
/// As [`identify`] and [`FileLock::take`]. Damage is no reason to refuse here.
pub fn lock(path: &Path, kind: FileKind) -> io::Result<FileLock> {
    // A file in use is ours, and may be in use by this very process.
    if !FileLock::is_held(path) {
        match identify(path, kind) {
            // Damage is found again when it is opened, under the lock.
            Ok(_) | Err(DbError::Damaged(_)) => {}
            Err(error) => return Err(super::as_io(error)),
        }
    }
    FileLock::take(path)
}

/// Refuses a file whose tables a newer version made.
pub(super) fn check_version(path: &Path, kind: FileKind, version: i32) -> Result<(), DbError> {
    if version <= kind.version {
        return Ok(());
    }
    Err(DbError::Foreign(format!(
        "{} was written by a newer version (tables of version {version}, this one knows {}): \
         update this program",
        path.display(),
        kind.version
    )))
}

fn foreign(path: &Path, kind: FileKind) -> DbError {
    DbError::Foreign(format!(
        "{} is not {}, and was left as it is: name another file",
        path.display(),
        kind.name
    ))
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(i32::from_be_bytes(four))
}

/// An earlier version made its tables in the `-wal`; killed before the first checkpoint, it left a
/// main file that says nothing. A copy is opened, since opening runs the recovery.
fn is_ours_in_wal(path: &Path, kind: FileKind) -> Result<bool, DbError> {
    let wal = with_suffix(path, "-wal");
    if fs::metadata(&wal).map_or(0, |wal| wal.len()) == 0 {
        return Ok(false);
    }
    let scratch = super::look::scratch()?;
    let copy = scratch.path().join("copy.db");
    for (from, to) in [(path, copy.clone()), (&wal, with_suffix(&copy, "-wal"))] {
        fs::copy(from, &to).map_err(|e| super::look::no_room(from, scratch.path(), &e))?;
    }
    let id: Result<i32, _> = Connection::open(&copy)
        .and_then(|copy| copy.pragma_query_value(None, "application_id", |row| row.get(0)));
    Ok(id.is_ok_and(|id| id == kind.application_id))
}
