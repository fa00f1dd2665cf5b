//! Files that are their owner's alone.
//!
//! On a machine with other users, who may read a file may also lock it: a read lock on a `-shm`
//! file stops every trade, and one on a `.lock` file every start. So files have mode 0600 and
//! folders 0700, those of earlier runs too; and a link that somebody else made is not followed.

use crate::database::with_suffix;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Keeps others out of all files that this process, and those that it starts, will make. Called
/// once, by `main`, before there are threads.
pub fn umask() {
    // A process has one umask for all its threads: changed later, it could be changed in the middle
    // of another thread's open.
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

/// Options for a file of ours: made with mode 0600, and not opened through a link.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .mode(0o600)
        // A link in a shared folder could lead to any file that this user may write.
        .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default());
    options
}

/// The user that this process runs as.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a path is a link that neither this user nor the system's made.
///
/// # Errors
/// When it cannot be looked at; a path that is not there is no link.
pub fn is_planted(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        // One's own links and the system's are meant: a data folder is often a link.
        Ok(found) => Ok(found.is_symlink() && found.uid() != user() && found.uid() != 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the rights of others away from a file or folder of this user. True when they had some. One
/// that is not there, or another user's, is left as it is.
///
/// # Errors
/// When it cannot be looked at or changed.
pub fn tighten(path: &Path) -> io::Result<bool> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Another user's file is not ours to change.
    if found.mode() & OTHERS == 0 || found.uid() != user() {
        return Ok(false);
    }
    // Its own rights stay, those to execute a folder among them.
    let own = found.mode() & !OTHERS & 0o7777;
    fs::set_permissions(path, Permissions::from_mode(own))?;
    Ok(true)
}

/// Takes the rights of others away from a database file of ours and what lies beside it, and says
/// so. Called once it is known to be ours: one that was named by a slip is not touched.
///
/// # Errors
/// When the file is reached through another user's link, or cannot be changed; the message names
/// it.
pub fn protect_database(database: &Path) -> io::Result<()> {
    // Before anything is opened through it.
    if is_planted(database)? {
        let message = format!("{} is another user's link", database.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    // The `-shm` and `.lock` too: a read lock on either stops the service.
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = with_suffix(database, suffix);
        let explain = |e: io::Error| {
            let message = format!("cannot change the mode of {}: {e}", path.display());
            io::Error::new(e.kind(), message)
        };
        if tighten(&path).map_err(explain)? {
            tracing::warn!(
                file = %path.display(),
                "others could read and lock this file: it has mode 0600 now"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An existing file loses what others may do, once; a new one is its owner's alone; a link is
    /// not opened.
    #[test]
    fn files_are_their_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        fs::write(&old, "x").expect("written");
        fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("ours");
        assert!(tighten(&old).expect("ours") && mode(&old) == 0o600);
        assert!(!tighten(&old).expect("ours"));
        assert!(!tighten(&new).expect("not there"));
        options().write(true).create(true).open(&new).expect("made");
        assert_eq!(mode(&new), 0o600);
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        symlink(&target, &link).expect("made");
        let opened = options().write(true).create(true).open(&link);
        assert!(opened.is_err() && !target.exists());
        assert!(
            !is_planted(&link).expect("there"),
            "our own link is no plant"
        );
    }
}
