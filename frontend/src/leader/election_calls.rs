//! The thread that makes the blocking calls of a judgement for the monitor: reading the term,
//! asking a replica to lead.

use crate::leader::election::{Event, Judgement, LeadOutcome};
use common::http::catalogs::{Catalogs, Says};
use common::http::client::{Call, CallError, HttpClient};
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::wire::catalog::TermAnswer;
use common::wire::order::ReplicaId;
use common::wire::replica::{LeadAnswer, LeadRequest};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the catalog may take to answer the term: its workers answer that, never behind its
/// writer. While none of several catalogs is active, one is waited for as long as this.
const TERM_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a candidate may take to claim. Longer than any healthy claim; after it the judgement
/// begins anew, and finds the candidate's term if the claim was granted meanwhile.
const LEAD_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Jobs that may wait: a judgement has one at a time, and one abandoned before it.
const JOBS: usize = 8;

/// A running election thread. The service's stop ends it; dropping it waits for that.
#[derive(Debug)]
pub struct ElectionCalls {
    jobs: Sender<Job>,
    token: Option<String>,
    /// Connections of the newest request to lead, to end it.
    asking: Option<HttpClient>,
    _thread: Thread,
}

enum Job {
    ReadTerm(Judgement),
    Ask {
        judgement: Judgement,
        candidate: ReplicaId,
        url: String,
        request: LeadRequest,
        client: HttpClient,
    },
}

struct Worker {
    catalogs: Catalogs,
    jobs: Receiver<Job>,
    events: Sender<Event>,
    /// Why each replica did not lead when it was asked last: logged when that changes, since a
    /// catalog on a full disk refuses one claim after the other.
    said: BTreeMap<ReplicaId, String>,
}

impl ElectionCalls {
    /// Starts the thread.
    #[must_use]
    pub fn start(
        catalogs: Catalogs,
        token: Option<&str>,
        events: Sender<Event>,
        stop: &Shutdown,
    ) -> Self {
        // Bounded, and never filled: see `put`.
        let (jobs, waiting) = bounded(JOBS);
        let mut worker = Worker {
            catalogs,
            jobs: waiting,
            events,
            said: BTreeMap::new(),
        };
        let stop = stop.clone();
        let thread = Thread::spawn("election", move || worker.run(&stop));
        Self {
            jobs,
            token: token.map(Into::into),
            asking: None,
            _thread: thread,
        }
    }

    /// Reads the term; the answer comes as an event.
    pub fn read_term(&self, judgement: Judgement) {
        self.put(Job::ReadTerm(judgement));
    }

    /// Asks a replica to lead; the answer comes as an event.
    pub fn ask(
        &mut self,
        judgement: Judgement,
        candidate: ReplicaId,
        url: &str,
        request: LeadRequest,
    ) {
        // A client of its own for each request, so that `abandon` ends this one call and no other.
        let client = HttpClient::new(1, self.token.as_deref());
        self.asking = Some(client.clone());
        self.put(Job::Ask {
            judgement,
            candidate,
            url: url.into(),
            request,
            client,
        });
    }

    /// Ends the newest request to lead.
    pub fn abandon(&mut self) {
        if let Some(client) = self.asking.take() {
            // The thread comes back at once with "no answer", whose judgement is outdated by then,
            // and takes the next job. Without this a candidate that hangs would hold up the
            // election for the whole time-out.
            client.abort();
        }
    }

    fn put(&self, job: Job) {
        // Judgements end by answers or by `abandon`, so the queue holds more than there can be.
        // Gone: the service stops.
        let full = self.jobs.try_send(job).is_err_and(|e| e.is_full());
        assert!(!full, "the election thread never has {JOBS} jobs");
    }
}

impl Worker {
    fn run(&mut self, stop: &Shutdown) {
        // One call at a time: a judgement has one under way, and the stop ends the wait for the
        // next.
        while let Some(job) = stop.receive(&self.jobs) {
            let event = match job {
                Job::ReadTerm(judgement) => Event::Term(judgement, self.read_term()),
                Job::Ask {
                    judgement,
                    candidate,
                    url,
                    request,
                    client,
                } => Event::Lead(judgement, self.ask(&client, candidate, &url, &request)),
            };
            // The monitor may have gone: then nobody reads events, and the channel is closed.
            if stop.is_triggered() || self.events.send(event).is_err() {
                return;
            }
        }
    }

    fn read_term(&self) -> Option<TermAnswer> {
        let read = || {
            self.catalogs
                // The term is a statement about now. Asked in rounds while no catalog is active: a
                // planned change of catalog must not look like a missed read.
                .get_until::<TermAnswer>(Says::Now, "/term", TERM_TIMEOUT)
        };
        let first = match read() {
            // A kept connection to a catalog that was restarted: a new connection may be answered.
            // Only with a lone catalog: several are asked in turn already. A read may be repeated
            // safely.
            Err(CallError::NoAnswer(_)) if !self.catalogs.are_several() => read(),
            answer => answer,
        };
        first
            .inspect_err(|error| tracing::debug!(%error, "the catalog did not answer the term"))
            .ok()
    }

    fn ask(
        &mut self,
        client: &HttpClient,
        candidate: ReplicaId,
        url: &str,
        request: &LeadRequest,
    ) -> LeadOutcome {
        let seen = request.seen;
        let call = Call {
            method: "PUT",
            base: url,
            path: "/leader",
            timeout: LEAD_TIMEOUT,
            trace: None,
        };
        tracing::debug!(replica = %candidate, seen, "asking a replica to lead");
        let error = match client.call::<_, LeadAnswer>(call, request) {
            Ok(answer) => {
                self.said.remove(&candidate);
                return LeadOutcome::Lead(answer);
            }
            // Outdated, not failed: nothing is wrong with the candidate, and the next judgement
            // reads the newer term.
            Err(CallError::Status { status: 412, .. }) => return LeadOutcome::Outdated,
            Err(error) => error,
        };
        let why = error.to_string();
        // Once for each reason: refused claims are repeated as long as the cause lasts.
        if self.said.get(&candidate) != Some(&why) {
            tracing::warn!(
                replica = %candidate, seen, error = why,
                "a replica that was asked to lead does not");
            self.said.insert(candidate, why);
        }
        match error {
            // The catalog's own refusal, which any other candidate would get too. Not taken for a
            // failure of the candidate: to go round the replicas would only repeat the refusal, so
            // the election waits instead.
            CallError::Status {
                status: 409 | 502, ..
            } => LeadOutcome::Refused,
            _ => LeadOutcome::Failed,
        }
    }
}
