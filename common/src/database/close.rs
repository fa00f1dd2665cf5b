//! The end of a clean stop: the file stands alone. SQLite does this itself only when the last
//! connection that closes is one that may write; here the readers close last, so that it never did.

use super::{DbError, aside, configure, explain};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long a reader of another process, such as a backup, is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Moves all rows of the `-wal` into the file, and takes the file out of WAL mode, which removes
/// `-wal` and `-shm`. A copy of the file alone is complete then; and a file that says WAL without
/// having one was copied from a running service, which the next start says.
///
/// Called when the service's own connections are closed and the lock is still held.
///
/// # Errors
/// [`DbError`]: rows stay in the `-wal`, and nothing is lost.
pub fn close_cleanly(path: &Path) -> Result<(), DbError> {
    // Set aside as damaged, or never made.
    if !path.exists() {
        return Ok(());
    }
    // Not created: a file that is gone must stay gone.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| explain(path, e))?;
    connection.busy_timeout(PATIENCE)?;
    // As for every writer: the checkpoint has to be synced.
    configure(&connection)?;
    let busy: i64 =
        // Waits for readers up to the time-out; with one left, rows stay in the `-wal`.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy != 0 {
        return Err(DbError::File(format!(
            "another process reads {}",
            path.display()
        )));
    }
    match connection.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0)) {
        // Only this mark tells a file that was closed cleanly from a copy of one that was open.
        Ok(mode) if String::eq(&mode, "delete") => {}
        // Someone has it open without reading. All rows are in the file, which is what counts.
        Ok(_) => tracing::info!(file = %path.display(), "another process has the file open"),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            tracing::info!(file = %path.display(), "another process has the file open");
        }
        Err(error) => return Err(error.into()),
    }
    // Closed here rather than by drop, which would lose its error.
    connection.close().map_err(|(_, error)| error)?;
    aside::sync_folder(path)
}

/// The same at the end of a service, which has nobody to return an error to.
pub fn close_or_say(path: &Path) {
    if let Err(error) = close_cleanly(path) {
        tracing::error!(
            file = %path.display(), %error,
            "rows stay in the -wal beside the file: a copy needs both"
        );
    }
}
