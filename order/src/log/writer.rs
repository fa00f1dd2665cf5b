//! The log writer: the only writer of a replica's file. It takes the queued appends (the leader's
//! own rows, a leader's rows for this follower, pages of a catch-up), appends them in one
//! transaction with one fsync, and then answers all of them, also after a failure.
//!
//! The thread `log-writer` does this work while appends are queued, else the server's worker that
//! read a lone append (see [`common::stage`]). Either holds the stage's lock, so there is one
//! writer at a time.
//!
//! The order of steps that everything relies on: **first durable, then visible, then answered.** A
//! position that leaves before the fsync returned could count as a copy that a crash takes away.

use crate::log::store::{AppendError, LogStore};
use crate::metrics::OrderMetrics;
use crate::replica::{LogUpdate, Replica};
use common::crash;
use common::database::{DbError, aside};
use common::http::{Responder, Response};
use common::queue::{QueueReceiver, Taken};
use common::shutdown::Shutdown;
use common::stage::{Stage, Work};
use common::wire::order::{Genesis, Position, Rows, Term};
use common::wire::replica::LogPosition;
use crossbeam::channel::{Sender, bounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The log writer with its queue.
pub type LogStage = Stage<LogWriter, WriterWork>;

/// A request to the log writer.
#[derive(Debug)]
pub enum WriterWork {
    Append(Arc<Rows>, AppendOrigin),
    /// Write the genesis into an empty file.
    WriteGenesis(Genesis, Sender<Result<(), String>>),
    /// A reader found the file damaged.
    SetAside {
        /// The reader's file. Several readers find the same damage; all reports but the first are
        /// about a file that is gone already.
        generation: u64,
        reason: String,
    },
}

/// The origin of rows, which gets the outcome.
#[derive(Debug)]
pub enum AppendOrigin {
    /// The catalog, while this replica leads that term: [`Replica::log_at`] acknowledges orders.
    Leader(Term),
    /// A leader, over HTTP: this replica follows.
    Follower(Responder),
    /// A thread of this replica, which fetched a page.
    Local(Sender<Result<(), String>>),
}

/// Appends taken at once, at most: each answer waits for the fsync of all of them.
const MAX_WORK: usize = 64;
/// How often the writer tries a file that could not be written.
const RETRY: Duration = Duration::from_millis(200);

/// The log writer's state.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    store: LogStore,
    /// Why the file is to be replaced, while that has not succeeded. Meanwhile `store` is an empty
    /// one in memory, so that nothing more goes into the damaged file.
    to_replace: Option<String>,
    replica: Arc<Replica>,
    metrics: Arc<OrderMetrics>,
}

impl LogWriter {
    /// Opens the file; sets a damaged one aside and begins an empty one.
    ///
    /// # Errors
    /// [`DbError`], when the file is none of ours or cannot be opened.
    pub fn open(
        path: &Path,
        replica: &Arc<Replica>,
        metrics: &Arc<OrderMetrics>,
    ) -> Result<Self, DbError> {
        let store = match LogStore::open(path) {
            Err(error) if error.is_damage() => {
                set_aside(path, &error.to_string(), metrics)?;
                LogStore::open(path)?
            }
            // Another error is no damage (no permission, a full disk, another program's file):
            // moving the file away would help nobody.
            opened => opened?,
        };
        let writer = Self {
            path: path.into(),
            store,
            to_replace: None,
            replica: Arc::clone(replica),
            metrics: Arc::clone(metrics),
        };
        // Before any thread runs and before the service listens, so that nobody sees a state from
        // before the file was read.
        writer.publish(LogUpdate::Read);
        Ok(writer)
    }

    /// Where the log ends; `None` while the file is empty.
    pub fn end(&self) -> Option<Position> {
        self.store.end()
    }

    /// The stage's thread: works until the service stops and the queue is empty. While the file
    /// cannot be written, no leader sends appends, so the thread tries the file by itself.
    pub fn run(
        stage: &LogStage,
        replica: &Replica,
        work: &QueueReceiver<WriterWork>,
        stop: &Shutdown,
    ) {
        loop {
            match work.take_batch_within(MAX_WORK, stop, RETRY) {
                Taken::Batch(batch) => stage.work(batch),
                // Without an item: a worker that comes meanwhile finds the state locked, and queues
                // its append.
                Taken::Nothing if !replica.writable() => stage.state().try_write(),
                Taken::Nothing => {}
                Taken::Ended => return,
            }
        }
    }

