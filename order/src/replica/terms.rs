//! Terms, claims, and the beginning and end of a leadership.

use crate::leading::pipeline::Pipeline;
use crate::replica::{Replica, State};
use common::http::Response;
use common::wire::catalog::{TermAnswer, TermInfo};
use common::wire::order::{ClusterId, Position, Term};
use parking_lot::MutexGuard;
use std::time::Duration;

impl Replica {
    /// The term that it leads; `None` while it follows or claims.
    pub fn led_term(&self) -> Option<Term> {
        self.state.lock().role.led_term()
    }

    /// The term that it leads and shows in `/health`; `None` also for a leader that cannot take
    /// orders now.
    pub fn openly_led_term(&self) -> Option<Term> {
        self.state.lock().openly_led_term()
    }

    /// The highest term that it knows of, and its owner as far as that is known.
    pub fn known_term(&self) -> TermInfo {
        self.state.lock().role.known()
    }

    /// The catalog's bazaar, once a term of it was read.
    pub fn settled_cluster(&self) -> Option<ClusterId> {
        self.state.lock().settled_cluster.clone()
    }

    /// Notes which bazaar the catalog belongs to. A replica with a file of another bazaar neither
    /// leads nor offers itself.
    pub fn note_catalog(&self, answer: &TermAnswer) {
        let mut state = self.state.lock();
        if let Some(cluster) = answer.settled_cluster()
            && state.settled_cluster.as_ref() != Some(cluster)
        {
            state.settled_cluster = Some(cluster.clone());
        }
        // Also when the bazaar is known: the file may have got its genesis since.
        state.look_for_foreign_file();
        if state.foreign {
            self.end_any_leadership(state, "its file is not of the catalog's bazaar");
        }
    }

    /// Takes note of a term. A newer one ends this replica's claim or leadership.
    ///
    /// # Errors
    /// The term that this replica knows, when that is newer.
    pub fn observe_term(&self, term: TermInfo) -> Result<(), TermInfo> {
        let mut state = self.state.lock();
        let known = state.role.known();
        if term.term < known.term {
            return Err(known);
        }
        if term.term > known.term {
            let leader = term.owner.map(u8::from);
            tracing::info!(term = term.term, ?leader, "learned of a newer term");
            self.show_term(term.term);
        }
        if let Some(old) = state.role.observe_term(term) {
            self.end_leadership(state, old, "a newer term exists");
        }
        Ok(())
    }

    /// Where its log ends and to which bazaar it belongs; `None` when it may not be asked to lead.
    pub fn candidacy(&self) -> Option<(Position, ClusterId)> {
        let state = self.state.lock();
        state
            .file
            .durable
            .zip(state.file.cluster.clone())
            .filter(|_| state.may_lead())
    }

    /// Begins to complete its log for a term that was granted to it. False when it knows of a newer
    /// one.
    #[must_use]
    pub fn begin_claim(&self, term: Term) -> bool {
        let mut state = self.state.lock();
        let Ok(ended) = state.role.begin_claim(term, self.id) else {
            return false;
        };
        self.show_term(term);
        if let Some(old) = ended {
            self.end_leadership(state, old, "it claimed a newer term");
        }
        true
    }

    /// Gives up the claim of `term`, if that is still the one that it claims.
    pub fn abandon_claim(&self, term: Term) {
        self.state.lock().role.abandon_claim(term);
    }

    /// Begins to lead the term that it claims, whose journal ended at `end` when it was granted.
    /// False when it no longer claims that term, or rows up to `end` are missing.
    #[must_use]
    pub fn lead(&self, term: Term, end: Position) -> bool {
        let mut state = self.state.lock();
        // Complete before leading. Without this check a new leader says "no such order" of one that
        // was acknowledged a moment ago.
        let Some(durable) = state.file.durable.filter(|own| own.next() >= end.next()) else {
            return false;
        };
        // Looked at again: between the grant and the last page the disk may have failed, or a stop
        // or a newer term may have come.
        if !state.may_lead() || !state.role.lead(term) {
            return false;
        }
        let peers = self.peers.iter().copied();
        // New with each leadership. Positions of followers from an earlier one are guesses, and
        // nobody is in sync before an answer.
        state.pipeline = Some(Pipeline::new(term, durable, self.min_copies, peers));
        self.metrics.leading.set(1);
        self.metrics.leaderships.inc();
        tracing::warn!(term, last = ?durable.last, "leading");
        self.changed.notify_all();
        true
    }

