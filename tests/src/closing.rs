//! These hold at the end of every system test, whatever was killed, paused or restarted in it:
//!
//! 1. no service ended unasked, and every replica, brought back, has the whole
//!    journal;
//! 2. every acknowledged order is there, with equal content, through the API and in the file;
//! 3. numbers are dense, and no key traded twice;
//! 4. quantity = initial − bought + sold for every stock, at the catalog and recomputed from the
//!    log;
//! 5. a stopped service ends with exit code 0;
//! 6. the three logs are equal and their hash chains hold (`order verify`);
//! 7. no log line speaks of a panic.

use crate::harness::Bazaar;
use crate::recorder::Recorded;
use crate::tool;
use client::api::Api;
use cluster::service::Service;
use common::wire::order::{Genesis, OrderKey, Side};
use common::wire::public::NewOrder;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A row of `order dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpRow {
    /// The order's number.
    pub number: u64,
    /// Its key, in hexadecimal.
    pub key: String,
    /// The order.
    pub order: NewOrder,
}

/// Makes every check. Brings back what does not run, resumes what was paused, and stops all.
///
/// # Panics
/// When one fails.
pub fn check(bazaar: &mut Bazaar) {
    bring_back(bazaar);
    bazaar.wait_level();
    let recorded = bazaar.recorder.orders();
    for index in 0..bazaar.cluster.spec().addresses.frontends.len() {
        readable(&Api::new(&bazaar.cluster.url(index)), &recorded);
    }
    let genesis: Genesis = bazaar
        .cluster
        .internal(bazaar.active_catalog())
        .internal("/genesis")
        .expect("the catalog has a genesis");
    let stocks = bazaar.api().stocks().expect("the stocks");
    let now: BTreeMap<String, u64> = stocks
        .into_iter()
        .map(|stock| (stock.name, stock.quantity))
        .collect();
    stop(bazaar);

    let files: Vec<PathBuf> = bazaar
        .replicas()
        .filter_map(|id| bazaar.cluster.spec().database(Service::Order(id)))
        .collect();
    let files: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    agree(&files, &recorded, &genesis, &now);
    no_panic(bazaar);
}

/// The replicas' files are equal, hold every recorded order, and lead from the genesis to the
/// quantities that the catalog showed last. Returns their rows.
///
/// # Panics
/// When they do not.
pub fn agree(
    files: &[&Path],
    recorded: &[Recorded],
    genesis: &Genesis,
    quantities: &BTreeMap<String, u64>,
) -> Vec<DumpRow> {
    let verified = tool::order("verify", files);
    assert!(!verified.is_empty(), "'order verify' says nothing");
    let rows = parse_dump(&tool::order("dump", &files[..1]));
    dense_and_unique(&rows);
    contained(recorded, &rows);
    assert_eq!(
        recompute(genesis, &rows),
        *quantities,
        "quantities at the catalog differ from what the log says"
    );
    rows
}

fn bring_back(bazaar: &mut Bazaar) {
    let died = bazaar.cluster.died();
    assert!(died.is_empty(), "services ended unasked: {died:?}");
    for service in bazaar.cluster.services() {
        if bazaar.cluster.pid(service).is_some() {
            bazaar.cluster.resume(service).expect("it runs");
        } else {
            bazaar
                .cluster
                .restart(service)
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
    for index in 0..bazaar.cluster.spec().addresses.frontends.len() {
        bazaar
            .cluster
            .wait_ready(index)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Every acknowledged order is read with equal content.
///
/// # Panics
/// When one is not.
pub fn readable(api: &Api, recorded: &[Recorded]) {
    for order in recorded {
        let found = api
            .order_by_number(order.number)
            .unwrap_or_else(|error| panic!("{order:?}: {error}"));
        let content = NewOrder {
            name: found.name,
            quantity: found.quantity,
            side: found.side,
        };
        assert_eq!(
            (found.number, &content),
            (order.number, &order.order),
            "an order changed"
        );
    }
}

fn stop(bazaar: &mut Bazaar) {
    for service in bazaar.cluster.services().into_iter().rev() {
        let status = bazaar
            .cluster
            .stop(service)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            status.success(),
            "{service}, after SIGTERM, ended with {status}; see {}",
            bazaar.cluster.log_path(service).display()
        );
    }
}

/// Reads what `order dump` prints. Columns are found by their names.
///
/// # Panics
/// When it is not the CSV that is documented.
pub fn parse_dump(text: &str) -> Vec<DumpRow> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a dump has a header").clone();
    let at = |name: &str| {
        header
            .iter()
            .position(|column| column == name)
            .unwrap_or_else(|| panic!("no {name} in {header:?}"))
    };
    let (number, key, name, side, quantity) = (
        at("number"),
        at("key"),
        at("name"),
        at("type"),
        at("quantity"),
    );
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.expect("a dump is CSV");
        let side = match &record[side] {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            other => panic!("'{other}' is no side: {record:?}"),
        };
        let quantity = record[quantity].parse().expect("a quantity is a number");
        DumpRow {
            number: record[number].parse().expect("a number is a number"),
            key: record[key].to_owned(),
            order: NewOrder {
                name: record[name].to_owned(),
                quantity,
                side,
            },
        }
    };
    reader.records().map(row).collect()
}

/// Numbers are 0, 1, 2, …, and no key traded twice.
///
/// # Panics
/// When they are not.
pub fn dense_and_unique(rows: &[DumpRow]) {
    let mut keys = HashSet::new();
    for (row, number) in rows.iter().zip(0..) {
        assert_eq!(row.number, number, "numbers are dense");
        assert!(keys.insert(&row.key), "one key traded twice: {row:?}");
    }
}

/// Every acknowledged order is in the log, under its number and key.
///
/// # Panics
/// When one is not.
pub fn contained(recorded: &[Recorded], rows: &[DumpRow]) {
    for order in recorded {
        let at = usize::try_from(order.number).expect("a small number");
        let row = rows
            .get(at)
            .unwrap_or_else(|| panic!("an acknowledged order is not in the log: {order:?}"));
        assert_eq!(
            row.order, order.order,
            "an acknowledged order is another one in the log"
        );
        if let Some(key) = &order.key {
            assert_eq!(
                row.key,
                OrderKey::from_client(key).to_string(),
                "an order has another key in the log"
            );
        }
    }
}

/// The quantity left of each stock, by the log.
///
/// # Panics
/// When a row buys more than was left, or what does not exist.
pub fn recompute(genesis: &Genesis, rows: &[DumpRow]) -> BTreeMap<String, u64> {
    let mut left: BTreeMap<String, u64> = genesis
        .stocks
        .iter()
        .map(|stock| (stock.name.clone(), stock.quantity))
        .collect();
    for row in rows {
        let stock = left
            .get_mut(&row.order.name)
            .unwrap_or_else(|| panic!("no such stock: {row:?}"));
        *stock = match row.order.side {
            Side::Buy => stock
                .checked_sub(row.order.quantity)
                .unwrap_or_else(|| panic!("below 0: {row:?}")),
            Side::Sell => *stock + row.order.quantity,
        };
    }
    left
}

fn no_panic(bazaar: &Bazaar) {
    for service in bazaar.cluster.services() {
        let log = fs::read(bazaar.cluster.log_path(service)).expect("a service has a log");
        let log = String::from_utf8_lossy(&log).to_lowercase();
        let line = log.lines().find(|line| line.contains("panic"));
        assert_eq!(line, None, "{service} panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::money::Price;
    use common::wire::order::{ClusterId, InitialStock};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const DUMP: &str =
        "number,key,name,type,quantity,hash\n0,aa,FishCo,buy,60,x\n1,bb,FishCo,sell,5,y\n";

    fn passes(check: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(check)).is_ok()
    }

    fn genesis(quantity: u64) -> Genesis {
        let price = Price::from_cents(100).expect("a price");
        Genesis {
            cluster: ClusterId("c".into()),
            stocks: vec![InitialStock {
                name: "FishCo".into(),
                price,
                quantity,
            }],
        }
    }

    /// The checks pass a right log and notice gaps, keys used twice, missing and changed orders,
    /// and negative quantities.
    #[test]
    fn notice_broken_logs() {
        let rows = || parse_dump(DUMP);
        let recorded = |number, quantity| {
            let order = NewOrder {
                name: "FishCo".into(),
                quantity,
                side: Side::Sell,
            };
            [Recorded {
                number,
                order,
                key: None,
            }]
        };
        assert!(passes(|| dense_and_unique(&rows())));
        assert!(!passes(|| dense_and_unique(&rows()[1..])));
        let twice = parse_dump(&DUMP.replace("bb", "aa"));
        assert!(!passes(|| dense_and_unique(&twice)));
        assert!(passes(|| contained(&recorded(1, 5), &rows())));
        assert!(!passes(|| contained(&recorded(1, 6), &rows())), "changed");
        assert!(!passes(|| contained(&recorded(2, 5), &rows())), "missing");
        assert_eq!(recompute(&genesis(100), &rows())["FishCo"], 45);
        assert!(
            !passes(|| drop(recompute(&genesis(59), &rows()))),
            "below 0"
        );
    }
}
