//! A replica's file: genesis and chained rows, nothing else, so that equal logs give equal files.
//! One connection writes, the log writer's.

use common::chain::{Hash, genesis_hash, row_hashes};
use common::crash;
use common::database::{DbError, ORDER_LOG, genesis, open_in_memory, open_writer, orders};
use common::timing::TAIL_CHECK_ROWS;
use common::wire::order::{Genesis, Position, Rows};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

/// Empty but for a moment, when the file is tried; every log has it, so that equal logs stay equal.
const CREATE_SCRATCH: &str = "CREATE TABLE scratch (filler BLOB NOT NULL) STRICT;";
/// The bytes of a try.
const TRIED_BYTES: u32 = 256 * 1_024;

/// The statements that make the tables.
pub fn create_tables() -> String {
    format!("{}{}{CREATE_SCRATCH}", genesis::CREATE, orders::CREATE)
}

/// The open file. Its genesis and its end are in memory, so that an append reads neither.
#[derive(Debug)]
pub struct LogStore {
    connection: Connection,
    genesis: Option<Genesis>,
    seed: Option<Hash>,
    end: Option<Position>,
}

/// The reason why rows were not appended.
#[derive(Debug)]
pub enum AppendError {
    /// Rows between the log's end and the first one are missing.
    Gap,
    /// A row differs from what this log has under its number, or the rows do not have the hash they
    /// claim: a bug or a damaged file.
    Contradiction(String),
    /// SQLite failed. Nothing of the transaction counts as appended.
    Database(DbError),
}

impl From<DbError> for AppendError {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl LogStore {
    /// Opens the file, or makes an empty one, and checks its end; older rows are checked by
    /// `order::log::check`.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn open(path: &Path) -> Result<Self, DbError> {
        Self::check(open_writer(path, ORDER_LOG, &create_tables(), |_| Ok(()))?)
    }

