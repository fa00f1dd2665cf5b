//! One process per database file. The lock is on a file beside it: closing any descriptor of the
//! database itself would drop the POSIX locks that SQLite holds on it.

use crate::database::with_suffix;
use crate::port_owner::{lock_holder, lock_holder_pid};
use crate::private;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A held lock; freed when dropped, and by the system when the process ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    /// Whether this lock made its file.
    is_new: bool,
}

/// Tries to lock a file that is still the one of its name: a failed start takes its own away.
const TRIES: u32 = 16;

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
        for _ in 0..TRIES {
            let (file, is_new) = open(&path).map_err(explain)?;
            match file.try_lock() {
                // Its maker may have taken it away meanwhile: a lock on what has no name any more
                // excludes nobody.
                Ok(()) if !has_name(&file, &path) => {}
                Ok(()) => return Ok(Self { file, path, is_new }),
                Err(TryLockError::Error(e)) => return Err(explain(e)),
                Err(TryLockError::WouldBlock) => return Err(in_use(database, &file)),
            }
        }
        // Somebody makes and removes it faster than it can be locked.
        Err(explain(io::Error::other("it comes and goes")))
    }

    /// Frees the lock of a start that failed, and takes its file away where this lock made it: a
    /// wrong `CATALOG_DB` leaves nothing beside somebody's file.
    pub fn discard(self) {
        if self.is_new && has_name(&self.file, &self.path) {
            // Removed while the lock is held: whoever opened it before finds, once it has the lock,
            // that it has no name. A failure does no harm: the file is in nobody's way.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// The process that holds the lock of a database file, as far as that can be seen. Creates
    /// nothing.
    pub fn holder(database: &Path) -> Option<u32> {
        lock_holder_pid(&File::open(lock_path(database)).ok()?)
    }

    /// Whether a process holds the lock of a database file. Creates nothing.
    pub fn is_held(database: &Path) -> bool {
        let Ok(file) = File::open(lock_path(database)) else {
            return false;
        };
        // Shared, and given back at once: a holder has it exclusively, so that only then this would
        // wait.
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = private::options();
    options.write(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // With `create`, as it may have been taken away in between.
            let file = options.create(true).truncate(false).open(path)?;
            Ok((file, false))
        }
        Err(error) => Err(error),
    }
}

fn has_name(file: &File, path: &Path) -> bool {
    let same = |open: fs::Metadata, named: fs::Metadata| {
        // By device and inode: a name may lead to another file by now.
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    };
    file.metadata()
        .and_then(|open| Ok(same(open, fs::metadata(path)?)))
        .unwrap_or(false)
}

fn in_use(database: &Path, lock: &File) -> io::Error {
    let who = lock_holder(lock).unwrap_or_else(|| "another process".into());
    let message = format!(
        "{} is in use by {who}: stop it, or name another file",
        database.display()
    );
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}

fn lock_path(database: &Path) -> PathBuf {
    with_suffix(database, ".lock")
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

    /// A failed start takes away the file that it made, not one that was there; and a lock on a
    /// file that was taken away meanwhile is not taken for one on its name.
    #[test]
    fn a_failed_start_leaves_no_lock_file_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let (database, lock) = (folder.path().join("x.db"), folder.path().join("x.db.lock"));
        let first = FileLock::take(&database).expect("free");
        let waiting = File::open(&lock).expect("is there");
        first.discard();
        assert!(!lock.exists());
        waiting.try_lock().expect("free, but of no use");
        assert!(!has_name(&waiting, &lock));
        drop(FileLock::take(&database).expect("free"));
        assert!(lock.exists(), "a good start leaves it");
        FileLock::take(&database).expect("free").discard();
        assert!(lock.exists(), "it was there before");
    }
}
