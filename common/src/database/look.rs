//! Looks at a file without changing it, whether a process has it open or not.

use super::{DbError, FileKind, open_reader, with_suffix};
use crate::filelock::FileLock;
use rusqlite::Connection;
use std::error::Error;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A file opened for looking. One that a process has open is read in place. Another one is copied
/// with its `-wal` first, since opening it would run SQLite's recovery on the original.
#[derive(Debug)]
pub struct Look {
    /// To read with.
    pub connection: Connection,
    /// For what is made while looking; removed afterwards.
    pub scratch: TempDir,
}

impl Look {
    /// Opens a file of this kind.
    ///
    /// # Errors
    /// When it cannot be read or is of another kind; the message names it.
    pub fn at(file: &Path, kind: FileKind) -> Result<Self, Box<dyn Error>> {
        fs::metadata(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let scratch = TempDir::new()?;
        let connection = if FileLock::is_held(file) {
            open_reader(file)?
        } else {
            let copy = scratch.path().join("copy.db");
            fs::copy(file, &copy)?;
            let wal = with_suffix(file, "-wal");
            if wal.exists() {
                fs::copy(wal, with_suffix(&copy, "-wal"))?;
            }
            Connection::open(&copy).map_err(DbError::from)?
        };
        let id: i32 = connection
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(DbError::from)?;
        if id != kind.application_id {
            return Err(format!("{} is not {}", file.display(), kind.name).into());
        }
        Ok(Self {
            connection,
            scratch,
        })
    }
}
