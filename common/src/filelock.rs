//! One process per database file. The lock is on a file beside it: closing any descriptor of the
//! database itself would drop the POSIX locks that SQLite holds on it.

use crate::port_owner::lock_holder;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A held lock; freed when dropped, and by the system when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock of a database file (`<file>.lock`).
    ///
    /// # Errors
    /// When another process holds it, or the folder cannot be written; the message names the file
    /// and the remedy.
    pub fn take(database: &Path) -> io::Result<Self> {
        let path = lock_path(database);
        let explain =
            |e: io::Error| io::Error::new(e.kind(), format!("cannot open {}: {e}", path.display()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(explain)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::Error(e)) => Err(explain(e)),
            Err(TryLockError::WouldBlock) => {
                let who = lock_holder(&file).unwrap_or_else(|| "another process".into());
                let message = format!(
                    "{} is in use by {who}: stop it, or name another file",
                    database.display()
                );
                Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
            }
        }
    }

    /// Whether a process holds the lock of a database file. Creates nothing.
    #[must_use]
    pub fn is_held(database: &Path) -> bool {
        let Ok(file) = File::open(lock_path(database)) else {
            return false;
        };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file is locked once; a second try names it; dropping frees it.
    #[test]
    fn locks_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("x.db");
        assert!(!FileLock::is_held(&database));
        let lock = FileLock::take(&database).expect("free");
        assert!(FileLock::is_held(&database));
        let error = FileLock::take(&database).expect_err("held").to_string();
        let own = format!("in use by process {} (", std::process::id());
        assert!(error.contains("x.db") && error.contains(&own), "{error}");
        drop(lock);
        assert!(!FileLock::is_held(&database) && FileLock::take(&database).is_ok());
    }
}
