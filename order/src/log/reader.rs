//! A read-only connection to the log, for one thread. It notices when the file was set aside, and
//! reports damage that it finds.

use crate::log::writer::{LogStage, WriterWork};
use crate::replica::Replica;
use common::chain::{Hash, genesis_hash};
use common::database::{DbError, genesis, open_reader};
use common::wire::order::Genesis;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the log; owned by one thread.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    replica: Arc<Replica>,
    writer: Arc<LogStage>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    generation: u64,
    connection: Connection,
    genesis: Genesis,
    seed: Hash,
}

impl LogReader {
    /// A reader that opens the file at its first use.
    pub fn new(path: &Path, replica: Arc<Replica>, writer: Arc<LogStage>) -> Self {
        Self {
            path: path.into(),
            replica,
            writer,
            open: None,
        }
    }

    /// Reads with the connection and the genesis hash. `None` while the file has no genesis. Damage
    /// is reported to the log writer, which sets the file aside.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn read<T>(
        &mut self,
        read: impl FnOnce(&Connection, Hash) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        // Before the read: a file that is set aside meanwhile must not be blamed on the new one.
        let generation = self.replica.file_generation();
        let result = self
            .opened(generation)
            .and_then(|open| open.map(|o| read(&o.connection, o.seed)).transpose());
        self.report(generation, result)
    }

    /// The genesis; `None` while the file has none.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn genesis(&mut self) -> Result<Option<Genesis>, DbError> {
        let generation = self.replica.file_generation();
        let result = self
            .opened(generation)
            .map(|open| open.map(|o| o.genesis.clone()));
        self.report(generation, result)
    }

    fn report<T>(&mut self, generation: u64, result: Result<T, DbError>) -> Result<T, DbError> {
        if let Err(DbError::Damaged(reason)) = &result {
            self.open = None;
            let report = WriterWork::SetAside {
                generation,
                reason: reason.clone(),
            };
            // The report must not block a read. It is not lost for good: the damage is still there,
            // and the next read of that row reports it.
            if self.writer.put(report).is_err() {
                tracing::warn!(
                    reason,
                    "damage found; the log writer is busy and gets the report at the next read"
                );
            }
        }
        result
    }

    fn opened(&mut self, generation: u64) -> Result<Option<&Open>, DbError> {
        if self
            .open
            .as_ref()
            .is_none_or(|open| open.generation != generation)
        {
            self.open = None;
            let connection = open_reader(&self.path)?;
            // An empty file is not kept open. The genesis may come at any moment, and no generation
            // changes then, so the next read has to look again.
            if let Some(genesis) = genesis::read(&connection)? {
                let seed = genesis_hash(&genesis);
                self.open = Some(Open {
                    generation,
                    connection,
                    genesis,
                    seed,
                });
            }
        }
        Ok(self.open.as_ref())
    }
}
