//! The thread `activity`: renews the lease while this catalog is active, and looks at the activity
//! row while it stands by. It has a connection of its own, so that a long commit delays no renewal.

use super::calls::{Answer, Calls, NoAnswer, Statement};
use super::standing::{Known, SharedLease, Standing};
use super::{ANSWER_WITHIN, LOOK, Lease, NoRow, RENEWAL, Seen, TAKEN_WITHIN, Takeover, Watch};
use crate::metrics::CatalogMetrics;
use common::clock::BootInstant;
use common::crash;
use common::shutdown::Shutdown;
use crossbeam::channel::Sender;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The keeper's state.
pub struct Keeper {
    pub calls: Calls,
    pub standing: Arc<Standing>,
    pub metrics: Arc<CatalogMetrics>,
    /// The URL under which this catalog is active.
    pub url: String,
    /// Whether the thread `tenure` waits for a takeover. While it ends a tenure, another catalog
    /// had better take over.
    pub ready: Arc<AtomicBool>,
    /// The leases of takeovers, for the thread `tenure`. Room for one.
    pub takeovers: Sender<Arc<SharedLease>>,
    pub watch: Watch,
    pub lease: Option<Arc<SharedLease>>,
    /// The trouble that was logged last: it is logged when it changes, not each time.
    pub logged: Option<String>,
}

impl Keeper {
    /// Works until the service stops.
    pub fn run(mut self, stop: &Shutdown) {
        loop {
            let began = BootInstant::now();
            let every = match self.lease.clone() {
                Some(lease) if !lease.is_over() => self.renew(&lease),
                // Deposed, or given up by the writer: look at once, as the wait of a takeover
                // begins with the first look.
                Some(_) => {
                    self.stand_by();
                    Duration::ZERO
                }
                None => self.look(),
            };
            // From the beginning of the step: a slow answer must not add its time to the interval
            // between two renewals.
            if stop.wait(every.saturating_sub(BootInstant::now().saturating_since(began))) {
                return;
            }
        }
    }

    fn stand_by(&mut self) {
        self.lease = None;
        // Forget the own beats: the wait counts from now, as for any other standby.
        self.watch.failed();
        self.metrics.active.set(0);
    }

    /// Returns how long after the beginning of this renewal the next step is due.
    fn renew(&mut self, lease: &Arc<SharedLease>) -> Duration {
        let Some(epoch) = lease.to_renew() else {
            self.trouble("the lease is not renewed: the writer shows no sign of life");
            // One that is not sent ends the lease like one that failed: both count.
            self.metrics.renewals_failed.inc();
            return RENEWAL;
        };
        // Before the call: the lease counts from here.
        let sent = BootInstant::now();
        match self.calls.call(Statement::Renew(epoch), ANSWER_WITHIN) {
            Ok(Answer::Done(true)) => {
                if lease.holds_until().is_none() && !lease.is_over() {
                    tracing::info!(epoch, "the lease had ended, and goes on: no one took over");
                }
                lease.renewed(epoch, sent);
                self.fine();
                RENEWAL
            }
            Ok(Answer::Done(false)) => match lease.no_row(epoch) {
                NoRow::Deposed => {
                    // No retry: the row names another epoch or holder, which only a takeover
                    // writes.
                    lease.end("another catalog took over");
                    self.standing.know(Known {
                        // The one that took over is not known yet. Callers try their list, and the
                        // next look shows its URL.
                        active: None,
                        epoch: epoch + 1,
                    });
                    Duration::ZERO
                }
                // The writer waits for the answer to its move, or has it by now.
                NoRow::Moved => LOOK,
            },
            Ok(Answer::Seen(_)) => unreachable!("a renewal is answered by a renewal's answer"),
            Err(error) => {
                self.metrics.renewals_failed.inc();
                // Soon again: the lease lasts for one renewal without an answer, and the new
                // connection after it.
                self.trouble(&format!("a renewal of the lease failed: {error}"));
                LOOK
            }
        }
    }

    fn look(&mut self) -> Duration {
        let sent = BootInstant::now();
        let answer = self.calls.call(Statement::Look, ANSWER_WITHIN);
        let received = BootInstant::now();
        match answer {
            Ok(Answer::Seen(seen)) => {
                self.fine();
                self.note(&seen);
                let due = self.watch.answered(&seen, sent, received);
                // While the thread `tenure` still ends the last tenure, another standby had better
                // take over. The wait goes on meanwhile, so that this one is due as soon as it is
                // ready.
                if let Some(takeover) = due.filter(|_| self.ready.load(Ordering::Acquire)) {
                    self.take(&takeover, seen.clean);
                }
            }
            Ok(Answer::Done(_)) => unreachable!("a look is answered by the row"),
            Err(error) => {
                self.watch.failed();
                self.trouble(&format!("the activity row cannot be read: {error}"));
            }
        }
        if self.lease.is_some() { RENEWAL } else { LOOK }
    }

    /// Notes who is active, for the callers that ask here.
    fn note(&self, seen: &Seen) {
        self.metrics
            .epoch
            .set(i64::try_from(seen.epoch).unwrap_or(i64::MAX));
        // After an unknown takeover the row may name this catalog, which is not active.
        let active = seen.url.clone();
        self.standing.know(Known {
            active: active.filter(|url| *url != self.url && !seen.clean),
            epoch: seen.epoch,
        });
    }

    fn take(&mut self, takeover: &Takeover, clean: bool) {
        let epoch = takeover.epoch();
        crash::point("catalog-before-takeover");
        let sent = BootInstant::now();
        match self.calls.call(Statement::Take(*takeover), TAKEN_WITHIN) {
            Ok(Answer::Done(true)) => {
                crash::point("catalog-after-takeover");
                let reason = match (takeover.from, clean) {
                    (0, _) => "no catalog was active before",
                    (_, true) => "the active catalog stopped cleanly",
                    (_, false) => "the active catalog has not renewed its lease",
                };
                tracing::warn!(epoch, reason, "took over");
                self.metrics.takeovers.inc();
                self.metrics
                    .epoch
                    .set(i64::try_from(epoch).unwrap_or(i64::MAX));
                self.standing.know(Known {
                    active: None,
                    epoch,
                });
                // Renewed from here on, while the thread `tenure` loads, which may take longer than
                // a lease.
                let lease = SharedLease::new(Lease::taken(epoch, sent));
                self.lease = Some(Arc::clone(&lease));
                // Only one: it is ready again when that tenure is over.
                self.ready.store(false, Ordering::Release);
                if let Err(unused) = self.takeovers.try_send(lease) {
                    unused.into_inner().end("this catalog stops");
                }
            }
            // The row was not as required: somebody renewed, or was first.
            Ok(_) => self.watch.failed(),
            Err(error) => {
                // It may have been executed. Nobody then renews, and the wait shows that.
                self.watch.failed();
                self.trouble(&unknown(epoch, &error));
            }
        }
    }

    fn trouble(&mut self, what: &str) {
        if self.logged.as_deref() != Some(what) {
            tracing::warn!("the activity row: {what}");
            self.logged = Some(what.into());
        }
    }

    fn fine(&mut self) {
        if self.logged.take().is_some() {
            tracing::info!("the activity row is reached again");
        }
    }
}

fn unknown(epoch: u64, error: &NoAnswer) -> String {
    format!("whether epoch {epoch} was taken is unknown, so this catalog stands by: {error}")
}
