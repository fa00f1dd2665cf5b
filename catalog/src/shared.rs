//! The threads of a catalog that shares its database with others: `activity`, which finds out who
//! is active, and `tenure`, which loads after a takeover and ends what a deposed catalog had.

use crate::activity::calls::{ActivityTable, Calls, OpenTable};
use crate::activity::keeper::Keeper;
use crate::activity::standing::SharedLease;
use crate::activity::{Epoch, Requires, Seen, Takeover, Watch};
use crate::store::postgres::activity::{Activity, ActivityRow, Outcome};
use crate::store::postgres::{PostgresStore, PostgresUrl};
use crate::store::{Store, StoreError};
use crate::tenure::{StartUp, Surroundings, Tenure};
use common::crash;
use common::shutdown::Shutdown;
use common::threads::Thread;
use common::wire::order::Genesis;
use crossbeam::channel::{Receiver, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause after the database could not be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(250);
/// How long a start waits for its database.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Loads that a takeover tries: the first may find that the connection broke while it stood by.
const LOADS: u32 = 2;

/// The two threads, with a stop of their own each. Dropped in the order of their fields.
#[derive(Debug)]
pub struct SharedThreads {
    tenures_stop: Shutdown,
    tenures: Option<Thread>,
    activity_stop: Shutdown,
    activity: Option<Thread>,
}

/// The database, and this run of this process as its holder.
#[derive(Debug, Clone)]
pub struct Holder {
    pub database: PostgresUrl,
    /// A random id.
    pub holder: String,
    /// Where callers reach this catalog.
    pub url: String,
}

impl Holder {
    fn open_table(&self) -> OpenTable {
        let holder = self.clone();
        Arc::new(move || {
            let mut activity = Activity::new(
                holder.database.clone(),
                holder.holder.clone(),
                holder.url.clone(),
            );
            // Prepared when it is opened: a takeover is to cost one round trip.
            activity.prepare()?;
            Ok(Box::new(activity))
        })
    }

    /// Opens the database; makes the tables, and the genesis that `begin` gives, where there are
    /// none. Waits for a database that cannot be reached yet.
    ///
    /// # Errors
    /// [`StoreError`], when it cannot be opened within some seconds.
    pub fn open_at_start(
        &self,
        begin: impl Fn() -> Result<Genesis, String>,
    ) -> Result<PostgresStore, StoreError> {
        let began = Instant::now();
        loop {
            match PostgresStore::open(&self.database, &self.holder, &begin) {
                // The database may be starting with this process. Any other error (a foreign
                // schema, damage) does not pass by waiting.
                Err(StoreError::Server(why)) if began.elapsed() < START_WITHIN => {
                    tracing::warn!("waiting for the database: {why}");
                    // No condition to wait for: a server that is not there reports nothing.
                    std::thread::sleep(OPEN_AGAIN);
                }
                opened => return opened,
            }
        }
    }
}

impl SharedThreads {
    /// Starts to stand by.
    pub fn start(around: Surroundings, holder: &Holder, store: PostgresStore) -> Self {
        let (takeovers, taken) = bounded(1);
        // False until the thread `tenure` has a store: a takeover before that would hold the epoch
        // idle.
        let ready = Arc::new(AtomicBool::new(false));
        let (tenures_stop, activity_stop) = (Shutdown::new(), Shutdown::new());
        let keeper = Keeper {
            calls: Calls::new(holder.open_table()),
            standing: Arc::clone(&around.standing),
            metrics: Arc::clone(&around.metrics),
            url: holder.url.clone(),
            ready: Arc::clone(&ready),
            takeovers,
            watch: Watch::default(),
            lease: None,
            logged: None,
        };
        let tenures = Tenures {
            around,
            holder: holder.clone(),
            store: Some(Box::new(store)),
            ready,
            taken,
        };
        let tenures = Thread::spawn("tenure", {
            let stop = tenures_stop.clone();
            move || tenures.run(&stop)
        });
        let activity = Thread::spawn("activity", {
            let stop = activity_stop.clone();
            move || keeper.run(&stop)
        });
        Self {
            tenures_stop,
            tenures: Some(tenures),
            activity_stop,
            activity: Some(activity),
        }
    }

    /// Begins no further tenure, and leaves the present one as it is.
    pub fn end_tenures(&mut self) {
        self.tenures_stop.trigger();
        self.tenures.take();
    }
}

impl Drop for SharedThreads {
    fn drop(&mut self) {
        self.end_tenures();
        // The lease was renewed until now: the clean stop may have taken longer than it lasts.
        self.activity_stop.trigger();
        self.activity.take();
    }
}

/// The thread `tenure`.
struct Tenures {
    around: Surroundings,
    holder: Holder,
    /// Opened before it is needed, so that a takeover need not connect first.
    store: Option<Box<dyn Store>>,
    ready: Arc<AtomicBool>,
    taken: Receiver<Arc<SharedLease>>,
}

impl Tenures {
    fn run(mut self, stop: &Shutdown) {
        while let Some(lease) = self.wait_for_takeover(stop) {
            match self.begin(&lease) {
                Ok(tenure) => {
                    // From here on callers get answers.
                    self.around.standing.begin(tenure);
                    self.around.metrics.active.set(1);
                    wait_until_over(&lease, stop);
                    if stop.is_triggered() {
                        // Whoever stops the service ends this tenure cleanly.
                        break;
                    }
                    self.around.metrics.active.set(0);
                    // Out of the workers' sight first, then its threads are joined, which may take
                    // a batch's wait.
                    if let Some(tenure) = self.around.standing.end() {
                        tenure.end();
                    }
                }
                Err(why) => lease.end(&format!("the state could not be loaded: {why}")),
            }
        }
        self.ready.store(false, Ordering::Release);
    }

    fn wait_for_takeover(&mut self, stop: &Shutdown) -> Option<Arc<SharedLease>> {
        let mut logged = false;
        while self.store.is_none() {
            let Holder {
                database, holder, ..
            } = &self.holder;
            // At the start there was one. A new one now would begin a second bazaar beside the logs
            // of the first.
            let no_genesis = || Err("the database has lost its genesis".into());
            match PostgresStore::open(database, holder, no_genesis) {
                Ok(store) => self.store = Some(Box::new(store)),
                Err(error) => {
                    if !logged {
                        tracing::warn!(%error, "no takeover before the database can be opened");
                        logged = true;
                    }
                    if stop.wait(OPEN_AGAIN) {
                        return None;
                    }
                }
            }
        }
        // After the store is there: the keeper may take over from this moment.
        self.ready.store(true, Ordering::Release);
        stop.receive(&self.taken)
    }

    /// Loads under the fence of the epoch that was taken, while the keeper renews.
    fn begin(&mut self, lease: &Arc<SharedLease>) -> Result<Arc<Tenure>, StoreError> {
        // The tenure keeps it and drops it with itself; the next one opens another.
        let mut store = self.store.take().expect("opened before the takeover");
        let began = Instant::now();
        let mut tries = 1..=LOADS;
        let snapshot = loop {
            tries.next();
            // For the writer, which does not exist yet: else a long load would end its own lease.
            lease.show_life();
            match store.load(lease.epoch()) {
                Ok(snapshot) => break snapshot,
                Err(StoreError::Server(why)) if !tries.is_empty() => {
                    tracing::warn!("loading again: {why}");
                }
                Err(error) => return Err(error),
            }
        };
        crash::point("catalog-after-load");
        let (orders, term) = (snapshot.position.next(), snapshot.term.term);
        // A connection apart from the keeper's: a move may wait for a lock, and renewals go on
        // meanwhile.
        let moves = Calls::new(self.holder.open_table());
        // No wait for leases: a takeover comes after every session's, which ends with its
        // catalog's.
        let leased = Some((Arc::clone(lease), moves));
        let tenure = Tenure::begin(&self.around, store, snapshot, leased, StartUp::NONE)?;
        tracing::warn!(
            epoch = lease.epoch(),
            orders,
            term,
            took_ms = began.elapsed().as_millis(),
            "active"
        );
        Ok(tenure)
    }
}

fn wait_until_over(lease: &SharedLease, stop: &Shutdown) {
    crossbeam::channel::select! {
        recv(lease.over().channel()) -> _ => {}
        // The stop, too: the tenure is then ended cleanly by the thread that stops the service.
        recv(stop.channel()) -> _ => {}
    }
}

impl ActivityTable for Activity {
    fn look(&mut self) -> Result<Seen, StoreError> {
        let ActivityRow {
            epoch,
            url,
            clean,
            beat,
            ..
        } = Activity::look(self)?;
        Ok(Seen {
            epoch,
            beat,
            clean,
            url: (!url.is_empty()).then_some(url),
        })
    }

    fn renew(&mut self, epoch: Epoch) -> Result<bool, StoreError> {
        done(Activity::renew(self, epoch))
    }

    fn take(&mut self, takeover: &Takeover) -> Result<bool, StoreError> {
        done(match takeover.requires {
            Requires::Beat(beat) => self.take_over(&ActivityRow {
                epoch: takeover.from,
                beat,
                // Whoever holds it.
                holder: String::new(),
                url: String::new(),
                clean: false,
            }),
            Requires::Clean => self.take_over_clean(takeover.from),
            Requires::Own => self.bump(takeover.from),
        })
    }
}

fn done(outcome: Outcome) -> Result<bool, StoreError> {
    match outcome {
        Outcome::Done(_) => Ok(true),
        Outcome::Refused => Ok(false),
        // One error for both: after either the keeper begins its wait anew, and the writer gives up
        // its tenure.
        Outcome::NotSent(why) | Outcome::Unknown(why) => Err(StoreError::Server(why)),
    }
}
