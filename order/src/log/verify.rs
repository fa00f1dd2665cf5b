//! `order verify` and `order dump`: look at order logs without changing them, whether their
//! replicas run or not.

use common::chain::{Hash, genesis_hash};
use common::database::look::Look;
use common::database::{DbError, ORDER_LOG, genesis, open_reader, orders};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::{error, fs};

/// What `order verify` says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Orders in it.
    pub orders: u64,
    /// Hash of the last one, or of the genesis; `None` for a file without genesis.
    pub last_hash: Option<Hash>,
    /// SHA-256 of the canonical copy: the file that `VACUUM INTO` makes of the same rows, whatever
    /// batches they came in.
    pub sha256: Hash,
}

type AnyError = Box<dyn error::Error>;

/// Checks every row of a file and sums it up.
///
/// # Errors
/// When it cannot be read, is no order log, or a row does not fit the chain.
pub fn summarise(file: &Path) -> Result<Summary, AnyError> {
    let look = Look::at(file, ORDER_LOG)?;
    // First the copy, then everything from it: a running replica appends meanwhile.
    let canonical = look.scratch.path().join("canonical.db");
    look.connection
        .execute("VACUUM INTO ?", [canonical.to_string_lossy()])
        .map_err(DbError::from)?;
    let copy = open_reader(&canonical)?;
    let (mut count, mut last_hash) = (0, None);
    if let Some(genesis) = genesis::read(&copy)? {
        let seed = genesis_hash(&genesis);
        last_hash = Some(orders::scan(&copy, seed, 0, usize::MAX >> 1, |_, _| {
            count += 1
        })?);
    }
    Ok(Summary {
        orders: count,
        last_hash,
        sha256: sha256(&canonical)?,
    })
}

fn sha256(file: &Path) -> io::Result<Hash> {
    let mut reader = io::BufReader::with_capacity(64 * 1024, fs::File::open(file)?);
    let mut hasher = Sha256::new();
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(Hash(hasher.finalize().into()));
        }
        hasher.update(piece);
        let read = piece.len();
        reader.consume(read);
    }
}

/// Prints a line per file. True when all could be read and are equal.
///
/// # Errors
/// When `out` cannot be written.
pub fn verify(files: &[PathBuf], out: &mut dyn Write) -> io::Result<bool> {
    let mut summaries = Vec::new();
    for file in files {
        match summarise(file) {
            Ok(summary) => {
                let last = summary
                    .last_hash
                    .map_or("none".into(), |hash| hash.to_string());
                writeln!(
                    out,
                    "{}: orders {} last_hash {last} sha256 {}",
                    file.display(),
                    summary.orders,
                    summary.sha256
                )?;
                summaries.push(summary);
            }
            Err(error) => writeln!(out, "{}: NOT READABLE: {error}", file.display())?,
        }
    }
    let all_read = summaries.len() == files.len();
    let equal = all_read && summaries.windows(2).all(|pair| pair[0] == pair[1]);
    if files.len() > 1 || !equal {
        writeln!(out, "{}", if equal { "equal" } else { "NOT EQUAL" })?;
    }
    Ok(equal)
}

/// Prints a log as CSV: `number,key,name,type,quantity,hash`.
///
/// # Errors
/// When it cannot be read or a row does not fit the chain; the rows before it have been printed.
pub fn dump(file: &Path, out: &mut dyn Write) -> Result<(), AnyError> {
    let look = Look::at(file, ORDER_LOG)?;
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["number", "key", "name", "type", "quantity", "hash"])?;
    let Some(genesis) = genesis::read(&look.connection)? else {
        return Ok(csv.flush()?);
    };
    let (mut number, mut written) = (0_u64, Ok(()));
    let scanned = orders::scan(
        &look.connection,
        genesis_hash(&genesis),
        0,
        usize::MAX >> 1,
        |order, hash| {
            let row = [
                number.to_string(),
                order.key.to_string(),
                order.name,
                order.side.to_string(),
                order.quantity.to_string(),
                hash.to_string(),
            ];
            number += 1;
            if written.is_ok() {
                written = csv.write_record(row);
            }
        },
    );
    written?;
    csv.flush()?;
    scanned?;
    Ok(())
}
