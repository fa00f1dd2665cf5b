//! Claims: a replica asks for the next term.

use crate::leadership::Claim;
use crate::store::StoreError;
use crate::writer::Writer;
use common::clock::BootInstant;
use common::http::{Responder, Response};
use common::wire::catalog::{CatalogState, ClaimAnswer, ClaimRequest};
use std::time::Instant;

impl Writer {
    pub(super) fn claim(&mut self, request: &ClaimRequest, responder: Responder) {
        // A grant by a deposed catalog would be refused by the fence anyway; this saves the call.
        let response = if self.is_over() {
            self.not_active(false)
        } else {
            self.judge_claim(request)
        };
        responder.send(response);
    }

    fn judge_claim(&mut self, request: &ClaimRequest) -> Response {
        let ClaimRequest {
            replica, position, ..
        } = *request;
        // The history before the term: a log that shows lost history must not be turned away with
        // "stale term", as it may be the only one that comes.
        if let Err(refusal) = self
            .check_cluster(replica, &request.cluster, position)
            .and_then(|()| self.check_history(replica, position))
        {
            return refusal;
        }
        if let Err(refusal) = self.check_longest(request.longest) {
            return refusal;
        }
        let granted = match self
            .leadership
            .judge(request.replica, request.seen, BootInstant::now())
        {
            Claim::Grant(granted) => granted,
            // No refusal: the same claim may be granted soon, unless another one is first.
            Claim::Wait { ms } => return Response::json(200, &ClaimAnswer::Wait { ms }),
            Claim::Stale(info) => {
                if let Err(refusal) = self.check_lease() {
                    return refusal;
                }
                self.metrics.fenced.inc();
                return Response::json(412, &info);
            }
        };
        self.writes.begin(Instant::now());
        let written = self.store.set_term(granted);
        if let Err(StoreError::Fenced) = written {
            // Not noted as a failed write: the database is well, and another catalog uses it.
            return self.fenced();
        }
        self.note_write(written.as_ref().err());
        if let Err(error) = written {
            self.log_change(&format!(
                "the term could not be written, so no replica can begin to lead: {error}"
            ));
            // The outcome is unknown: a term that reached the disk must fence older ones.
            self.reload();
            return self.nothing_happened(&format!("the catalog cannot write the term: {error}"));
        }
        self.logged = None;
        // Durable first: a grant that a crash takes back would let two replicas lead one term.
        self.leadership.install(granted, BootInstant::now());
        self.state.term = granted;
        self.visible.set_term(granted);
        if self.visible.state() == CatalogState::AwaitingClaim {
            // The claim named the longest log that the front-end saw, and it is no longer than this
            // journal: so this new file did not replace one that was lost.
            self.visible.serve();
        }
        self.confirm();
        self.metrics
            .term
            .set(i64::try_from(granted.term).unwrap_or(i64::MAX));
        self.metrics.claims_granted.inc();
        tracing::warn!(
            term = granted.term, replica = %request.replica,
            "leadership granted; older terms are fenced"
        );
        Response::json(
            200,
            &ClaimAnswer::Granted {
                term: granted.term,
                // The journal's end at the grant. No later row is of an older term, so a candidate
                // that is complete up to here has every order that was acknowledged before it
                // leads.
                end: self.state.position,
            },
        )
    }
}
