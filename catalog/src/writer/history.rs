//! Whether a replica's log and the journal have one history.
//!
//! **The catalog never gives a number twice.** If its file was lost, cut or replaced by an older
//! copy, it would: the journal ends earlier, and the next order gets a number that the logs already
//! have with another content. So every claim and every batch carries the position of a log, and a
//! position that is not in the journal ends all service, loudly, until `catalog rebuild`.

use crate::leadership::ForeignLog;
use crate::store::StoreError;
use crate::writer::Writer;
use common::http::Response;
use common::wire::catalog::CatalogState;
use common::wire::order::{ClusterId, Position, ReplicaId};

impl Writer {
    /// A log of another bazaar never leads here. It may also show that this catalog's file is a new
    /// one in the place of one that was lost: see `Leadership::judge_foreign_log`.
    pub(super) fn check_cluster(
        &mut self,
        replica: ReplicaId,
        cluster: &ClusterId,
        position: Position,
    ) -> Result<(), Response> {
        let own = self.store.genesis().cluster.clone();
        if *cluster == own {
            return Ok(());
        }
        let last = number_or_none(position.last);
        match self.leadership.judge_foreign_log() {
            ForeignLog::WrongPlace => {
                let message = format!(
                    "the log of replica {replica} (last order {last}) belongs to bazaar {cluster}, \
                     this catalog to bazaar {own}: the replica can neither lead nor follow here; \
                     stop it and give it its own ORDER_DB and CATALOG_URL, or move the file away, \
                     and it fetches this bazaar's log"
                );
                // Not the end of service: one misplaced file must not stop a bazaar that is well.
                self.log_change(&message);
                Err(Response::error(409, &message))
            }
            ForeignLog::FileLost => {
                self.lose_history(&format!(
                    "this catalog's file is new (bazaar {own}), but replica {replica} has a log of \
                     bazaar {cluster} (last order {last}). If the catalog's file was lost: stop \
                     all services and run 'catalog rebuild' from the longest order log. If that \
                     log is another bazaar's: stop all services, move it away, and the catalog's \
                     new file, too"
                ));
                self.refuse_lost()
            }
        }
    }

    fn refuse_lost(&self) -> Result<(), Response> {
        // Lost history counts once it is written. A catalog that was fenced says nothing of it.
        if self.is_over() {
            return Err(self.not_active(false));
        }
        self.visible
            .serving()
            // 409 and not 503: the caller need not try again before a person has acted.
            .map_err(|not| Response::error(409, &not.message))
    }

    /// Checks that a log is a prefix of the journal. If it is not, the catalog once gave numbers
    /// that this file does not know: the file was lost or cut. Going on would give those numbers
    /// again.
    pub(super) fn check_history(
        &mut self,
        replica: ReplicaId,
        position: Position,
    ) -> Result<(), Response> {
        // Once lost, every log is refused, also one that fits: the journal may lack rows that other
        // logs have.
        if self.visible.state() != CatalogState::HistoryLost {
            let end = self.state.position;
            // The usual leader is at the end, which is in memory: no read for each batch.
            let known = if position.last == end.last {
                Some(end.hash)
            // More rows than the journal has. `None` is equal to no hash.
            } else if position.next() > end.next() {
                None
            } else {
                match self.store.hash_before(position.next()) {
                    Ok(hash) => hash,
                    // A read that failed says nothing about the log: no history is lost by it.
                    Err(error) => return Err(self.cannot_read(&error)),
                }
            };
            if known == Some(position.hash) {
                return Ok(());
            }
            let (journal_last, last) = (number_or_none(end.last), number_or_none(position.last));
            self.lose_history(&format!(
                "the log of replica {replica} (last order {last}) is no prefix of the catalog's \
                 journal (last order {journal_last}): the catalog's file was lost or cut; \
                 stop all services and run 'catalog rebuild' from a complete order log"
            ));
        }
        self.refuse_lost()
    }

    /// Compares the longest log that the front-end saw with the journal. The candidate's own log
    /// may be a prefix of a file that was cut, while another replica's is longer.
    pub(super) fn check_longest(&mut self, longest: Option<u64>) -> Result<(), Response> {
        // `None`, no order, is below every number.
        if longest <= self.state.position.last {
            return Ok(());
        }
        let (last, end) = (
            number_or_none(longest),
            number_or_none(self.state.position.last),
        );
        self.lose_history(&format!(
            "a replica has order {last}, the catalog's journal ends at {end}: the catalog's file \
             was lost or cut; stop all services and run 'catalog rebuild' from the longest \
             order log"
        ));
        self.refuse_lost()
    }

    /// Ends all service until the file is mended. Logged and written once, with the first reason.
    pub(super) fn lose_history(&mut self, reason: &str) {
        if self.visible.state() == CatalogState::HistoryLost {
            return;
        }
        // Shared: written first. A deposed catalog compares with its own old memory, and would stop
        // a bazaar that is well. A file has no second catalog, so there it counts at once.
        if self.shared.is_some() && !self.write_lost_history(reason) {
            return;
        }
        tracing::error!("trades and stocks are refused: {reason}");
        // In this order. With the sessions ended first, a front-end could begin a lookup in between
        // and keep what it gets.
        self.visible.lose_history(reason);
        // Front-ends may hold quantities of the lost history, and would serve them for a lease.
        self.sessions.end_all(reason);
        if self.shared.is_some() {
            return;
        }
        if let Err(error) = self.store.set_history_lost(reason) {
            // Not fatal: the logs that showed it are still there, and show it again.
            tracing::error!(%error, "lost history was not recorded: a restart finds it out again");
        }
    }

    /// The file contradicts itself: what it would serve may be wrong.
    pub(super) fn distrust(&mut self, what: &str) {
        self.lose_history(&format!(
            "{what}; stop all services and run 'catalog rebuild' from the longest order log"
        ));
    }

    pub(super) fn cannot_read(&mut self, error: &StoreError) -> Response {
        if matches!(error, StoreError::Fenced) {
            return self.fenced();
        }
        // Damage now means damage for good. An error of the system may pass, so it is only "not
        // now".
        if error.is_damage() {
            self.lose_history(&format!(
                "the catalog's file is damaged ({error}); \
                 stop all services and run 'catalog rebuild'"
            ));
        }
        if self.is_over() {
            return self.not_active(false);
        }
        self.nothing_happened(&format!("the catalog cannot use its file: {error}"))
    }

    /// Logs trouble with claims when it changes, not at each try: 90 lines a second were seen.
    pub(super) fn log_change(&mut self, trouble: &str) {
        if self.logged.as_deref() != Some(trouble) {
            tracing::error!("a claim was refused: {trouble}");
            self.logged = Some(trouble.into());
        }
    }
}

fn number_or_none(last: Option<u64>) -> String {
    last.map_or("none".into(), |n| n.to_string())
}
