//! The activity row: which catalog is active, and that it still is. Every rule that several
//! catalogs rely on in the database is a statement of this file; when to send which is the matter
//! of whoever calls (`crate::activity`).
//!
//! `activity(epoch, holder, url, clean, beat)` has one row. `epoch` counts takeovers, `holder` is a
//! random id of one run of one process, `beat` counts signs of life. "Own epoch" means both, epoch
//! and holder: an epoch belongs to one run, and a restarted process stands by first. Epoch 0 was
//! never active.
//!
//! - **One row ▲**, updated in place. With a row per epoch, a renewal that waited for a takeover
//!   found its own row as it was before, and succeeded after it.
//! - **Each is one statement that depends on what it requires ▲.** A read and a later write would
//!   leave room for a takeover in between.
//! - **`epoch` is unique ▲**: changing it takes the row's exclusive lock, for which a takeover
//!   waits until every transaction that was begun with the fence is over. A renewal changes `beat`
//!   alone, and waits for no batch.
//! - **Renewals commit like trades ▲** (`synchronous_commit = on`): a primary that lost its
//!   standbys acknowledges none, so its catalog's lease ends.
//!
//! A call blocks as long as the server is silent: the library has no time-out for a call. So a
//! caller gives it a thread of its own, takes the time itself, and drops the [`Activity`] that does
//! not answer.

use super::connection::Connection;
use super::url::PostgresUrl;
use crate::store::StoreError;
use postgres::types::ToSql;

/// The activity row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityRow {
    /// Rises by one with each takeover; 0 was never active.
    pub epoch: u64,
    /// Which run of which process holds it.
    pub holder: String,
    /// Where the callers reach that process.
    pub url: String,
    /// Whether it stopped cleanly: it serves nothing any more, and no cache holds its values.
    pub clean: bool,
    /// Rises with each renewal and takeover.
    pub beat: u64,
}

/// The end of a statement that writes the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Committed and replicated; the row as it is now.
    Done(ActivityRow),
    /// The row was not as required, so nothing was written: another catalog has the epoch, or this
    /// one has moved to a newer epoch since.
    Refused,
    /// It was not sent: there is no connection. For a person.
    NotSent(String),
    /// It may be committed, now or later. For a person. The connection is closed; the server may
    /// still execute what was sent.
    Unknown(String),
}

/// The statements on one connection of their own, which is opened at the first call, and anew after
/// one that failed.
#[derive(Debug)]
pub struct Activity {
    database: PostgresUrl,
    holder: String,
    url: String,
    open: Option<Connection>,
}

const LOOK: &str = "SELECT epoch, holder, url, clean, beat FROM activity";

/// Renewal ▲. One that waits for a takeover's lock looks at the row again when the takeover is
/// committed, finds another epoch, and changes nothing.
const RENEW: &str = "UPDATE activity SET beat = beat + 1 WHERE epoch = $1 AND holder = $2 \
                     RETURNING epoch, holder, url, clean, beat";

/// Takeover by beat ▲. It requires the epoch *and* the beat that were seen unchanged for the whole
/// wait: a renewal in between, also one that is committed while this waits for the lock, refuses
/// it. It writes `clean = false`, so that only a stop of the new holder can set it again.
const TAKE_OVER: &str = "UPDATE activity SET epoch = epoch + 1, beat = beat + 1, holder = $3, \
                         url = $4, clean = FALSE WHERE epoch = $1 AND beat = $2 \
                         RETURNING epoch, holder, url, clean, beat";

/// Takeover by `clean` ▲. It requires `clean` in place of the beat: whoever set it serves nothing
/// any more, and wrote it last. The epoch is required too, as of two standbys one wins.
const TAKE_OVER_CLEAN: &str = "UPDATE activity SET epoch = epoch + 1, beat = beat + 1, \
                               holder = $2, url = $3, clean = FALSE WHERE epoch = $1 AND clean \
                               RETURNING epoch, holder, url, clean, beat";

/// The next epoch from itself ▲, after a write whose outcome is unknown: what was sent under the
/// old epoch may still be executed, and can no longer commit. Changing the epoch waits for the
/// lost transaction's lock, as a takeover does.
const BUMP: &str = "UPDATE activity SET epoch = epoch + 1, beat = beat + 1, clean = FALSE \
                    WHERE epoch = $1 AND holder = $2 RETURNING epoch, holder, url, clean, beat";

/// The last write of a clean stop ▲. It requires the own epoch: one that was deposed meanwhile must
/// not call the new holder's epoch clean.
const SET_CLEAN: &str = "UPDATE activity SET clean = TRUE WHERE epoch = $1 AND holder = $2 \
                         RETURNING epoch, holder, url, clean, beat";

