//! Whether this catalog stands by, or is active for the length of a tenure. All threads share it.

use super::{Epoch, Lease, NoRow, Takeover};
use crate::tenure::Tenure;
use common::clock::BootInstant;
use common::shutdown::Shutdown;
use common::wire::catalog::NotActive;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// A lease that threads share: the keeper renews it, the writer moves it to newer epochs, and
/// whoever says something about now asks whether it holds. The clock is read under its lock.
#[derive(Debug)]
pub struct SharedLease {
    lease: Mutex<Lease>,
    /// Wakes the thread that ends the tenure.
    over: Shutdown,
}

impl SharedLease {
    pub fn new(lease: Lease) -> Arc<Self> {
        Arc::new(Self {
            lease: Mutex::new(lease),
            over: Shutdown::new(),
        })
    }

    pub fn epoch(&self) -> Epoch {
        self.lease.lock().epoch()
    }

    /// Until when it holds, if it holds now.
    pub fn holds_until(&self) -> Option<BootInstant> {
        let lease = self.lease.lock();
        // The clock is read with the lock held. Read before, a thread that waits for the lock would
        // judge an old moment, and call a lease valid that has ended meanwhile.
        lease.holds_until(BootInstant::now())
    }

    pub fn to_renew(&self) -> Option<Epoch> {
        let lease = self.lease.lock();
        lease.to_renew(BootInstant::now())
    }

    pub fn renewed(&self, epoch: Epoch, sent: BootInstant) {
        self.lease.lock().renewed(epoch, sent);
    }

    pub fn no_row(&self, epoch: Epoch) -> NoRow {
        self.lease.lock().no_row(epoch)
    }

    pub fn begin_move(&self) -> Takeover {
        self.lease.lock().begin_move()
    }

    pub fn moved(&self, epoch: Epoch, sent: BootInstant) {
        self.lease.lock().moved(epoch, sent);
    }

    pub fn show_life(&self) {
        let mut lease = self.lease.lock();
        lease.show_life(BootInstant::now());
    }

    pub fn is_over(&self) -> bool {
        self.lease.lock().is_over()
    }

    /// Ends the tenure: another catalog took over, or this one gives up. Logged once, with the
    /// first reason.
    pub fn end(&self, why: &str) {
        let mut lease = self.lease.lock();
        if !lease.is_over() {
            tracing::warn!(epoch = lease.epoch(), "standing by: {why}");
            lease.end();
        }
        // Whoever wakes asks this lease, so the lock is free by then.
        drop(lease);
        self.over.trigger();
    }

    /// Triggered when the tenure is over.
    pub fn over(&self) -> &Shutdown {
        &self.over
    }
}

/// The activity row, as far as this catalog knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// URL of the active catalog; `None` while there is none that answers.
    pub active: Option<String>,
    /// The newest epoch.
    pub epoch: Epoch,
}

/// Whether this catalog stands by or is active now. The listener's workers read it with each
/// request.
#[derive(Debug, Default)]
pub struct Standing {
    tenure: RwLock<Option<Arc<Tenure>>>,
    known: Mutex<Known>,
}

impl Standing {
    /// The tenure, while this catalog is active.
    pub fn tenure(&self) -> Option<Arc<Tenure>> {
        let tenure = self.tenure.read().clone();
        // Over takes effect at once, before the thread `tenure` has ended anything: from that
        // moment every request gets a 421.
        tenure.filter(|tenure| !tenure.is_over())
    }

    /// The tenure, also one that is over and not ended yet.
    pub fn current(&self) -> Option<Arc<Tenure>> {
        self.tenure.read().clone()
    }

    /// Begins to serve: from here on the listener's workers find this tenure.
    pub fn begin(&self, tenure: Arc<Tenure>) {
        *self.tenure.write() = Some(tenure);
    }

    /// Stands by. Returns the tenure that ended: dropping it joins its threads.
    pub fn end(&self) -> Option<Arc<Tenure>> {
        self.tenure.write().take()
    }

    pub fn know(&self, known: Known) {
        *self.known.lock() = known;
    }

    pub fn known(&self) -> Known {
        self.known.lock().clone()
    }

    /// The body of a 421.
    pub fn not_active(&self, outcome_unknown: bool) -> NotActive {
        let Known { active, epoch } = self.known();
        NotActive {
            active,
            epoch,
            outcome_unknown,
        }
    }
}