    /// An empty one of no file, for the time in which a file is being replaced.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn in_memory() -> Result<Self, DbError> {
        Self::check(open_in_memory(&create_tables())?)
    }

    fn check(connection: Connection) -> Result<Self, DbError> {
        let genesis = genesis::read(&connection)?;
        let seed = genesis.as_ref().map(genesis_hash);
        let end = seed
            .map(|seed| orders::position(&connection, seed))
            .transpose()?;
        if let (Some(seed), Some(end)) = (seed, end) {
            let first = end.next().saturating_sub(TAIL_CHECK_ROWS);
            // The tail only: a start has to take a moment, also with millions of orders. The thread
            // `check` reads the rest.
            orders::scan(&connection, seed, first, usize::MAX >> 1, |_, _| ())?;
        }
        Ok(Self {
            connection,
            genesis,
            seed,
            end,
        })
    }

    /// The genesis; `None` while the file is empty.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// Where the log ends; `None` while the file is empty.
    #[must_use]
    pub fn end(&self) -> Option<Position> {
        self.end
    }

    /// Writes the genesis into an empty file. One that is there already must be the same.
    ///
    /// # Errors
    /// [`AppendError::Contradiction`] for another bazaar's genesis.
    pub fn write_genesis(&mut self, made: &Genesis) -> Result<(), AppendError> {
        if let Some(own) = &self.genesis {
            // Two threads may have fetched it, or the same one again after a lost answer.
            if own == made {
                return Ok(());
            }
            let (own, other) = (&own.cluster, &made.cluster);
            return Err(AppendError::Contradiction(format!(
                "this log is of bazaar {own}, the other one of {other}"
            )));
        }
        let transaction = self.connection.transaction().map_err(DbError::from)?;
        genesis::write(&transaction, made)?;
        transaction.commit().map_err(DbError::from)?;
        let seed = genesis_hash(made);
        self.genesis = Some(made.clone());
        self.seed = Some(seed);
        self.end = Some(Position {
            last: None,
            hash: seed,
        });
        Ok(())
    }

    /// Appends the new rows of several runs in one transaction with one fsync. Returns an outcome
    /// per run: one that does not fit leaves the others alone.
    ///
    /// # Errors
    /// [`DbError`] of the transaction: nothing was appended.
    ///
    /// # Panics
    /// While the file is empty.
    pub fn append(&mut self, runs: &[&Rows]) -> Result<Vec<Result<(), AppendError>>, DbError> {
        let (seed, mut end) = (
            self.seed.expect("has a genesis"),
            self.end.expect("has a genesis"),
        );
        let transaction = self
            .connection
            // The write lock first. A deferred transaction takes it at its first insert, after it
            // has read, and fails there if another program wrote in between.
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(runs.len());
        for rows in runs {
            match append_run(&transaction, seed, end, rows) {
                Ok(after) => {
                    end = after;
                    results.push(Ok(()));
                }
                // Leaving drops the transaction, which rolls back what the runs before this one
                // inserted.
                Err(AppendError::Database(error)) => return Err(error),
                // Such a run has inserted nothing: `append_run` compares all of it before its first
                // insert.
                Err(refusal) => results.push(Err(refusal)),
            }
        }
        // Nothing new, so no commit and no fsync. Repeats are normal: an answer was lost, or a peer
        // and the leader send the same rows.
        if self.end == Some(end) {
            return Ok(results);
        }
        transaction.commit()?;
        // Only now: after a failed commit the end must be the one that the file has.
        assert!(
            self.end.is_some_and(|before| end.next() > before.next()),
            "a commit makes the log longer: {:?} after {:?}",
            end.last,
            self.end
        );
        self.end = Some(end);
        Ok(results)
    }

    /// Writes without changing the log, to see whether the file can be written again.
    ///
    /// # Errors
    /// [`DbError`]
    pub fn try_write(&mut self) -> Result<(), DbError> {
        // More than a page: on a full disk a small write still finds room in the -wal.
        self.connection.execute(
            "INSERT INTO scratch (filler) VALUES (zeroblob(?))",
            [TRIED_BYTES],
        )?;
        // In a second commit: the bytes are on the disk by now. Inside one transaction SQLite need
        // not write pages that are freed again.
        self.connection.execute("DELETE FROM scratch", [])?;
        Ok(())
    }
}

