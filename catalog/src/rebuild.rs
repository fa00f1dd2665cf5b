//! `catalog rebuild`: makes the catalog's file anew from a complete order log, after the file was
//! lost or cut.
//!
//! The log has every trade and the genesis, so that journal, stocks and numbers come back exactly.
//! Two things are in no log:
//!
//! - **Recorded refusals.** A key that was refused may trade when it is used again.
//! - **The term.** See [`set_fresh_term`].

use crate::audit::{Audit, audit};
use crate::market::{Decision, decide};
use crate::store::postgres::PostgresUrl;
use crate::store::postgres::transfer::import;
use crate::store::sqlite::{create_tables, set_fresh_term, write_genesis};
use common::chain::genesis_hash;
use common::database::draft::{Draft, finish_install};
use common::database::look::{look_at, scratch};
use common::database::{CATALOG_FILE, DbError, ORDER_LOG, genesis, header, open_reader, orders};
use common::wire::order::{Genesis, Order, Position, Term};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// The result of a rebuild.
#[derive(Debug)]
pub struct Rebuilt {
    /// Where the journal ends.
    pub position: Position,
    /// A term above every one that a replica has seen.
    pub term: Term,
    /// Under which name the file that was there is kept.
    pub kept_as: Option<String>,
}

/// Makes `database` from the order log `from`. A file that is there is kept under another name.
/// Whenever this dies, and whatever fails, the next start finds the old file or the new one: see
/// [`common::database::draft`].
///
/// # Errors
/// When the log is damaged or empty, a file is in use, or cannot be written; the message names it.
pub fn rebuild(from: &Path, database: &Path) -> Result<Rebuilt, Box<dyn Error>> {
    // Held until the end: a running catalog makes the rebuild fail here, before anything is
    // touched.
    let _lock = header::lock(database, CATALOG_FILE)?;
    let scratch = scratch()?;
    let named = |e: DbError| format!("{}: {e}", from.display());
    let log = look_at(from, ORDER_LOG, scratch.path())?;
    let genesis = genesis::read(&log).map_err(named)?;
    let genesis =
        genesis.ok_or_else(|| format!("{} is empty: it has no genesis", from.display()))?;
    // An earlier rebuild may have died on its last steps.
    finish_install(database)?;
    let mut draft = Draft::begin(database, CATALOG_FILE, &create_tables())?;
    let (position, term) = fill(draft.connection(), &log, &genesis)?;
    let wanted = Audit {
        genesis,
        position,
        term,
    };
    let ready = draft.complete(|written| match audit(written)? {
        found if found == wanted => Ok(()),
        found => Err(DbError::Damaged(format!(
            "wrote {wanted:?}, and read {found:?}"
        ))),
    })?;
    Ok(Rebuilt {
        position,
        term,
        kept_as: ready.install()?.map(|path| path.display().to_string()),
    })
}

/// The same on a server: a file is made first, and copied in one transaction. The tables that are
/// there are kept in a schema of another name.
///
/// # Errors
/// As [`rebuild`]; also while a catalog is active on the database.
pub fn rebuild_on_server(from: &Path, url: &PostgresUrl) -> Result<Rebuilt, Box<dyn Error>> {
    let scratch = scratch()?;
    let file = scratch.path().join("catalog.db");
    // The same code as for a file, so that both kinds are checked alike; the copy is one
    // transaction.
    let rebuilt = rebuild(from, &file)?;
    let (_, kept_as) = import(&open_reader(&file)?, url, true)?;
    Ok(Rebuilt { kept_as, ..rebuilt })
}

/// Copies the journal, and trades it again from the genesis.
fn fill(
    connection: &mut Connection,
    log: &Connection,
    genesis: &Genesis,
) -> Result<(Position, Term), Box<dyn Error>> {
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
        // Traded again, not merely copied: a log whose chain fits may still hold a trade that the
        // stock did not allow, and then its quantities cannot be trusted.
        let result = trade(&mut left, number, &order).and_then(|()| {
            orders::insert(&transaction, number, &order, hash).map_err(|e| e.to_string())
        });
        // The first error: the scan cannot be stopped from here, and later ones follow from it.
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
    let term = set_fresh_term(&transaction)?;
    transaction.commit()?;
    let position = Position {
        last: number.checked_sub(1),
        hash,
    };
    Ok((position, term))
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
