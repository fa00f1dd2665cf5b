//! All that subscribers see. Each change is encoded once, as an event for those who watch. The
//! snapshot for new subscribers is encoded once per change, when the first of them comes.

use super::load::Sample;
use super::timeline::Entry;
use common::wire::public::{Status, StockInfo};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Stocks that subscribers see: the first by name. A table of thousands would cost every subscriber
/// seconds, and nobody reads it.
pub const STOCKS: usize = 500;
/// Entries of the timeline that are kept.
const ENTRIES: usize = 50;
/// Samples of the load that are kept: two minutes.
const SAMPLES: usize = 120;

#[derive(Debug, Default)]
pub struct Board {
    status: Option<Status>,
    /// By name; `None` while nobody reads them, so that no subscriber gets old ones.
    stocks: Option<BTreeMap<String, StockInfo>>,
    timeline: VecDeque<Entry>,
    load: VecDeque<Sample>,
    /// Encoded when the first viewer asks after a change.
    snapshot: Option<Arc<[u8]>>,
}

/// Data of the event `stocks`.
#[derive(Serialize)]
struct Stocks<'a> {
    /// Whether these are all, or those that changed.
    all: bool,
    stocks: Vec<&'a StockInfo>,
}

impl Board {
    /// Events for the whole board.
    pub fn snapshot(&mut self) -> Arc<[u8]> {
        // Encoded under the board's lock, which the caller holds: viewers that come together share
        // the bytes.
        let snapshot = self.snapshot.take().unwrap_or_else(|| self.encode());
        Arc::clone(self.snapshot.insert(snapshot))
    }

    fn encode(&self) -> Arc<[u8]> {
        let mut events = Vec::new();
        if let Some(status) = &self.status {
            event(&mut events, "status", status);
        }
        // Left out while nobody reads the table: a viewer that comes now gets it with the next
        // read, at most half a second later.
        if let Some(stocks) = &self.stocks {
            event(
                &mut events,
                "stocks",
                &Stocks {
                    all: true,
                    stocks: stocks.values().collect(),
                },
            );
        }
        event(&mut events, "timeline", &self.timeline);
        event(&mut events, "load", &self.load);
        events.into()
    }

    /// Puts the status up; writes its event, if it is new.
    pub fn set_status(&mut self, status: Status, events: &mut Vec<u8>) {
        // The status is made anew each tenth of a second, mostly with the same content: equal ones
        // send nothing.
        if self.status.as_ref() != Some(&status) {
            event(events, "status", &status);
            self.status = Some(status);
            self.snapshot = None;
        }
    }

    /// Puts the table up; writes what changed.
    pub fn set_stocks(&mut self, table: Vec<StockInfo>, events: &mut Vec<u8>) {
        let table: BTreeMap<String, StockInfo> = table
            // In the catalog's order, which is by name: so the first by name stay.
            .into_iter()
            .take(STOCKS)
            .map(|stock| (stock.name.clone(), stock))
            .collect();
        let before = self.stocks.take();
        // An event names stocks that changed. Only the whole table shows that one is gone.
        let all = before
            .as_ref()
            // A first table is whole as well: there is nothing to compare with.
            .is_none_or(|before| before.keys().any(|name| !table.contains_key(name)));
        let changed = |stock: &&StockInfo| {
            all || before.as_ref().and_then(|b| b.get(&stock.name)) != Some(stock)
        };
        let stocks: Vec<&StockInfo> = table.values().filter(changed).collect();
        // Also an empty table, if it is the first or the last stock went: viewers must see that.
        if !stocks.is_empty() || all {
            event(events, "stocks", &Stocks { all, stocks });
            self.snapshot = None;
        }
        self.stocks = Some(table);
    }

    /// Takes the table down: nobody reads it any more.
    pub fn forget_stocks(&mut self) {
        // Dropped rather than kept: a viewer that came later would get quantities of long ago as if
        // they were new.
        if self.stocks.take().is_some() {
            self.snapshot = None;
        }
    }

    /// Adds entries to the timeline; writes them.
    pub fn add_entries(&mut self, entries: Vec<Entry>, events: &mut Vec<u8>) {
        if !entries.is_empty() {
            // Only the new entries travel; those who watch have the others.
            event(events, "timeline", &entries);
            self.timeline.extend(entries);
            // Bounded, since every viewer that comes gets all of them.
            let over = self.timeline.len().saturating_sub(ENTRIES);
            self.timeline.drain(..over);
            self.snapshot = None;
        }
    }

    /// Adds a sample of the load; writes it.
    pub fn add_sample(&mut self, sample: Sample, events: &mut Vec<u8>) {
        event(events, "load", &[&sample]);
        if self.load.len() == SAMPLES {
            self.load.pop_front();
        }
        self.load.push_back(sample);
        self.snapshot = None;
    }
}

