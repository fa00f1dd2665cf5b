//! A database file is made under another name, and takes its own once it is complete.
//!
//! 1. `<file>.draft` is filled. It has no `-wal`: what is committed is in the file.
//! 2. It is closed, synced and opened again; SQLite checks its structure, the caller its content.
//! 3. It becomes `<file>.ready`. **This rename is the commit.** A process that dies before it
//!    leaves the old state, one that dies after it leaves the new one.
//! 4. The file that has the name is moved to `<file>.replaced-<time>`, with its `-wal`, and the
//!    folder is synced.
//! 5. `<file>.ready` becomes `<file>`.
//!
//! Steps 4 and 5 are several renames. The next process that opens the file finishes them
//! ([`finish_install`]). Without that, a death between two of them would leave a new file beside
//! the old `-wal`, whose frames SQLite would recover into it, or no file at all.
//!
//! The caller holds the file's lock from the first step to the last.

use super::aside::{self, PARTS, exists, free_name, move_parts, remove_parts};
use super::header::{Found, identify};
use super::{DbError, FileKind, configure, explain, open_reader, with_suffix};
use crate::crash;
use rusqlite::Connection;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const DRAFT: &str = ".draft";
const READY: &str = ".ready";

/// A file that is being made. Dropped, it is removed, and a full disk has its room back.
#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    path: PathBuf,
    kind: FileKind,
    connection: Option<Connection>,
}

/// A file that is complete, checked and durable, and waits for its name.
#[derive(Debug)]
#[must_use = "it has not taken its name yet"]
pub struct Ready {
    target: PathBuf,
}

impl Draft {
    /// An empty file with the tables that `create` makes.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn begin(target: &Path, kind: FileKind, create: &str) -> Result<Self, DbError> {
        let mut draft = Self::at(target, kind)?;
        draft.open()?;
        // One transaction, so that a file with tables has its marks, too.
        let made = draft.connection().transaction()?;
        made.execute_batch(create)?;
        // By these marks every later start knows the file as ours.
        made.pragma_update(None, "application_id", kind.application_id)?;
        made.pragma_update(None, "user_version", kind.version)?;
        made.commit()?;
        Ok(draft)
    }

    /// A copy of a file that stands alone, such as one of a backup.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn copy_of(source: &Path, target: &Path, kind: FileKind) -> Result<Self, DbError> {
        let mut draft = Self::at(target, kind)?;
        // The source stands alone, so that this is all of it; a file with a `-wal` goes through
        // `snapshot_of`.
        fs::copy(source, &draft.path).map_err(|e| {
            let (from, to) = (source.display(), draft.path.display());
            DbError::File(format!("cannot copy {from} to {to}: {e}"))
        })?;
        draft.open()?;
        Ok(draft)
    }

    /// A copy of an open database at this moment, also while another connection writes to it.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn snapshot_of(
        source: &Connection,
        target: &Path,
        kind: FileKind,
    ) -> Result<Self, DbError> {
        let mut draft = Self::at(target, kind)?;
        // SQLite takes the name as text; another spelling would be another file.
        let path = draft
            .path
            .to_str()
            .ok_or_else(|| DbError::File(format!("{} is not UTF-8", draft.path.display())))?;
        // A snapshot without stopping the writer: SQLite reads it in one read transaction.
        source.execute("VACUUM INTO ?", [path])?;
        draft.open()?;
        Ok(draft)
    }

    fn at(target: &Path, kind: FileKind) -> Result<Self, DbError> {
        let path = with_suffix(target, DRAFT);
        // An earlier attempt may have died here.
        remove_parts(&path)?;
        Ok(Self {
            target: target.into(),
            path,
            kind,
            connection: None,
        })
    }

    fn open(&mut self) -> Result<(), DbError> {
        let connection = Connection::open(&self.path).map_err(|e| explain(&self.path, e))?;
        configure(&connection)?;
        self.connection = Some(connection);
        Ok(())
    }

    /// To fill it with.
    ///
    /// # Panics
    /// Never: a draft is open until it is complete.
    pub fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a draft is open")
    }

    /// Closes, syncs and checks it; `check` judges the content as it is read back from the file.
    ///
    /// # Errors
    /// [`DbError`]: the draft is removed, and what has the name stays as it is.
    pub fn complete(
        mut self,
        check: impl FnOnce(&Connection) -> Result<(), DbError>,
    ) -> Result<Ready, DbError> {
        crash::point("draft-filled");
        if let Some(connection) = self.connection.take() {
            // An error here is a full disk, mostly. Dropped silently, it would leave a draft
            // without its last rows.
            connection.close().map_err(|(_, error)| error)?;
        }
        // A `-wal` or `-journal` beside it holds rows that a rename would leave behind.
        if let Some(part) = PARTS[1..].iter().find(|part| exists(&self.path, part)) {
            let left = with_suffix(&self.path, part);
            return Err(DbError::Damaged(format!("{} was left", left.display())));
        }
        // SQLite syncs what it commits; a copy by the system is not synced yet.
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(|e| DbError::File(format!("cannot sync {}: {e}", self.path.display())))?;
        crash::point("draft-synced");
        // Looked at from outside, as the next start will.
        if identify(&self.path, self.kind)? != (Found::Ours { open: false }) {
            let path = self.path.display();
            return Err(DbError::Damaged(format!("{path} does not stand alone")));
        }
        // Opened anew: read from the file, not from what this connection believes of it.
        let connection = open_reader(&self.path)?;
        check_structure(&connection)?;
        check(&connection)?;
        connection.close().map_err(|(_, error)| error)?;
        crash::point("draft-checked");
        // The commit: see the module.
        aside::rename(&self.path, &ready_name(&self.target))?;
        crash::point("draft-ready");
        Ok(Ready {
            target: self.target.clone(),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Closed before its files are removed.
        self.connection = None;
        // Nothing is there after a success; after a failure the next attempt removes what is left.
        let _ = remove_parts(&self.path);
    }
}

impl Ready {
    /// Takes the name. The file that had it is kept under the name that is returned.
    ///
    /// # Errors
    /// [`DbError`]; the message says which state is in force.
    pub fn install(self) -> Result<Option<PathBuf>, DbError> {
        // The same code that a later start runs: one way for both, so that both are tested.
        finish_install(&self.target).map(|installed| installed.and_then(|file| file.kept_as))
    }

    /// Does not take the name: what has it stays.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn discard(self) -> Result<(), DbError> {
        // Removed durably, so that it does not take the name at a later start.
        remove_parts(&ready_name(&self.target))?;
        aside::sync_folder(&self.target)
    }
}

