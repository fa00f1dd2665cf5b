//! Looks at a file without changing it, whether a process has it open or not.

use super::aside::{PARTS, exists};
use super::header::{Found, identify};
use super::{DbError, FileKind, open_reader, with_suffix};
use crate::filelock::FileLock;
use rusqlite::Connection;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;
use tempfile::TempDir;

/// Copies are made again so often when the file changes meanwhile.
const TRIES: u32 = 5;

/// A folder for what is made while looking; removed when dropped.
///
/// # Errors
/// When there can be none; the message names `TMPDIR`, which is to blame.
pub fn scratch() -> Result<TempDir, DbError> {
    TempDir::new().map_err(|e| {
        DbError::Scratch(format!(
            "TMPDIR={}: no temporary folder can be made there ({}): set TMPDIR to a folder that \
             can be written",
            std::env::temp_dir().display(),
            e.kind()
        ))
    })
}

/// The error of a copy into the scratch folder that failed.
pub fn no_room(file: &Path, scratch: &Path, error: &dyn std::fmt::Display) -> DbError {
    let folder = scratch.parent().unwrap_or(scratch);
    DbError::Scratch(format!(
        "TMPDIR={}: {} could not be copied there ({error}): set TMPDIR to a folder with more room",
        folder.display(),
        file.display()
    ))
}

/// Opens a file of this kind for looking. One that a process has open is read in place, and so is
/// one that was closed cleanly. Another one is copied into `scratch` with its `-wal` first, since
/// opening it would run SQLite's recovery on the original.
///
/// # Errors
/// When it cannot be read or is of another kind; the message names it.
pub fn look_at(file: &Path, kind: FileKind, scratch: &Path) -> Result<Connection, DbError> {
    fs::metadata(file).map_err(|e| DbError::File(format!("{}: {e}", file.display())))?;
    for _ in 0..TRIES {
        // Its owner writes: SQLite's locks make reading in place safe, and copying not.
        if FileLock::is_held(file) {
            return in_use(file, kind);
        }
        let found = identify(file, kind)?;
        if found == (Found::Ours { open: false })
            // Closed cleanly and nothing beside it: opening it to read changes nothing.
            && !PARTS[1..].iter().any(|part| exists(file, part))
        {
            return open_reader(file);
        }
        let copy = scratch.join("copy.db");
        // Looked at before and after the copy: equal stamps mean that nobody wrote meanwhile.
        let before = stamps(file);
        // Without the `-shm`, which only the processes that have the file open share.
        for part in PARTS[..3].iter().filter(|part| exists(file, part)) {
            let (from, to) = (with_suffix(file, part), with_suffix(&copy, part));
            fs::copy(&from, to).map_err(|e| no_room(&from, scratch, &e))?;
        }
        // A service that started meanwhile may have written: the copy may be torn.
        if stamps(file) == before && !FileLock::is_held(file) {
            return Connection::open(&copy).map_err(DbError::from);
        }
        super::aside::remove_parts(&copy)?;
    }
    Err(DbError::File(format!(
        "{} changes while it is copied: try again",
        file.display()
    )))
}

/// A file whose lock a process holds. It is not opened here but by SQLite: the process may be this
/// one.
fn in_use(file: &Path, kind: FileKind) -> Result<Connection, DbError> {
    let connection = open_reader(file)?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id == kind.application_id {
        return Ok(connection);
    }
    Err(DbError::Foreign(format!(
        "{} is not {}",
        file.display(),
        kind.name
    )))
}

fn stamps(file: &Path) -> [Option<(u64, Option<SystemTime>)>; 3] {
    // Length and time: a write changes at least one of them.
    let stamp = |metadata: Metadata| (metadata.len(), metadata.modified().ok());
    ["", "-wal", "-journal"].map(|part| {
        let metadata: io::Result<Metadata> = fs::metadata(with_suffix(file, part));
        metadata.ok().map(stamp)
    })
}