/// Writes one event. JSON has no line ends in it, so that one line holds it.
fn event<T: Serialize>(out: &mut Vec<u8>, name: &str, data: &T) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    // `serde_json` writes no line ends, and the format of events ends a field with one.
    out.extend_from_slice(b"\ndata: ");
    serde_json::to_writer(&mut *out, data).expect("what subscribers see is JSON");
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stock(name: &str, quantity: u64) -> StockInfo {
        let price = common::wire::money::Price::from_cents(599).expect("a price");
        StockInfo {
            name: name.into(),
            price,
            quantity,
        }
    }

    /// Names and data of events.
    fn read(bytes: &[u8]) -> Vec<(String, Value)> {
        let text = std::str::from_utf8(bytes).expect("text");
        let events = text.split_terminator("\n\n").map(|event| {
            let (name, data) = event.split_once('\n').expect("two lines");
            let data =
                serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
            (
                name.strip_prefix("event: ").expect("a name").to_owned(),
                data,
            )
        });
        events.collect()
    }

    fn set(board: &mut Board, table: &[(&str, u64)]) -> Vec<(String, Value)> {
        let mut events = Vec::new();
        board.set_stocks(
            table
                .iter()
                .map(|(name, quantity)| stock(name, *quantity))
                .collect(),
            &mut events,
        );
        read(&events)
    }

    /// The first table is sent whole, later ones by their changes; one without a stock that was
    /// there, whole again; the same, not at all.
    #[test]
    fn tables() {
        let mut board = Board::default();
        let row = |name: &str, quantity: u64| -> Value {
            json!({ "name": name, "price": 5.99, "quantity": quantity })
        };
        let event = |all: bool, rows: Value| {
            vec![("stocks".to_owned(), json!({ "all": all, "stocks": rows }))]
        };
        assert_eq!(
            set(&mut board, &[("A", 1), ("B", 2)]),
            event(true, json!([row("A", 1), row("B", 2)]))
        );
        assert_eq!(set(&mut board, &[("A", 1), ("B", 2)]), []);
        assert_eq!(
            set(&mut board, &[("A", 1), ("B", 3), ("C", 4)]),
            event(false, json!([row("B", 3), row("C", 4)]))
        );
        assert_eq!(
            set(&mut board, &[("A", 1), ("C", 4)]),
            event(true, json!([row("A", 1), row("C", 4)]))
        );
        board.forget_stocks();
        assert!(
            read(&board.snapshot())
                .iter()
                .all(|(name, _)| name != "stocks"),
            "old ones are not shown"
        );
        assert_eq!(
            set(&mut board, &[("A", 1)]),
            event(true, json!([row("A", 1)]))
        );
    }

    /// The snapshot holds everything as it stands, and is encoded once per change: subscribers
    /// share its bytes.
    #[test]
    fn snapshots_are_shared() {
        let mut board = Board::default();
        set(&mut board, &[("A", 1)]);
        board.add_sample(Sample::default(), &mut Vec::new());
        let first = board.snapshot();
        assert!(Arc::ptr_eq(&first, &board.snapshot()));
        let names: Vec<String> = read(&first).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["stocks", "timeline", "load"]);
        set(&mut board, &[("A", 2)]);
        assert!(!Arc::ptr_eq(&first, &board.snapshot()));
    }

    /// The board is bounded.
    #[test]
    fn bounds() {
        let mut board = Board::default();
        let entry = |id| Entry {
            id,
            at_ms: 0,
            kind: super::super::timeline::Kind::Up,
            text: String::new(),
        };
        let mut events = Vec::new();
        for id in 0..200 {
            board.add_sample(
                Sample {
                    at_ms: id,
                    ..Sample::default()
                },
                &mut events,
            );
            board.add_entries(vec![entry(id)], &mut events);
        }
        let table: Vec<StockInfo> = (0..600).map(|n| stock(&format!("{n:03}"), 1)).collect();
        board.set_stocks(table, &mut events);
        for (name, data) in read(&board.snapshot()) {
            match name.as_str() {
                "stocks" => assert_eq!(data["stocks"].as_array().map(Vec::len), Some(STOCKS)),
                "timeline" => assert_eq!(
                    (data[0]["id"].as_u64(), data[49]["id"].as_u64()),
                    (Some(150), Some(199))
                ),
                _ => assert_eq!(
                    (data[0]["at_ms"].as_u64(), data[119]["at_ms"].as_u64()),
                    (Some(80), Some(199))
                ),
            }
        }
    }
}
