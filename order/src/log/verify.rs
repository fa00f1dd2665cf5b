//! `order verify` and `order dump`: look at order logs without changing them, whether their
//! replicas run or not.
//!
//! Logs are compared by number of orders and last hash: the chain makes that hash a digest of the
//! genesis and of every row, and each row is checked against it. So `VACUUM` or `ANALYZE` of one
//! file changes nothing. A line of its own says whether the files are the same, too: their
//! canonical copies are compared byte for byte.

use common::chain::{Hash, genesis_hash};
use common::database::look::{look_at, no_room, scratch};
use common::database::{DbError, ORDER_LOG, genesis, open_reader, orders};
use rusqlite::{Connection, ErrorCode};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::{error, fs};

/// The result of `order verify` for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Orders in it.
    pub orders: u64,
    /// Hash of the last one, or of the genesis; `None` for a file without genesis. Equal for equal
    /// logs only.
    pub last_hash: Option<Hash>,
    /// SHA-256 of the canonical copy: the file that `VACUUM INTO` makes of the same rows, whatever
    /// batches they came in.
    pub sha256: Hash,
}

impl Summary {
    fn is_same_log(&self, other: &Self) -> bool {
        (self.orders, self.last_hash) == (other.orders, other.last_hash)
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// All files hold the same log, or there is one file.
    Equal,
    /// Each is a prefix of the longest: copies that are behind, as in a bazaar that trades.
    Prefixes,
    /// They contradict each other, or one cannot be read.
    Different,
}

/// Why nothing can be compared.
#[derive(Debug)]
pub enum VerifyError {
    /// Standard output cannot be written.
    Output(io::Error),
    /// There is no place for copies. No file is to blame.
    Scratch(DbError),
}

type AnyError = Box<dyn error::Error>;

/// A file that was read, and stays open for comparisons.
struct Log<'a> {
    file: &'a Path,
    summary: Summary,
    connection: Connection,
}

/// Checks every row of a file and sums it up.
///
/// # Errors
/// When it cannot be read, is no order log, or a row does not fit the chain.
pub fn summarise(file: &Path) -> Result<Summary, AnyError> {
    let scratch = scratch()?;
    Ok(read(file, scratch.path())??.summary)
}

/// The outer error is of the scratch folder, the inner one of the file.
fn read<'a>(file: &'a Path, scratch: &Path) -> Result<Result<Log<'a>, DbError>, DbError> {
    let connection = match look_at(file, ORDER_LOG, scratch) {
        Err(error @ DbError::Scratch(_)) => return Err(error),
        Err(error) => return Ok(Err(error)),
        Ok(connection) => connection,
    };
    // First the copy, then everything from it: a running replica appends meanwhile.
    let canonical = scratch.join("canonical.db");
    if let Err(error) = connection.execute("VACUUM INTO ?", [canonical.to_string_lossy()]) {
        // These errors are the scratch folder's. All others come from reading the file.
        return match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Err(no_room(file, scratch, &error))
            }
            _ => Ok(Err(error.into())),
        };
    }
    let summary = sum_up(&canonical);
    // The copy has the size of the log: with several files the scratch folder would else need room
    // for all of them at once.
    let _ = fs::remove_file(&canonical);
    Ok(summary.map(|summary| Log {
        file,
        summary,
        connection,
    }))
}

fn sum_up(canonical: &Path) -> Result<Summary, DbError> {
    let copy = open_reader(canonical)?;
    let (mut count, mut last_hash) = (0, None);
    if let Some(genesis) = genesis::read(&copy)? {
        let seed = genesis_hash(&genesis);
        // Half of the largest: the limit becomes a signed number in SQLite.
        last_hash = Some(orders::scan(&copy, seed, 0, usize::MAX >> 1, |_, _| {
            count += 1
        })?);
    }
    let sha256 = sha256(canonical).map_err(|e| DbError::File(e.to_string()))?;
    Ok(Summary {
        orders: count,
        last_hash,
        sha256,
    })
}

/// SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(file: &Path) -> io::Result<Hash> {
    let mut reader = io::BufReader::with_capacity(64 * 1024, fs::File::open(file)?);
    let mut hasher = Sha256::new();
    loop {
        // In pieces: a log may be larger than the memory.
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(Hash(hasher.finalize().into()));
        }
        hasher.update(piece);
        let read = piece.len();
        reader.consume(read);
    }
}

