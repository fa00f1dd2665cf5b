//! `catalog rebuild`: makes the catalog's file anew from a complete order log, after the file was
//! lost or cut.
//!
//! The log has every trade and the genesis, so that journal, stocks and numbers come back exactly.
//! Two things are in no log:
//!
//! - **Recorded refusals.** A key that was refused may trade when it is used again.
//! - **The term.** It must be above every term that any replica has seen, which no file tells. The
//!   milliseconds since 1970 are: terms rise by one for each change of leader, with at least 200 ms
//!   between two, from 0 or from an earlier rebuild's milliseconds.

use crate::market::{Decision, decide};
use crate::store::{open_tables, write_genesis};
use common::chain::genesis_hash;
use common::database::look::Look;
use common::database::{DbError, ORDER_LOG, genesis, orders, set_aside, with_suffix};
use common::filelock::FileLock;
use common::wire::order::{Genesis, Order, Position, Term};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What was made.
#[derive(Debug)]
pub struct Rebuilt {
    /// Where the journal ends.
    pub position: Position,
    /// The term.
    pub term: Term,
    /// Under which name the file that was there is kept.
    pub kept_as: Option<PathBuf>,
}

/// Makes `database` from the order log `from`. A file that is there is set aside. A crash in
/// between leaves that file, or none, never half of one.
///
/// # Errors
/// When the log is damaged or empty, a file is in use, or cannot be written; the message names it.
pub fn rebuild(from: &Path, database: &Path) -> Result<Rebuilt, Box<dyn Error>> {
    let _lock = FileLock::take(database)?;
    let look = Look::at(from, ORDER_LOG)?;
    let genesis =
        genesis::read(&look.connection).map_err(|e| format!("{}: {e}", from.display()))?;
    let genesis =
        genesis.ok_or_else(|| format!("{} is empty: it has no genesis", from.display()))?;
    let draft = with_suffix(database, ".rebuilding");
    for suffix in ["", "-wal", "-shm"] {
        // What an earlier attempt left; most often nothing is there.
        let _ = fs::remove_file(with_suffix(&draft, suffix));
    }
    let term = u64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_millis(),
    )?;
    let mut connection = open_tables(&draft)?;
    let position = fill(&mut connection, &look.connection, &genesis, term)?;
    // Closing the last connection moves everything from the -wal into the file.
    connection.close().map_err(|(_, e)| DbError::from(e))?;
    let kept_as = database
        .exists()
        .then(|| set_aside(database, "replaced"))
        .transpose()?;
    fs::rename(&draft, database)?;
    let folder = database
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(Rebuilt {
        position,
        term,
        kept_as,
    })
}

/// Copies the journal, and trades it again from the genesis.
fn fill(
    connection: &mut Connection,
    log: &Connection,
    genesis: &Genesis,
    term: Term,
) -> Result<Position, Box<dyn Error>> {
    let seed = genesis_hash(genesis);
    let transaction = connection.transaction()?;
    write_genesis(&transaction, genesis)?;
    let mut left: BTreeMap<&str, u64> = genesis
        .stocks
        .iter()
        .map(|s| (s.name.as_str(), s.quantity))
        .collect();
    let (mut number, mut failed) = (0, None);
    let hash = orders::scan(log, seed, 0, usize::MAX >> 1, |order, hash| {
        let result = trade(&mut left, number, &order).and_then(|()| {
            orders::insert(&transaction, number, &order, hash).map_err(|e| e.to_string())
        });
        failed = failed.take().or(result.err());
        number += 1;
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    for (name, quantity) in left {
        transaction.execute(
            "UPDATE stocks SET quantity = ?2 WHERE name = ?1",
            (name, quantity),
        )?;
    }
    transaction.execute("UPDATE leadership SET term = ?1, owner = NULL", [term])?;
    transaction.commit()?;
    Ok(Position {
        last: number.checked_sub(1),
        hash,
    })
}

fn trade(left: &mut BTreeMap<&str, u64>, number: u64, order: &Order) -> Result<(), String> {
    let stock = left.get_mut(order.name.as_str());
    let stock = stock.ok_or_else(|| {
        format!(
            "order {number} trades {}, which the genesis does not have",
            order.name
        )
    })?;
    match decide(*stock, order.side, order.quantity) {
        Decision::Trade { left } => {
            *stock = left;
            Ok(())
        }
        Decision::InsufficientQuantity => Err(format!(
            "order {number} cannot have traded: {stock} of {} were left",
            order.name
        )),
    }
}