impl Activity {
    /// For the run `holder` (letters and digits), whose callers reach it at `url`. Connects to
    /// nothing yet; the tables are made by [`super::PostgresStore::open`].
    #[must_use]
    pub fn new(database: PostgresUrl, holder: String, url: String) -> Self {
        Self {
            database,
            holder,
            url,
            open: None,
        }
    }

    /// This run's holder.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Reads the row.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn look(&mut self) -> Result<ActivityRow, StoreError> {
        let mut connection = self.connect()?;
        let rows = connection.query(LOOK, &[])?;
        // Only after a good answer: a connection that failed may still have the answer to the old
        // statement under way.
        self.open = Some(connection);
        let row = rows.first().ok_or_else(|| {
            StoreError::Damaged("the activity row is missing: restore the database".into())
        })?;
        activity_row(row)
    }

    /// Renews `epoch`: `beat` rises. [`Outcome::Refused`]: deposed, unless this run has moved to a
    /// newer epoch itself since.
    pub fn renew(&mut self, epoch: u64) -> Outcome {
        let holder = self.holder.clone();
        self.write(RENEW, &[&number(epoch), &holder])
    }

    /// Takes the epoch after `seen`, whose beat did not move for the whole wait.
    pub fn take_over(&mut self, seen: &ActivityRow) -> Outcome {
        let (holder, url) = (self.holder.clone(), self.url.clone());
        let (epoch, beat) = (number(seen.epoch), number(seen.beat));
        self.write(TAKE_OVER, &[&epoch, &beat, &holder, &url])
    }

    /// Takes the epoch after `epoch`, which was seen clean, without a wait.
    pub fn take_over_clean(&mut self, epoch: u64) -> Outcome {
        let (holder, url) = (self.holder.clone(), self.url.clone());
        self.write(TAKE_OVER_CLEAN, &[&number(epoch), &holder, &url])
    }

    /// Moves from the own `epoch` to the next one.
    pub fn bump(&mut self, epoch: u64) -> Outcome {
        let holder = self.holder.clone();
        self.write(BUMP, &[&number(epoch), &holder])
    }

    /// Sets `clean` in the own `epoch`.
    pub fn set_clean(&mut self, epoch: u64) -> Outcome {
        let holder = self.holder.clone();
        self.write(SET_CLEAN, &[&number(epoch), &holder])
    }

    /// Connects now, and prepares the statements, so that the first call is as quick as the next.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn prepare(&mut self) -> Result<(), StoreError> {
        let mut connection = self.connect()?;
        connection.prepare(&[LOOK, RENEW, TAKE_OVER, TAKE_OVER_CLEAN, BUMP, SET_CLEAN])?;
        self.open = Some(connection);
        Ok(())
    }

    /// Takes the open connection out, so that one that fails is not used again.
    fn connect(&mut self) -> Result<Connection, StoreError> {
        match self.open.take().filter(|open| !open.is_closed()) {
            Some(open) => Ok(open),
            None => Connection::open(&self.database, "bazaar activity"),
        }
    }

    fn write(&mut self, text: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Outcome {
        let mut connection = match self.connect() {
            Ok(connection) => connection,
            // Nothing left this process. Kept apart from an unknown outcome, after which a takeover
            // may have happened.
            Err(error) => return Outcome::NotSent(error.to_string()),
        };
        // Counted from here: a warning of an earlier statement is no matter of this one.
        let warnings = connection.warnings();
        let rows = match connection.query(text, parameters) {
            Ok(rows) => rows,
            Err(error) => return Outcome::Unknown(StoreError::from(error).to_string()),
        };
        // A renewal that is not replicated must begin no lease: after the primary is lost, the beat
        // that a standby saw is there again, and it takes over while this lease runs.
        if let Err(error) = connection.check_warnings(warnings) {
            return Outcome::Unknown(error.to_string());
        }
        self.open = Some(connection);
        match rows.first().map(activity_row) {
            None => Outcome::Refused,
            Some(Ok(row)) => Outcome::Done(row),
            Some(Err(error)) => Outcome::Unknown(error.to_string()),
        }
    }
}

fn activity_row(row: &postgres::Row) -> Result<ActivityRow, StoreError> {
    Ok(ActivityRow {
        epoch: super::unsigned(row.try_get(0)?)?,
        holder: row.try_get(1)?,
        url: row.try_get(2)?,
        clean: row.try_get(3)?,
        beat: super::unsigned(row.try_get(4)?)?,
    })
}

/// As PostgreSQL stores it. Epochs and beats count from 0 by ones.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