    /// Waits until it leads, at most `timeout`.
    pub fn wait_leading(&self, timeout: Duration) {
        let mut state = self.state.lock();
        // Looked at under the lock: a leadership that began just before would have sent its
        // notification already, and this thread would sleep through it.
        if state.role.led_term().is_none() {
            self.changed.wait_for(&mut state, timeout);
        }
    }

    /// Notes whether the catalog answers the term keeper. While it does not, `/health` shows no
    /// leadership: orders could not be taken.
    pub fn catalog_answers(&self, term: Term, answers: bool) {
        let mut state = self.state.lock();
        let Some(pipeline) = state
            .pipeline
            .as_mut()
            .filter(|p| p.term == term && p.catalog_answers != answers)
        else {
            return;
        };
        pipeline.catalog_answers = answers;
        if answers {
            tracing::info!(term, "the catalog answers again: leading");
        } else {
            tracing::warn!(
                term,
                "the catalog does not answer: health shows no leader here until it does"
            );
        }
    }

    /// Ends the leadership of `term`, if it still leads that.
    pub fn step_down(&self, term: Term, why: &str) {
        let state = self.state.lock();
        // The caller read the term before it took this lock. Without the comparison, a late report
        // on term 4 would end the leadership of term 5.
        if state.role.led_term() == Some(term) {
            self.end_any_leadership(state, why);
        }
    }

    /// Hands the leadership over and takes no other: the service stops. Front-ends elect another
    /// leader at once, instead of after the last response of this one.
    pub fn begin_shutdown(&self) {
        let mut state = self.state.lock();
        // Before the leadership ends, in one step: a front-end that asks in between would be
        // granted a replica that goes away.
        state.stopping = true;
        self.end_any_leadership(state, "the service stops");
    }

    pub(super) fn end_any_leadership(&self, mut state: MutexGuard<'_, State>, why: &str) {
        if let Some(term) = state.role.led_term() {
            let led = state.role.step_down(term);
            assert!(led, "it leads term {term}");
            self.end_leadership(state, term, why);
        }
    }

    /// Everything that follows from a leadership's end. The batches that wait are answered with
    /// "outcome unknown": the journal has them, but this replica can no longer say whether every
    /// follower in sync has, too. The next leader answers the same order keys.
    fn end_leadership(&self, mut state: MutexGuard<'_, State>, term: Term, why: &str) {
        assert_ne!(
            state.role.led_term(),
            Some(term),
            "the role of term {term} ends before its pipeline"
        );
        let waiters = state
            .pipeline
            .take()
            // Taken out with the pipeline, so that a late report of log writer or follower finds
            // none and acknowledges nothing in this term's name.
            .map(|mut pipeline| pipeline.tracker.abandon())
            .unwrap_or_default();
        let body = state.not_leader(self.id, true);
        // The replication threads wait for rows of this term: there will be none.
        self.changed.notify_all();
        drop(state);
        self.metrics.leading.set(0);
        tracing::warn!(term, waiting = waiters.len(), "no longer leading: {why}");
        for waiter in waiters {
            waiter.responder.send(Response::json(421, &body));
        }
    }

    fn show_term(&self, term: Term) {
        self.metrics
            .term
            .set(i64::try_from(term).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::OrderMetrics;
    use crate::replica::LogUpdate;
    use common::chain::Hash;
    use common::metrics::Metrics;
    use common::wire::order::ReplicaId;

    const EMPTY: Position = Position {
        last: None,
        hash: Hash([0; 32]),
    };

    fn replica() -> Replica {
        let id = ReplicaId::try_from(1).expect("an id");
        let replica = Replica::new(id, vec![], 1, OrderMetrics::new(&Metrics::new()));
        replica.log_at(Some(EMPTY), None, LogUpdate::Committed);
        replica
    }

    #[test]
    fn a_stopping_replica_is_no_candidate() {
        let replica = replica();
        assert!(replica.begin_claim(1) && replica.lead(1, EMPTY));
        assert_eq!(replica.openly_led_term(), Some(1));
        replica.begin_shutdown();
        assert!(replica.begin_claim(2) && !replica.lead(2, EMPTY));
        assert_eq!((replica.led_term(), replica.candidacy()), (None, None));
        assert!(!replica.health().eligible);
    }

    #[test]
    fn a_late_report_on_an_older_term_ends_no_leadership() {
        let replica = replica();
        assert!(replica.begin_claim(1) && replica.lead(1, EMPTY));
        assert!(replica.begin_claim(2) && replica.lead(2, EMPTY));
        replica.step_down(1, "a late report");
        assert_eq!(replica.led_term(), Some(2));
    }
}
