//! Histories of public calls, and what makes one right.
//!
//! Every call of a run is an [`Event`]: when it began and ended on one monotonic clock, what was
//! asked and what came. A history is right when every stock behaves as a single one would that is
//! used by one caller at a time (linearizability). Two checkers judge that:
//!
//! - [`check`] knows the order log, so that the sequence of the trades is given. It is exact, and
//!   quick enough for long runs.
//! - [`search`] knows only what the clients saw, and tries every sequence (Wing and Gong, 1993). It
//!   is for short histories.
//!
//! [`load`] has the clients that make histories.

pub mod check;
pub mod load;
pub mod search;

use common::wire::public::NewOrder;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Instant;

/// A client's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// An order, with its `Idempotency-Key` if it had one. Repeats under one key are one call.
    Order {
        /// The key.
        key: Option<String>,
        /// The order.
        order: NewOrder,
    },
    /// One stock's quantity.
    Read {
        /// Name of the stock.
        name: String,
    },
    /// An order by its number.
    Query {
        /// The number.
        number: u64,
    },
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The order traded under this number.
    Number(u64),
    /// The order was refused: fewer were left.
    Refused,
    /// The stock's quantity.
    Quantity(u64),
    /// The queried order.
    Found(NewOrder),
    /// There is no order of that number.
    Missing,
    /// An order whose every try was answered with "nothing happened".
    Nothing,
    /// No answer, or one that leaves open what happened.
    Unknown,
}

/// A call with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which client made it.
    pub client: u32,
    /// Microseconds from the start of the recording to just before the call.
    pub start_us: u64,
    /// Microseconds from the start of the recording to just after the answer.
    pub end_us: u64,
    /// How often it was sent.
    pub tries: u32,
    /// The request.
    pub call: Call,
    /// The outcome.
    pub answer: Answer,
}

/// Collects events, from any thread.
#[derive(Debug)]
pub struct History {
    began: Instant,
    events: Mutex<Vec<Event>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            events: Mutex::default(),
        }
    }
}

impl History {
    /// Microseconds since the start of the recording. The clock is monotonic.
    ///
    /// # Panics
    /// After half a million years.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("a recording is short")
    }

    /// Adds an event.
    pub fn note(&self, event: Event) {
        self.events.lock().push(event);
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }
}

/// Writes events, one JSON object a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// When the file cannot be read, or a line is no event.
pub fn read(path: &Path) -> io::Result<Vec<Event>> {
    BufReader::new(File::open(path)?)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}