/// Appends one run after `end` and returns the new end. Rows that are there already are compared
/// through the chain: it is computed over the whole run from the row before it, so one different
/// row makes a different hash at the end of what both have.
fn append_run(
    connection: &Connection,
    seed: Hash,
    end: Position,
    rows: &Rows,
) -> Result<Position, AppendError> {
    if rows.first > end.next() {
        return Err(AppendError::Gap);
    }
    // The common case costs no read.
    let before = if rows.first == end.next() {
        Some(end.hash)
    } else {
        orders::hash_before(connection, seed, rows.first)?
    };
    // A row below the end that is not there: the file has a hole.
    let before = before
        .ok_or_else(|| DbError::Damaged(format!("the row before {} is missing", rows.first)))?;
    let hashes: Vec<Hash> = row_hashes(before, rows.first, &rows.orders).collect();
    // Compared before anything is inserted. The hash travels once for a whole run, so that a
    // damaged run is refused as a whole.
    if hashes.last().copied().unwrap_or(before) != rows.hash {
        return Err(AppendError::Contradiction(format!(
            "rows {} to {} do not have the hash that they claim",
            rows.first,
            rows.end()
        )));
    }
    // Rows that are here already are skipped, and nothing is overwritten, even if they are equal: a
    // row that was acknowledged is never written again.
    let known = usize::try_from(end.next() - rows.first)
        .unwrap_or(usize::MAX)
        .min(rows.orders.len());
    if let Some(&overlap) = known.checked_sub(1).and_then(|i| hashes.get(i)) {
        let last_known = rows.first + known as u64;
        let own = if last_known == end.next() {
            Some(end.hash)
        } else {
            orders::hash_before(connection, seed, last_known)?
        };
        // Equal at the last common row means equal in all rows before it: the chain is over all of
        // them.
        if own != Some(overlap) {
            return Err(AppendError::Contradiction(format!(
                "this log differs at or before order {}",
                last_known - 1
            )));
        }
    }
    let mut end = end;
    for ((order, hash), number) in rows
        .orders
        .iter()
        .zip(&hashes)
        .zip(rows.first..)
        .skip(known)
    {
        assert_eq!(
            number,
            end.next(),
            "rows are appended without a gap: the log ends at {:?}",
            end.last
        );
        orders::insert(connection, number, order, *hash)?;
        crash::point("replica-in-append");
        end = Position {
            last: Some(number),
            hash: *hash,
        };
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::order::{ClusterId, Order, OrderKey, Side};

    fn order(n: u64) -> Order {
        Order {
            key: OrderKey::from_time(n, 0),
            name: "FishCo".into(),
            side: Side::Sell,
            quantity: n + 1,
        }
    }

    fn genesis() -> Genesis {
        Genesis {
            cluster: ClusterId("ab".repeat(16)),
            stocks: vec![],
        }
    }

    /// Rows `from..to` of the one true journal.
    fn run(from: u64, to: u64) -> Rows {
        let orders: Vec<Order> = (0..to).map(order).collect();
        let seed = genesis_hash(&genesis());
        let hash = row_hashes(seed, 0, &orders).last().unwrap_or(seed);
        Rows {
            first: from,
            orders: orders[usize::try_from(from).expect("small")..].to_vec(),
            hash,
        }
    }

    fn store() -> (tempfile::TempDir, LogStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = LogStore::open(&folder.path().join("order.db")).expect("opens");
        store.write_genesis(&genesis()).expect("founds");
        (folder, store)
    }

    fn one(store: &mut LogStore, rows: &Rows) -> Result<(), AppendError> {
        store.append(&[rows]).expect("the file works").remove(0)
    }

    /// Rows are appended once, however often and however cut they come; a gap is refused.
    #[test]
    fn appends_what_is_new() {
        let (folder, mut store) = store();
        for (from, to, last) in [
            (0, 3, 2),
            (0, 3, 2),
            (1, 5, 4),
            (2, 4, 4),
            (5, 5, 4),
            (5, 6, 5),
        ] {
            one(&mut store, &run(from, to)).expect("fits");
            assert_eq!(
                store.end().expect("has an end").last,
                Some(last),
                "{from}..{to}"
            );
        }
        assert!(matches!(one(&mut store, &run(7, 8)), Err(AppendError::Gap)));
        drop(store);
        let store = LogStore::open(&folder.path().join("order.db")).expect("opens again");
        assert_eq!(
            store.end().expect("has an end"),
            Position {
                last: Some(5),
                hash: run(0, 6).hash
            }
        );
    }

    /// Rows that contradict the log or themselves change nothing, and do not disturb other runs of
    /// the same transaction.
    #[test]
    fn contradictions_change_nothing() {
        let (_folder, mut store) = store();
        one(&mut store, &run(0, 4)).expect("fits");
        let mut other = run(2, 6);
        other.orders[0].quantity += 1;
        let before = run(0, 2).hash;
        other.hash = row_hashes(before, 2, &other.orders).last().expect("rows");
        let mut lying = run(4, 6);
        lying.hash = before;
        let results = store
            .append(&[&other, &lying, &run(4, 5)])
            .expect("the file works");
        assert!(
            matches!(results[0], Err(AppendError::Contradiction(_))),
            "{results:?}"
        );
        assert!(
            matches!(results[1], Err(AppendError::Contradiction(_))),
            "{results:?}"
        );
        assert!(results[2].is_ok());
        assert_eq!(store.end().expect("has an end").last, Some(4));
        let foreign = Genesis {
            cluster: ClusterId("cd".repeat(16)),
            stocks: vec![],
        };
        assert!(matches!(
            store.write_genesis(&foreign),
            Err(AppendError::Contradiction(_))
        ));
    }
}
