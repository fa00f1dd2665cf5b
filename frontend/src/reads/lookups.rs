//! Lookups: reads of stocks that the cache does not answer. A thread takes what is queued,
//! asks the catalog once for the distinct names, and answers all. A reader that arrives while the
//! call is under way waits for the next one: the answer may have left the catalog before a trade
//! that this reader already knows of.

use crate::cache::shared::{FoundStock, SharedCache, stock_info};
use crate::intake::{Waiting, unavailable};
use crate::metrics::QueueMetrics;
use common::http::catalogs::{Catalogs, Says};
use common::http::client::CallError;
use common::http::{Responder, Response};
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::timing::MAX_BATCH;
use common::wire::catalog::{LookupAnswer, LookupRequest};
use common::wire::public::StockInfo;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that ask. Readers that arrive while a call is under way must not have its answer, so
/// another thread asks for them meanwhile.
pub const THREADS: usize = 3;
/// Bound of one call, so that a catalog that hangs is tried again on a new connection.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Least time for a call, however near the deadline is: the answer may be there in a moment, and
/// one call serves all.
const CALL_LEAST: Duration = Duration::from_millis(50);
/// Pause before the catalog is asked again.
const BACK_OFF: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    Stock(String),
    All,
}

/// A reader that waits for its answer.
pub(crate) struct PendingLookup {
    pub want: Want,
    /// Until when it may wait.
    pub deadline: Instant,
    pub responder: Responder,
}

impl Waiting for PendingLookup {
    fn into_responder(self) -> Responder {
        self.responder
    }
}

#[derive(Clone)]
pub(crate) struct Lookups {
    /// The readers that wait.
    pub queue: QueueReceiver<PendingLookup>,
    /// Filled with what is found.
    pub cache: Arc<SharedCache>,
    pub catalogs: Catalogs,
    pub metrics: QueueMetrics,
    /// The service's stop.
    pub stop: Shutdown,
}

impl Lookups {
    /// Starts the threads. The service's stop ends them, once the queue is empty.
    #[must_use]
    pub fn start(self) -> Vec<Thread> {
        let asker = |i| {
            let lookups = self.clone();
            Thread::spawn(&format!("lookup-{i}"), move || lookups.run())
        };
        (0..THREADS).map(asker).collect()
    }

    fn run(&self) {
        // All that wait are taken at once: under load calls grow larger, not more.
        while let Some(readers) = self.queue.take_batch(MAX_BATCH, &self.stop) {
            self.serve(readers);
        }
    }

    /// Answers every reader, after as many calls as it takes. A reader that arrives between two
    /// calls is taken along.
    fn serve(&self, mut readers: Vec<PendingLookup>) {
        // For readers whose deadline is over before a call has failed.
        let mut why = String::from("the catalog did not answer in time");
        loop {
            readers = answer_expired(readers, &why);
            if readers.is_empty() {
                return;
            }
            self.metrics.lookup_batch.observe(readers.len() as f64);
            // Two calls, since an answer with all stocks may have megabytes, which a reader of one
            // stock should not wait for.
            let (all, named): (Vec<_>, Vec<_>) = readers
                .into_iter()
                .partition(|reader| reader.want == Want::All);
            let outcomes = [self.ask_named(named), self.ask_all(all)];
            // An error is kept for its own readers alone: those of the other call have their
            // answers.
            readers = Vec::new();
            for outcome in outcomes {
                let Err((error, unanswered)) = outcome else {
                    continue;
                };
                tracing::debug!(
                    %error, readers = unanswered.len(),
                    "stock reads not answered by the catalog"
                );
                why = format!("the catalog does not answer stock reads now ({error})");
                // Passes, as when the catalog restarts: the readers are asked for again, within
                // their deadlines.
                if error.is_retryable() {
                    readers.extend(unanswered);
                } else {
                    // Not by waiting: the catalog is of another version, or refuses the token.
                    tracing::error!(%error, "the catalog refuses stock reads");
                    give_up(unanswered, &why);
                }
            }
            // Bounds the rate of calls to a catalog that refuses connections at once. A stop ends
            // the wait.
            if !readers.is_empty() && self.stop.wait(BACK_OFF) {
                return give_up(readers, "this front-end is stopping");
            }
            // Readers that came during the pause go along: the next call is sent after they
            // arrived, so its answer is new enough for them.
            while readers.len() < MAX_BATCH
                && !readers.is_empty()
                && let Ok(reader) = self.queue.receiver().try_recv()
            {
                readers.push(reader);
            }
        }
    }