    /// Everything but appends.
    fn handle_rare(&mut self, work: WriterWork) {
        match work {
            WriterWork::WriteGenesis(genesis, reply) => {
                let written = self.store.write_genesis(&genesis);
                match &written {
                    Ok(()) => self.publish(LogUpdate::Committed),
                    Err(error) => {
                        tracing::error!("genesis refused: {}", describe(error));
                        // Another bazaar's genesis says nothing about the disk. Only a failed write
                        // takes the replica out of the election.
                        if matches!(error, AppendError::Database(_)) {
                            self.replica.write_failed();
                        }
                    }
                }
                // The thread that asked may have been stopped meanwhile.
                let _ = reply.send(written.map_err(|e| describe(&e)));
            }
            WriterWork::SetAside { generation, reason }
                if generation == self.replica.file_generation() =>
            {
                self.replace_file(&reason)
            }
            // Damage of a file that is gone already. An append never comes here: `work` collects
            // those.
            WriterWork::SetAside { .. } | WriterWork::Append(..) => {}
        }
    }

    fn append(&mut self, appends: Vec<(Arc<Rows>, AppendOrigin)>) {
        if appends.is_empty() {
            return;
        }
        if self.store.end().is_none() {
            // No row fits before the genesis. To a leader a gap is no error: it asks again.
            return appends
                .into_iter()
                .for_each(|(_, reply)| self.refuse(reply, &AppendError::Gap));
        }
        let runs: Vec<&Rows> = appends.iter().map(|(rows, _)| rows.as_ref()).collect();
        self.metrics
            .append_rows
            .observe(runs.iter().map(|rows| rows.orders.len()).sum::<usize>() as f64);
        let (before, timer) = (self.store.end(), self.metrics.append_seconds.start_timer());
        // The replica's lock is not held during the fsync: health, admission and replication go on.
        let appended = self.store.append(&runs);
        timer.observe_duration();
        match appended {
            Ok(results) => {
                if appends
                    .iter()
                    .any(|(_, reply)| matches!(reply, AppendOrigin::Leader(_)))
                {
                    crash::point("leader-after-append");
                }
                // An append of known rows alone writes nothing: it must not end "cannot be
                // written".
                let update = if self.store.end() == before {
                    LogUpdate::Read
                } else {
                    LogUpdate::Committed
                };
                // Before the answers: a leader that gets one may ask this replica for its position
                // at once.
                self.publish(update);
                for ((_, reply), result) in appends.into_iter().zip(results) {
                    match result {
                        // One by one: a run that does not fit concerns its sender alone.
                        Ok(()) => self.confirm(reply),
                        Err(refusal) => self.refuse(reply, &refusal),
                    }
                }
            }
            Err(error) => self.fail(appends, &error),
        }
    }

    /// A transaction failed. Nothing of it counts as appended: rows that reached the disk all the
    /// same are equal to those that will be sent again.
    fn fail(&mut self, appends: Vec<(Arc<Rows>, AppendOrigin)>, error: &DbError) {
        self.metrics.append_failures.inc();
        if error.is_damage() {
            // Damage shows in an append as well, since it reads the row before. The rows of this
            // batch go with the file; they are in the journal, and come again.
            self.replace_file(&error.to_string());
        } else {
            tracing::error!(%error, "the log could not be written");
            self.replica.write_failed();
        }
        // Only the text is needed from here on: each sender is refused with the same reason.
        let refusal = AppendError::Database(DbError::Foreign(error.to_string()));
        appends
            .into_iter()
            .for_each(|(_, reply)| self.refuse(reply, &refusal));
    }

    fn confirm(&self, reply: AppendOrigin) {
        match reply {
            // Nothing to send: `publish` has counted these rows in the pipeline already.
            AppendOrigin::Leader(_) => {}
            AppendOrigin::Follower(responder) => {
                responder.send(Response::json(200, &self.position()))
            }
            // The thread that asked may have been stopped meanwhile.
            AppendOrigin::Local(sender) => drop(sender.send(Ok(()))),
        }
    }