/// Prints a line per file, and the result of the comparison.
///
/// # Errors
/// [`VerifyError`]
pub fn verify(files: &[PathBuf], out: &mut dyn Write) -> Result<Comparison, VerifyError> {
    let mut logs = Vec::new();
    // One folder per file, kept: a log stays open until all are compared.
    let mut folders = Vec::new();
    for file in files {
        let folder = scratch().map_err(VerifyError::Scratch)?;
        match read(file, folder.path()).map_err(VerifyError::Scratch)? {
            Ok(log) => {
                let last = log.summary.last_hash;
                let last = last.map_or("none".into(), |hash| hash.to_string());
                let Summary { orders, sha256, .. } = &log.summary;
                let file = file.display();
                writeln!(
                    out,
                    "{file}: orders {orders} last_hash {last} sha256 {sha256}"
                )
                .map_err(VerifyError::Output)?;
                logs.push(log);
            }
            Err(error) => writeln!(out, "{}: NOT READABLE: {error}", file.display())
                .map_err(VerifyError::Output)?,
        }
        folders.push(folder);
    }
    let (comparison, text) = if logs.len() == files.len() {
        compare(&logs)
    } else {
        // A file that cannot be read may hold anything.
        (Comparison::Different, "NOT EQUAL".into())
    };
    if files.len() > 1 || comparison != Comparison::Equal {
        writeln!(out, "{text}").map_err(VerifyError::Output)?;
    }
    Ok(comparison)
}

/// Compares logs that could be read. Returns the result, and the text that explains it.
fn compare(logs: &[Log<'_>]) -> (Comparison, String) {
    let Some(longest) = logs.iter().max_by_key(|log| log.summary.orders) else {
        return (Comparison::Equal, String::new());
    };
    let behind: Vec<&Log<'_>> = logs
        .iter()
        .filter(|log| !log.summary.is_same_log(&longest.summary))
        .collect();
    if behind.is_empty() {
        let same = |log: &Log<'_>| log.summary.sha256 == longest.summary.sha256;
        let files = if logs.iter().all(same) {
            "canonical copies: equal byte for byte"
        } else {
            "canonical copies: they differ in what is no order, as after VACUUM or ANALYZE"
        };
        return (Comparison::Equal, format!("{files}\nequal"));
    }
    let mut text = String::new();
    for log in behind {
        let (file, orders) = (log.file.display(), log.summary.orders);
        if !is_prefix(log, longest) {
            return (Comparison::Different, "NOT EQUAL".into());
        }
        text += &format!(
            "PREFIX: {file} has the first {orders} of the {} orders of {}, and no other\n",
            longest.summary.orders,
            longest.file.display()
        );
    }
    text += "no file contradicts another: those with fewer orders are behind";
    (Comparison::Prefixes, text)
}

/// Whether the longer log has the shorter one's last hash at its place. Rows never change, so it
/// does not matter that a running replica has appended since.
fn is_prefix(short: &Log<'_>, long: &Log<'_>) -> bool {
    let Some(hash) = short.summary.last_hash else {
        // Without a genesis nothing has been written to it yet.
        return true;
    };
    let seed = match genesis::read(&long.connection) {
        Ok(Some(genesis)) => genesis_hash(&genesis),
        _ => return false,
    };
    orders::hash_before(&long.connection, seed, short.summary.orders)
        .is_ok_and(|there| there == Some(hash))
}

/// Prints a log as CSV: `number,key,name,type,quantity,hash`.
///
/// # Errors
/// When it cannot be read or a row does not fit the chain; the rows before it have been printed.
pub fn dump(file: &Path, out: &mut dyn Write) -> Result<(), AnyError> {
    let scratch = scratch()?;
    let log = look_at(file, ORDER_LOG, scratch.path())?;
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["number", "key", "name", "type", "quantity", "hash"])?;
    let Some(genesis) = genesis::read(&log)? else {
        return Ok(csv.flush()?);
    };
    let (mut number, mut written) = (0_u64, Ok(()));
    let scanned = orders::scan(
        &log,
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
            // The scan goes on after a failed write, as its callback cannot stop it. The first
            // error is kept.
            if written.is_ok() {
                written = csv.write_record(row);
            }
        },
    );
    // The output's error comes first: a reader that went away is no fault of the file.
    written?;
    csv.flush()?;
    scanned?;
    Ok(())
}
