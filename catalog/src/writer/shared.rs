//! The writer with a database that several catalogs share.
//!
//! **Each transaction begins with the fence of the epoch under which its content was decided.** The
//! store holds that epoch from one load to the next. So a catalog that was deposed writes nothing,
//! and learns it here if not from its keeper.
//!
//! **After an unknown outcome the catalog first takes the next epoch from itself, then loads.** A
//! COMMIT that it sent may be executed at any time, also after a load that did not see it. With the
//! older epoch gone it can no longer be. The trace that this prevents: a batch's COMMIT is on its
//! way, its connection breaks, the load does not find it, the repeated orders are decided anew with
//! the same numbers, and then the first COMMIT arrives. Sessions and lease stay, since nobody else
//! was active in between; the batch's stocks stay marked as changing until the load is done. If any
//! step fails, the catalog stands by, and whoever takes over finds the truth.

use super::{Writer, unavailable};
use crate::activity::TAKEN_WITHIN;
use crate::activity::calls::{Answer, Statement};
use crate::store::{Snapshot, StoreError};
use common::clock::BootInstant;
use common::crash;
use common::http::Response;
use common::wire::replica::Unavailable;

impl Writer {
    /// Shows the keeper of the lease that this thread, or the worker that stands in for it, works.
    pub(super) fn show_life(&self) {
        if let Some(shared) = &self.shared {
            shared.lease.show_life();
        }
    }

    /// Whether this catalog is no longer active, or stops.
    pub(super) fn is_over(&self) -> bool {
        // Over, not "without a lease": a lease that lapsed goes on with the next renewal if nobody
        // took over, and a batch may be decided meanwhile. The fence judges it.
        self.stopped || self.shared.as_ref().is_some_and(|s| s.lease.is_over())
    }

    /// Refuses a statement about now that no lease covers.
    pub(super) fn check_lease(&self) -> Result<(), Response> {
        match &self.shared {
            Some(shared) if shared.lease.holds_until().is_none() => {
                Err(self.nothing_happened("the catalog has no lease now"))
            }
            _ => Ok(()),
        }
    }

    /// A 421: not the active one.
    pub(super) fn not_active(&self, outcome_unknown: bool) -> Response {
        Response::json(421, &self.standing.not_active(outcome_unknown))
    }

    /// The fence found another epoch.
    pub(super) fn fenced(&self) -> Response {
        self.end_tenure();
        self.not_active(false)
    }

    pub(super) fn end_tenure(&self) {
        if let Some(shared) = &self.shared {
            shared.lease.end("the database has a newer epoch");
        }
    }

    /// The response to a request that changed nothing. With several catalogs the next try may find
    /// one that can.
    pub(super) fn nothing_happened(&self, message: &str) -> Response {
        if self.is_over() {
            return self.not_active(false);
        }
        unavailable(&Unavailable {
            message: message.into(),
            outcome_unknown: false,
            retry: self.shared.is_some(),
        })
    }

    /// The response to a batch that may have traded. With several catalogs its repetition finds the
    /// verdicts, whoever is active then.
    pub(super) fn unknown_outcome(&self, message: &str) -> Response {
        // 421 sends the leader to the next catalog; `true` makes it treat the answer as none.
        if self.shared.is_some() && self.is_over() {
            return self.not_active(true);
        }
        unavailable(&Unavailable {
            message: message.into(),
            outcome_unknown: true,
            retry: self.shared.is_some(),
        })
    }

    /// Takes the next epoch from itself, and loads under it.
    pub(super) fn move_and_load(&mut self) {
        if let Err(why) = self.try_move_and_load()
            && let Some(shared) = &self.shared
        {
            shared.lease.end(&why);
        }
    }

    fn try_move_and_load(&mut self) -> Result<(), String> {
        let Some(shared) = &mut self.shared else {
            return Ok(());
        };
        // Noted before the statement is sent: the keeper's next renewal may find the old epoch gone
        // before the answer arrives, and must not take that for a takeover by another catalog.
        let own = shared.lease.begin_move();
        crash::point("catalog-before-move");
        // A lease counts from before the sending.
        let sent = BootInstant::now();
        // On a connection of its own. The store's may hang with the lost COMMIT, and the statement
        // must also wait for that transaction's lock.
        match shared.moves.call(Statement::Take(own), TAKEN_WITHIN) {
            Ok(Answer::Done(true)) => shared.lease.moved(own.epoch(), sent),
            // The row has another epoch or holder: only a takeover changes these.
            Ok(_) => return Err("another catalog took over".into()),
            Err(error) => return Err(format!("the next epoch could not be taken: {error}")),
        }
        crash::point("catalog-after-move");
        self.metrics
            .epoch
            .set(i64::try_from(own.epoch()).unwrap_or(i64::MAX));
        let failed = |error: StoreError| format!("the state could not be loaded: {error}");
        let snapshot = self.store.load(own.epoch()).map_err(failed)?;
        tracing::warn!(
            epoch = own.epoch(),
            orders = snapshot.position.next(),
            "moved to the next epoch, and loaded: nothing sent before can still be committed"
        );
        // Compared before it replaces what is in memory, which is the only witness of acknowledged
        // rows.
        match self.lost_rows(&snapshot).map_err(failed)? {
            Some(what) => self.distrust(&what),
            // Unmarks the stocks of the failed batch, too: from here on lookups may be cached
            // again.
            None => self.install(snapshot),
        }
        Ok(())
    }

    /// Compares what was loaded with what this tenure has made visible: a database that failed over
    /// to a standby without all acknowledged rows has lost some.
    fn lost_rows(&mut self, loaded: &Snapshot) -> Result<Option<String>, StoreError> {
        let before = self.state.position;
        let hash = if loaded.position.next() < before.next() {
            None
        } else {
            self.store.hash_before(before.next())?
        };
        // The last visible row has to be there with its hash, and may have others after it: the
        // batch of unknown outcome.
        if hash == Some(before.hash) && loaded.term.term >= self.state.term.term {
            return Ok(None);
        }
        Ok(Some(format!(
            "the database has lost committed rows: it ended at order {:?} in term {}, and ends at \
             order {:?} in term {} now",
            before.last, self.state.term.term, loaded.position.last, loaded.term.term
        )))
    }

    /// Writes that history is lost, under the own epoch. Until then it does not count: a catalog
    /// that was deposed compares with a journal that is merely old. Returns whether it is written.
    pub(super) fn write_lost_history(&mut self, reason: &str) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        // Meanwhile no stock is served beside it, and no trade taken.
        self.visible.doubt();
        match self.store.set_history_lost(reason) {
            Ok(()) => true,
            Err(error) => {
                // The next tenure finds it out again by the same logs.
                shared.lease.end(&format!(
                    "history may be lost, and that could not be written: {error}"
                ));
                false
            }
        }
    }
}
