//! The background check: after a start, the rows that the start did not check are read once, so
//! that old damage is found before a client needs the row.

use crate::log::reader::LogReader;
use common::database::orders;
use common::shutdown::Shutdown;
use common::timing::{CHECK_PAUSE, PAGE_ROWS, TAIL_CHECK_ROWS};
use std::time::{Duration, Instant};

/// Pause after a read that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Reads all rows below the newest [`TAIL_CHECK_ROWS`] of a log of `rows` rows. Damage is reported
/// by the reader.
pub fn check_old_rows(reader: &mut LogReader, rows: u64, stop: &Shutdown) {
    let end = rows.saturating_sub(TAIL_CHECK_ROWS);
    let mut next = 0;
    // No client waits for the check, and all replicas of a machine may start together: at full
    // speed their checks of five million rows took the processors for seconds, and orders waited
    // 300 ms.
    let mut took = Duration::ZERO;
    while next < end && !stop.wait(CHECK_PAUSE * took) {
        let begun = Instant::now();
        let read = reader
            .read(|connection, seed| orders::scan(connection, seed, next, PAGE_ROWS, |_, _| ()));
        took = begun.elapsed();
        match read {
            Ok(_) => next += PAGE_ROWS as u64,
            // The reader has reported it: the file is set aside, and what comes instead is checked
            // as it is appended.
            Err(error) if error.is_damage() => {
                tracing::error!(first = next, %error, "the check of old rows found damage");
                return;
            }
            Err(error) => {
                tracing::warn!(first = next, %error, "old rows could not be read: trying again");
                let _stopped = stop.wait(RETRY);
            }
        }
    }
    if end > 0 && next >= end {
        tracing::info!(rows = end, "old rows are checked");
    }
}