    fn refuse(&self, reply: AppendOrigin, why: &AppendError) {
        let text = describe(why);
        match reply {
            AppendOrigin::Leader(term) => {
                // Its log would have a gap for ever. The next leader fetches these rows from the
                // journal.
                tracing::error!(term, "the leader's own rows were not appended: {text}");
                self.replica
                    .step_down(term, "its own rows were not appended");
            }
            AppendOrigin::Follower(responder) => responder.send(match why {
                // No error in the log: a follower that was away meets a gap at the first new row,
                // and the leader goes on from the position in this answer.
                AppendError::Gap => Response::json(409, &self.position()),
                AppendError::Contradiction(_) => {
                    tracing::error!("rows of the leader refused, nothing overwritten: {text}");
                    Response::error(422, &text)
                }
                AppendError::Database(_) => {
                    Response::error(503, &text).with_header("Retry-After", "1")
                }
            }),
            // As in `confirm`.
            AppendOrigin::Local(sender) => drop(sender.send(Err(text))),
        }
    }

    fn position(&self) -> LogPosition {
        LogPosition {
            replica: self.replica.id,
            cluster: self.store.genesis().map(|genesis| genesis.cluster.clone()),
            position: self.store.end(),
        }
    }

    /// Lets the replica's other threads see where the log ends.
    fn publish(&self, update: LogUpdate) {
        let cluster = self.store.genesis().map(|genesis| genesis.cluster.clone());
        self.replica.log_at(self.store.end(), cluster, update);
    }

    fn try_write(&mut self) {
        if let Some(reason) = self.to_replace.take() {
            self.replace_file(&reason);
        // Not logged when it fails: it is tried five times a second, and the first failure had its
        // line.
        } else if self.store.try_write().is_ok() {
            tracing::info!("the log can be written again");
            self.publish(LogUpdate::Committed);
        }
    }

    /// Sets the file aside and goes on with an empty one, which is filled from the other replicas
    /// and, to lead, from the journal.
    fn replace_file(&mut self, reason: &str) {
        // First this replica stops leading: a reader that opens the new, empty file must not answer
        // "no such order" in a leader's name.
        self.replica.write_failed();
        match self.empty_file(reason) {
            Ok(()) => {
                // In this order: the position may only go back together with the generation.
                self.replica.file_replaced();
                self.publish(LogUpdate::Committed);
            }
            Err(error) => {
                tracing::error!(%error, "the damaged log cannot be replaced now");
                // `store` is the one in memory now. An append finds no genesis in it and is refused
                // as a gap, so that nothing counts as durable that is not.
                self.to_replace = Some(reason.into());
            }
        }
    }

    fn empty_file(&mut self, reason: &str) -> Result<(), DbError> {
        // The connection must be gone before the file is moved: SQLite would go on writing the
        // moved one.
        self.store = LogStore::in_memory()?;
        if self.path.exists() {
            set_aside(&self.path, reason, &self.metrics)?;
        }
        self.store = LogStore::open(&self.path)?;
        Ok(())
    }
}

impl Work<WriterWork> for LogWriter {
    /// Appends next to each other share a transaction. Anything else is done in its place between
    /// them: rows that came after "set the file aside" belong into the new file.
    fn work(&mut self, taken: Vec<WriterWork>) {
        let mut appends = Vec::new();
        for work in taken {
            match work {
                WriterWork::Append(rows, reply) => appends.push((rows, reply)),
                other => {
                    self.append(std::mem::take(&mut appends));
                    self.handle_rare(other);
                }
            }
        }
        self.append(appends);
    }
}

/// Gives a page to the log writer, and waits until it is durable or refused.
///
/// # Errors
/// Why it was not appended, or that the service stops.
pub fn append_and_wait(writer: &LogStage, rows: Rows, stop: &Shutdown) -> Result<(), String> {
    // Room for one, so that the log writer never waits for a thread that was stopped.
    let (sender, receiver) = bounded(1);
    let work = WriterWork::Append(Arc::new(rows), AppendOrigin::Local(sender));
    writer
        .put(work)
        .map_err(|_| String::from("the log writer is busy"))?;
    stop.receive(&receiver)
        .unwrap_or_else(|| Err("the service stops".into()))
}

fn describe(error: &AppendError) -> String {
    match error {
        AppendError::Gap => "there is a gap before these rows".into(),
        AppendError::Contradiction(what) => what.clone(),
        AppendError::Database(error) => error.to_string(),
    }
}

/// Moves a damaged file out of the way, loudly.
fn set_aside(path: &Path, reason: &str, metrics: &OrderMetrics) -> Result<(), DbError> {
    let kept_as = aside::set_aside(path)?;
    metrics.set_aside.inc();
    let (file, kept_as) = (path.display(), kept_as.display());
    tracing::error!(%file, %kept_as, "the log was set aside as damaged: {reason}");
    Ok(())
}
