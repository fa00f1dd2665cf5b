//! Reads a whole catalog file and judges it: each row must fit the chain, each trade must have been
//! possible, and the stocks must be what the trades leave of the genesis. For files that are not
//! in use: a draft before it takes its name, a backup.

use crate::check::Replay;
use crate::store::sqlite::read_snapshot;
use common::chain::genesis_hash;
use common::database::{DbError, genesis, orders};
use common::wire::order::{Genesis, Position, Term};
use rusqlite::{Connection, OptionalExtension};

/// The content of a good file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The genesis.
    pub genesis: Genesis,
    /// Where the journal ends.
    pub position: Position,
    /// The newest granted term.
    pub term: Term,
}

/// Reads the whole file, and judges it.
///
/// # Errors
/// [`DbError::Damaged`] with what is wrong.
pub fn audit(connection: &Connection) -> Result<Audit, DbError> {
    let genesis = genesis::read(connection)?
        .ok_or_else(|| DbError::Damaged("the file has no genesis".into()))?;
    let seed = genesis_hash(&genesis);
    let lost: Option<String> = connection
        .query_row("SELECT reason FROM history_lost", [], |row| row.get(0))
        .optional()?;
    // A file whose history counts as lost must not be carried on as a good one.
    if let Some(reason) = lost {
        return Err(DbError::Damaged(reason));
    }
    let mut replay = Replay::new(&genesis);
    let hash = orders::scan(connection, seed, 0, usize::MAX >> 1, |order, _| {
        replay.trade(&order)
    })?;
    let snapshot = read_snapshot(connection, seed)?;
    if hash != snapshot.position.hash {
        return Err(DbError::Damaged(
            "the journal goes on behind its last row".into(),
        ));
    }
    match replay.finish(&snapshot) {
        Some(wrong) => Err(DbError::Damaged(wrong)),
        None => Ok(Audit {
            genesis,
            position: snapshot.position,
            term: snapshot.term.term,
        }),
    }
}
