//! Moving database files: a file goes with what SQLite keeps beside it, nothing is deleted or
//! written over, and the folder is synced, so that no power failure undoes half of a move.

use super::{DbError, with_suffix};
use crate::crash;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A database file and what SQLite keeps beside it. The file itself goes first: without it nothing
/// opens the rest.
pub const PARTS: [&str; 4] = ["", "-wal", "-journal", "-shm"];

/// Moves a damaged file, with all its parts, to `<file>.damaged-<unix milliseconds>`, and returns
/// that name.
///
/// # Errors
/// When it cannot be moved; the message names it.
pub fn set_aside(path: &Path) -> Result<PathBuf, DbError> {
    let to = free_name(path, "damaged", SystemTime::now());
    move_parts(path, &to)?;
    Ok(to)
}

/// `<path>.<label>-<milliseconds of time>`, or a later millisecond where a part that is yet to be
/// moved has its new name taken.
pub(super) fn free_name(path: &Path, label: &str, time: SystemTime) -> PathBuf {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let first = since.unwrap_or_default().as_millis();
    // A later millisecond rather than a number: names stay sortable by time.
    (first..)
        .map(|ms| with_suffix(path, &format!(".{label}-{ms}")))
        .find(|to| {
            // Only a part that is still to be moved can collide: a move that was interrupted goes
            // on under the same name.
            let taken = |part| exists(path, part) && exists(to, part);
            !PARTS.into_iter().any(taken)
        })
        .unwrap_or_else(|| with_suffix(path, label))
}

/// Moves what there is of a file's parts. False when there was nothing.
pub(super) fn move_parts(path: &Path, to: &Path) -> Result<bool, DbError> {
    let mut moved = false;
    // The file itself first (see `PARTS`): a death in between leaves parts that nothing opens.
    for part in PARTS.into_iter().filter(|part| exists(path, part)) {
        let from = with_suffix(path, part);
        fs::rename(&from, with_suffix(to, part)).map_err(|e| {
            DbError::File(format!(
                "cannot move {} to {}: {e}",
                from.display(),
                with_suffix(to, part).display()
            ))
        })?;
        moved = true;
        crash::point(if part.is_empty() {
            "file-moved-aside"
        } else {
            "part-moved-aside"
        });
    }
    // Before anything takes the name: a machine that dies must not come back with a new file beside
    // the old -wal.
    sync_folder(path)?;
    Ok(moved)
}

/// Renames a file and makes that durable.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), DbError> {
    fs::rename(from, to).map_err(|e| {
        DbError::File(format!(
            "cannot rename {} to {}: {e}",
            from.display(),
            to.display()
        ))
    })?;
    sync_folder(to)
}

/// Makes the names in a file's folder durable.
///
/// # Errors
/// [`DbError::File`]
pub fn sync_folder(path: &Path) -> Result<(), DbError> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)
        // A rename is durable once its folder is synced, and not before.
        .and_then(|folder| folder.sync_all())
        .map_err(|e| DbError::File(format!("cannot sync {}: {e}", folder.display())))
}

/// Removes what there is of a file's parts.
pub(super) fn remove_parts(path: &Path) -> Result<(), DbError> {
    for part in PARTS {
        let file = with_suffix(path, part);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(DbError::File(format!(
                    "cannot remove {}: {e}",
                    file.display()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn exists(path: &Path, part: &str) -> bool {
    // Not followed: a link that leads nowhere is there as well, and would be in the way of a new
    // file.
    fs::symlink_metadata(with_suffix(path, part)).is_ok()
}
