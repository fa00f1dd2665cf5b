//! The log writer: the one thread that writes a replica's file. It takes what is queued (the
//! leader's own rows, a leader's rows for this follower, pages of a catch-up), appends it in one
//! transaction, and tells everyone.

use crate::log::store::{AppendError, LogStore};
use crate::metrics::OrderMetrics;
use crate::replica::Replica;
use common::crash;
use common::database::{DbError, aside};
use common::http::{Responder, Response};
use common::queue::{QueueReceiver, Taken};
use common::shutdown::Shutdown;
use common::stage::{Stage, Work};
use common::wire::order::{Genesis, Position, Rows, Term};
use common::wire::replica::LogPosition;
use crossbeam::channel::Sender;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The log writer with its queue: its thread works off what is queued, and a server's worker does
/// a lone append itself.
pub type LogStage = Stage<LogWriter, WriterWork>;

/// What the log writer is asked for.
#[derive(Debug)]
pub enum WriterWork {
    /// Append these rows.
    Append(Arc<Rows>, AppendOrigin),
    /// Write the genesis into an empty file.
    WriteGenesis(Genesis, Sender<Result<(), String>>),
    /// The file of this generation was found damaged.
    SetAside {
        /// Which file: a report on one that is gone already is ignored.
        generation: u64,
        /// What was found.
        reason: String,
    },
}

/// Who waits for an append.
#[derive(Debug)]
pub enum AppendOrigin {
    /// This replica, leading that term: it hears through [`Replica::written`].
    Leader(Term),
    /// A leader, over HTTP.
    Follower(Responder),
    /// A thread of this replica.
    Local(Sender<Result<Option<Position>, String>>),
}

/// Appends taken at once, at most.
const MAX_WORK: usize = 64;
/// How often a file that could not be written is tried.
const RETRY: Duration = Duration::from_millis(200);

/// The log writer's state; owned by its thread.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    store: LogStore,
    /// Why the file is to be replaced, when that failed so far; `store` is an empty one in memory
    /// meanwhile.
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
            opened => opened?,
        };
        let writer = Self {
            path: path.into(),
            store,
            to_replace: None,
            replica: Arc::clone(replica),
            metrics: Arc::clone(metrics),
        };
        writer.publish(false);
        Ok(writer)
    }

    /// Where the log ends; `None` while the file is empty.
    #[must_use]
    pub fn end(&self) -> Option<Position> {
        self.store.end()
    }

    /// The stage's thread: works until the service stops. While the file cannot be written, it
    /// tries again now and then.
    pub fn run(
        stage: &LogStage,
        replica: &Replica,
        work: &QueueReceiver<WriterWork>,
        stop: &Shutdown,
    ) {
        loop {
            match work.take_batch_within(MAX_WORK, stop, RETRY) {
                Taken::Batch(batch) => stage.work(batch),
                Taken::Nothing if !replica.writable() => stage.state().try_write(),
                Taken::Nothing => {}
                Taken::Ended => return,
            }
        }
    }

    fn handle_rare(&mut self, work: WriterWork) {
        match work {
            WriterWork::WriteGenesis(genesis, reply) => {
                let found = self.store.write_genesis(&genesis);
                match &found {
                    Ok(()) => self.publish(true),
                    Err(error) => {
                        tracing::error!("genesis refused: {}", describe(error));
                        if matches!(error, AppendError::Database(_)) {
                            self.replica.write_failed();
                        }
                    }
                }
                // Who asked may have been stopped meanwhile.
                let _ = reply.send(found.map_err(|e| describe(&e)));
            }
            WriterWork::SetAside { generation, reason }
                if generation == self.replica.file_generation() =>
            {
                self.replace_file(&reason)
            }
            WriterWork::SetAside { .. } | WriterWork::Append(..) => {}
        }
    }

    fn append(&mut self, appends: Vec<(Arc<Rows>, AppendOrigin)>) {
        if appends.is_empty() {
            return;
        }
        if self.store.end().is_none() {
            return appends
                .into_iter()
                .for_each(|(_, reply)| self.refuse(reply, &AppendError::Gap));
        }
        let runs: Vec<&Rows> = appends.iter().map(|(rows, _)| rows.as_ref()).collect();
        self.metrics
            .append_rows
            .observe(runs.iter().map(|rows| rows.orders.len()).sum::<usize>() as f64);
        let (before, timer) = (self.store.end(), self.metrics.append_seconds.start_timer());
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
                self.publish(self.store.end() != before);
                for ((_, reply), result) in appends.into_iter().zip(results) {
                    match result {
                        Ok(()) => self.confirm(reply),
                        Err(refusal) => self.refuse(reply, &refusal),
                    }
                }
            }
            Err(error) => self.fail(appends, &error),
        }
    }

    /// A transaction failed: nothing of it is in the file, and nobody is told otherwise.
    fn fail(&mut self, appends: Vec<(Arc<Rows>, AppendOrigin)>, error: &DbError) {
        self.metrics.append_failures.inc();
        if error.is_damage() {
            self.replace_file(&error.to_string());
        } else {
            tracing::error!(%error, "the log could not be written");
            self.replica.write_failed();
        }
        let refusal = AppendError::Database(DbError::Foreign(error.to_string()));
        appends
            .into_iter()
            .for_each(|(_, reply)| self.refuse(reply, &refusal));
    }

    fn confirm(&self, reply: AppendOrigin) {
        match reply {
            AppendOrigin::Leader(_) => {}
            AppendOrigin::Follower(responder) => {
                responder.send(Response::json(200, &self.position()))
            }
            // Who asked may have been stopped meanwhile.
            AppendOrigin::Local(sender) => drop(sender.send(Ok(self.store.end()))),
        }
    }

    fn refuse(&self, reply: AppendOrigin, why: &AppendError) {
        let text = describe(why);
        match reply {
            AppendOrigin::Leader(term) => {
                tracing::error!(term, "the leader's own rows were not appended: {text}");
                self.replica
                    .step_down(term, "its own rows were not appended");
            }
            AppendOrigin::Follower(responder) => responder.send(match why {
                AppendError::Gap => Response::json(409, &self.position()),
                AppendError::Contradiction(_) => {
                    tracing::error!("rows of the leader refused, nothing overwritten: {text}");
                    Response::error(422, &text)
                }
                AppendError::Database(_) => {
                    Response::error(503, &text).with_header("Retry-After", "1")
                }
            }),
            // As above.
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

    /// Tells where the log ends; `committed`: a write has just succeeded.
    fn publish(&self, committed: bool) {
        let cluster = self.store.genesis().map(|genesis| genesis.cluster.clone());
        self.replica.written(self.store.end(), cluster, committed);
    }

    fn try_write(&mut self) {
        if let Some(reason) = self.to_replace.take() {
            self.replace_file(&reason);
        } else if self.store.try_write().is_ok() {
            tracing::info!("the log can be written again");
            self.publish(true);
        }
    }

    /// Sets the file aside and goes on with an empty one, which is filled from the other replicas
    /// and, to lead, from the journal.
    fn replace_file(&mut self, reason: &str) {
        // First it stops leading: a reader that opens the new, empty file must not say "no such
        // order" in a leader's name.
        self.replica.write_failed();
        match self.empty_file(reason) {
            Ok(()) => {
                self.replica.file_replaced();
                self.publish(true);
            }
            Err(error) => {
                tracing::error!(%error, "the damaged log cannot be replaced now");
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
    tracing::error!(file = %path.display(), kept_as = %kept_as.display(), "the log was set aside as damaged: {reason}");
    Ok(())
}