/// The name of a file that is complete, until it takes its own.
#[must_use]
pub fn ready_name(target: &Path) -> PathBuf {
    with_suffix(target, READY)
}

/// A file that has taken its name.
#[derive(Debug)]
pub struct Installed {
    /// Where what had the name is now.
    pub kept_as: Option<PathBuf>,
}

/// Finishes what [`Draft::complete`] has committed, if there is something; harmless to repeat.
///
/// # Errors
/// [`DbError`]
pub fn finish_install(target: &Path) -> Result<Option<Installed>, DbError> {
    let ready = ready_name(target);
    // No draft was committed, or it has its name already.
    let Ok(metadata) = fs::symlink_metadata(&ready) else {
        return Ok(None);
    };
    // Named for the moment at which the new file was complete, so that a move that was interrupted
    // goes on under the same name.
    let time = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let kept = free_name(target, "replaced", time);
    let installed = move_parts(target, &kept)
        .and_then(|moved| aside::rename(&ready, target).map(|()| moved))
        // Neither is undone: the next start goes on where this one stopped.
        .map_err(|error| {
            DbError::File(format!(
                "{error}; the new file is complete as {} and takes its name at the next start",
                ready.display()
            ))
        })?;
    crash::point("file-installed");
    // Also of an attempt before this one, which died in between.
    let earlier = PARTS.iter().any(|part| exists(&kept, part));
    Ok(Some(Installed {
        kept_as: (installed || earlier).then_some(kept),
    }))
}

/// SQLite's own check of the whole file.
///
/// # Errors
/// [`DbError::Damaged`] with what it found.
pub fn check_structure(connection: &Connection) -> Result<(), DbError> {
    // One finding is enough: the file is refused whatever else is wrong.
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(DbError::Damaged(found))
}
