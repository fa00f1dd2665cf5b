//! `bazaar backup` and `bazaar restore`: one consistent, verified set of files, made while the
//! bazaar trades.
//!
//! A set is `catalog.db`, `order.db` and `manifest.json`. The catalog's file is a snapshot, read in
//! one transaction. The log is made from its journal, so that both end with the same order. The
//! backup compares each replica's log with it, and writes the manifest last: a folder without a
//! manifest is no backup.
//!
//! A copy by `cp` of a running bazaar is no backup. The newest rows are in the `-wal` files, and
//! `cp` reads the files at different moments.

mod manifest;
mod restore;
mod take;

pub use manifest::Manifest;
pub use restore::restore;
pub use take::take;

use common::chain::genesis_hash;
use common::database::{DbError, genesis, orders};
use common::wire::order::{Genesis, Position};
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};

/// The catalog's file, in a bazaar's folder and in a backup.
const CATALOG: &str = "catalog.db";
/// The log in a backup: the same for every replica.
const LOG: &str = "order.db";

/// The replicas' files in a bazaar's folder.
fn logs_in(folder: &Path) -> Vec<PathBuf> {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.strip_prefix("order")?.strip_suffix(".db"));
        id.is_some_and(|id| id.parse::<u8>().is_ok())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut logs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_log).collect();
    logs.sort();
    logs
}

/// Reads a whole log, and checks each row against the chain.
fn read_log(log: &Connection) -> Result<(Genesis, Position), DbError> {
    let genesis =
        genesis::read(log)?.ok_or_else(|| DbError::Damaged("the log has no genesis".into()))?;
    let mut next = 0_u64;
    let hash = orders::scan(log, genesis_hash(&genesis), 0, usize::MAX >> 1, |_, _| {
        next += 1;
    })?;
    let position = Position {
        last: next.checked_sub(1),
        hash,
    };
    Ok((genesis, position))
}
