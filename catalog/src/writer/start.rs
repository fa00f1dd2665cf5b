//! The start-up wait: trades are kept until no cache holds a lease of an earlier run, and a log has
//! shown that the file is no older copy.

use super::{MAX_WORK, Writer, WriterWork, unavailable};
use common::clock::BootInstant;
use common::queue::QueueReceiver;
use common::shutdown::Shutdown;
use common::stage::Work;
use common::wire::catalog::{CatalogState, TradeRequest};
use common::wire::replica::Unavailable;

impl Writer {
    /// The start-up wait. Until every lease of an earlier run is over, claims are granted, but no
    /// trade is taken: the catalog has forgotten which front-ends hold those leases, so it cannot
    /// push to them. Trades that come meanwhile are kept, since the leader's call outlives the
    /// wait.
    ///
    /// After a clean stop no lease is left, and the wait is for a log: the first batch or claim
    /// that fits the journal ends it. Else an old copy of the file, whose stop was clean too, would
    /// show its old stocks until the first order came (seen: two reads in 40 ms). A bazaar in which
    /// nobody trades waits as after a crash.
    ///
    /// Returns how many items it took from the queue.
    pub(super) fn wait_at_start(
        &mut self,
        work: &QueueReceiver<WriterWork>,
        stop: &Shutdown,
    ) -> usize {
        let mut taken = 0;
        while self.visible.state() == CatalogState::StartUpWait && !stop.is_triggered() {
            // CLOCK_BOOTTIME: on a machine that was suspended meanwhile, the leases have ended as
            // well.
            let until = self.unconfirmed_until.unwrap_or(BootInstant::BOOT);
            let until = until.max(self.serve_from);
            let left = until.saturating_since(BootInstant::now());
            if left.is_zero() {
                self.unconfirmed_until = None;
                self.visible.serve();
                tracing::info!("the start-up wait is over: serving");
            } else if let Some(item) = stop.receive_timeout(work.receiver(), left) {
                taken += 1;
                match item {
                    // A claim shows no stock to anybody, so it needs no wait: a leader is there by
                    // the time that trades are taken.
                    WriterWork::Claim(request, responder) => self.claim(&request, responder),
                    // Bounded. One leader has one batch under way; more are repeats of batches
                    // whose callers have given up.
                    WriterWork::Trades(request, responder) if self.parked.len() < MAX_WORK => {
                        self.compare_at_start(&request);
                        self.parked.push(WriterWork::Trades(request, responder));
                    }
                    WriterWork::Trades(_, responder) => {
                        responder.send(unavailable(&Unavailable {
                            message: "too many batches wait for the catalog".into(),
                            outcome_unknown: false,
                            retry: false,
                        }));
                    }
                    WriterWork::CheckFailed(what) => self.distrust(&what),
                }
            }
        }
        // Also when a stop or lost history ended the wait: `trade` then refuses them, after a stop
        // with a 421, so that callers try again.
        self.stopped |= stop.is_triggered();
        let parked = std::mem::take(&mut self.parked);
        self.work(parked);
        taken
    }

    /// A batch that comes during the wait: its log is compared with the journal at once. After the
    /// wait would be too late: a file that was cut would show its stocks before that (seen: a stale
    /// read under load). A log that does not fit ends all service, or is another bazaar's. Its
    /// batch gets the refusal from [`Writer::admit`].
    fn compare_at_start(&mut self, request: &TradeRequest) {
        let compared = self
            .check_cluster(request.replica, &request.cluster, request.position)
            .and_then(|()| self.check_history(request.replica, request.position));
        // The log of a fenced leader may end early, and so fit an older copy as well.
        if compared.is_ok() && request.term == self.leadership.term_info().term {
            self.confirm();
        }
    }

    /// A log fits the journal, so the file is no older copy.
    pub(super) fn confirm(&mut self) {
        if self.unconfirmed_until.take().is_some() && BootInstant::now() >= self.serve_from {
            self.visible.serve();
            tracing::info!("an order log fits the file: serving");
        }
    }
}
