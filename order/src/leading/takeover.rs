//! Takes the leadership over when a front-end asks: claims the next term at the catalog, completes
//! the log from the journal, then leads.

use crate::leading::catalog::CatalogClient;
use crate::log::writer::{LogStage, append_and_wait};
use crate::replica::Replica;
use common::http::client::CallError;
use common::http::{Responder, Response};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::timing::CLAIM_GIVE_UP;
use common::wire::catalog::{ClaimAnswer, ClaimRequest, TermInfo};
use common::wire::order::{Position, Rows, Term};
use common::wire::replica::{LeadAnswer, LeadRequest};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread `takeover`: one, so that this replica has one claim under way at a time.
#[derive(Debug)]
pub struct Takeover {
    pub replica: Arc<Replica>,
    pub catalog: CatalogClient,
    pub writer: Arc<LogStage>,
    pub stop: Shutdown,
    /// The trouble that was logged last. Front-ends ask again and again, each time with the same
    /// result.
    pub logged: Option<String>,
}

/// Pause after a page of the journal could not be had.
const BACK_OFF: Duration = Duration::from_millis(20);

impl Takeover {
    /// Works until the service stops.
    pub fn run(mut self, asked: &QueueReceiver<(LeadRequest, Responder)>) {
        while let Some(batch) = asked.take_batch(1, &self.stop) {
            for (request, responder) in batch {
                if let Some((term, end)) = self.claim(&request, responder) {
                    self.complete(term, end);
                }
            }
        }
    }

    /// Claims a term, and answers the front-end. Returns the claim when rows are missing yet: the
    /// front-end does not wait for them, it watches `claiming` in `/health`.
    fn claim(&mut self, request: &LeadRequest, responder: Responder) -> Option<(Term, Position)> {
        // Openly: a leader that does not reach the catalog must not say "I lead" here. A front-end
        // would adopt it, see in its health that it does not lead, and ask again, for ever.
        if let Some(term) = self.replica.openly_led_term() {
            responder.send(Response::json(200, &LeadAnswer::Leading(term)));
            return None;
        }
        // The requests that still wait when the service stops are refused at once.
        // Position and bazaar in one step. Read one by one, a file that is set aside in between
        // would give the claim the position of one file and the bazaar of another.
        let Some((position, cluster)) = self
            .replica
            .candidacy()
            .filter(|_| !self.stop.is_triggered())
        else {
            let why = "this replica may not lead: its log is empty, of another bazaar or cannot be \
                       written, it cannot reach the catalog, or it stops";
            responder.send(Response::unavailable(why));
            return None;
        };
        // At term 0 the claim goes on: by it the catalog learns that its new file may have replaced
        // one that was lost.
        if request.seen > 0 && request.cluster != cluster {
            let why = "the front-end's catalog belongs to another bazaar than this replica's file";
            responder.send(Response::unavailable(why));
            return None;
        }
        // `seen` as the front-end read it, never read afresh here. It is the term that the
        // front-end judged; with a fresh one, a request that was under way for long would depose a
        // leader that was elected meanwhile.
        let LeadRequest { seen, longest, .. } = *request;
        let claim = ClaimRequest {
            replica: self.replica.id,
            cluster,
            position,
            seen,
            longest,
        };
        // A claim needs no lock: the catalog compares and sets, and the role may change meanwhile,
        // which `begin_claim` checks.
        let (term, end) = match self.catalog.claim(&claim) {
            Ok(ClaimAnswer::Granted { term, end }) => (term, end),
            Ok(ClaimAnswer::Wait { ms }) => {
                responder.send(Response::json(200, &LeadAnswer::Wait(ms)));
                return None;
            }
            Err(error) => {
                responder.send(self.refused(&error));
                return None;
            }
        };
        // Granted, and not newer than a term that this replica knows. Leading it would be fenced at
        // once.
        if !self.replica.begin_claim(term) {
            let known = self.replica.known_term().term;
            let trouble = format!(
                "the catalog granted term {term}, and term {known} is known here: another replica \
                 was granted that one meanwhile; if this repeats, the catalog's file is older than \
                 this log: run 'catalog rebuild'"
            );
            self.log_change(&trouble);
            responder.send(Response::unavailable(&trouble));
            return None;
        }
        // The next trouble is news again, even with the same words.
        self.logged = None;
        // Mostly the log is complete already: the leader before kept it so. Then no order waits for
        // a page.
        if self.replica.lead(term, end) {
            responder.send(Response::json(200, &LeadAnswer::Leading(term)));
            return None;
        }
        let (last, wanted) = (position.last, end.last);
        tracing::info!(term, ?last, ?wanted, "claimed: completing the log");
        responder.send(Response::json(200, &LeadAnswer::Claiming(term)));
        Some((term, end))
    }

    /// Logs trouble when it changes, not at each try.
    fn log_change(&mut self, trouble: &str) {
        if self.logged.as_deref() != Some(trouble) {
            tracing::warn!("the claim failed: {trouble}");
            self.logged = Some(trouble.into());
        }
    }

    /// The response after a claim that was not granted. A refusal by the catalog itself has its own
    /// status: every other candidate would get it too, so the front-end waits.
    fn refused(&mut self, error: &CallError) -> Response {
        if let Some(view) = error.refusal::<TermInfo>(412) {
            // An error means that this replica knows a still newer term: nothing to learn.
            let _ = self.replica.observe_term(view);
            return Response::json(412, &view);
        }
        // 409: no replica's claim would be granted before the catalog is mended. 502: the catalog
        // cannot write now, whoever asks. 503: this replica does not reach the catalog, and another
        // one may.
        let status = match error {
            CallError::Status { status: 409, .. } => 409,
            CallError::Status { status: 503, .. } => 502,
            _ => 503,
        };
        self.log_change(&error.to_string());
        let message = format!("the claim was not granted: {error}");
        Response::error(status, &message).with_header("Retry-After", "1")
    }

    /// Completes the log from the journal, then leads. Gives up when a newer term exists, or the
    /// log has not grown for [`CLAIM_GIVE_UP`]: the front-ends leave a claiming replica alone only
    /// as long as it grows.
    fn complete(&self, term: Term, end: Position) {
        // No bound on the whole: a log that lacks a million rows is completed as long as it grows,
        // and the front-ends watch the same sign.
        let mut grown = Instant::now();
        // A newer term ends this claim without a message of its own: nobody waits for an answer
        // here.
        while self.replica.known_term().term == term && !self.stop.is_triggered() {
            if self.replica.lead(term, end) {
                return;
            }
            match self.fetch() {
                Ok(true) => grown = Instant::now(),
                grew if grown.elapsed() > CLAIM_GIVE_UP => {
                    tracing::warn!(
                        term,
                        why = grew.err(),
                        "claim given up: the log does not grow"
                    );
                    break;
                }
                _ => drop(self.stop.wait(BACK_OFF)),
            }
        }
        // Without this the replica would say `claiming` for ever, and front-ends would leave it
        // alone.
        self.replica.abandon_claim(term);
    }

    /// One page of the journal. False when there was nothing in it.
    fn fetch(&self) -> Result<bool, String> {
        // Durable, not merely queued: the next page is asked for after the last row that is in the
        // file.
        let here = self.replica.durable().ok_or("the log is empty")?;
        let rows: Rows = self.catalog.journal(here.last).map_err(|e| e.to_string())?;
        if rows.orders.is_empty() {
            return Ok(false);
        }
        append_and_wait(&self.writer, rows, &self.stop).map(|()| true)
    }
}