    fn ask_named(
        &self,
        readers: Vec<PendingLookup>,
    ) -> Result<(), (CallError, Vec<PendingLookup>)> {
        if readers.is_empty() {
            return Ok(());
        }
        // Sorted and distinct: a hundred readers of one stock cost the catalog one look.
        let names: BTreeSet<&str> = readers
            .iter()
            .filter_map(|reader| reader.want.name())
            .collect();
        // Begun before the call is sent: an invalidation from here on voids them.
        let fills = self.cache.begin_fills(names.iter().copied());
        let answer = self.ask(Some(names.into_iter().map(Into::into).collect()), &readers);
        let stocks = answer.as_ref().map_or(&[][..], |answer| &answer.stocks);
        let found: HashMap<&str, FoundStock> = stocks
            .iter()
            .map(|stock| (&*stock.name, stock.into()))
            .collect();
        // In any case, also after a failed call: a fill that was begun and never finished would
        // stay in flight for ever. Before the answers leave, so that a reader who comes back finds
        // the cache filled.
        self.cache.finish_fills(fills, &found);
        if let Err(error) = answer {
            // The readers go back to the caller, who knows whether time is left.
            return Err((error, readers));
        }
        // The answer goes to all readers, one whose fill was voided too: their reads overlapped
        // with the trade.
        for PendingLookup {
            want, responder, ..
        } in readers
        {
            let name = want.name().unwrap_or_default();
            responder.send(match found.get(name) {
                Some(stock) => stock_response(&stock.body),
                None => Response::error(
                    404,
                    &format!("there is no stock '{name}'; GET /stocks lists them"),
                ),
            });
        }
        Ok(())
    }

    fn ask_all(&self, readers: Vec<PendingLookup>) -> Result<(), (CallError, Vec<PendingLookup>)> {
        if readers.is_empty() {
            return Ok(());
        }
        match self.ask(None, &readers) {
            Ok(answer) => {
                // Not stored in the cache: it holds single stocks by name, and this reader wants
                // all.
                let stocks: Vec<StockInfo> = answer.stocks.iter().map(stock_info).collect();
                let response = Response::data(stocks);
                readers
                    .into_iter()
                    .for_each(|reader| reader.responder.send(response.clone()));
                Ok(())
            }
            Err(error) => Err((error, readers)),
        }
    }

    fn ask(
        &self,
        names: Option<Vec<String>>,
        readers: &[PendingLookup],
    ) -> Result<LookupAnswer, CallError> {
        // The first reader's deadline bounds the call of all: none is kept beyond its time, and the
        // others are asked for again.
        let deadline = readers
            .iter()
            .map(|reader| reader.deadline)
            .min()
            .unwrap_or_else(Instant::now);
        let timeout = deadline
            .saturating_duration_since(Instant::now())
            .clamp(CALL_LEAST, CALL_TIMEOUT);
        self.catalogs
            // A stock is a statement about now: an answer of a catalog that was deposed may be
            // older than an acknowledged trade.
            .post(Says::Now, "/lookup", timeout, &LookupRequest { names })
    }
}

impl Want {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Stock(name) => Some(name),
            Self::All => None,
        }
    }
}

/// The answer with a prebuilt body.
pub(crate) fn stock_response(body: &Arc<[u8]>) -> Response {
    Response::text(200, "application/json", body.to_vec())
}

fn answer_expired(readers: Vec<PendingLookup>, why: &str) -> Vec<PendingLookup> {
    let now = Instant::now();
    let (expired, rest): (Vec<_>, Vec<_>) = readers
        .into_iter()
        .partition(|reader| reader.deadline <= now);
    give_up(expired, why);
    rest
}

fn give_up(readers: Vec<PendingLookup>, why: &str) {
    for reader in readers {
        reader
            .responder
            .send(unavailable(&format!("{why}; try again")));
    }
}
