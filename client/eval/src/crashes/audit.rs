//! Lost and doubled orders: compares the clients' acknowledged orders with the log of a replica.

use crate::worker::WorkerReport;
use common::wire::order::{OrderKey, Side};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Acknowledged orders that are missing in the log, differ there, or read back differently.
    pub lost: usize,
    /// Numbers that two orders share, and keys that traded twice.
    pub doubled: usize,
}

/// A row of `order dump`, without its hash.
#[derive(Debug, Deserialize)]
struct DumpRow {
    number: u64,
    key: String,
    name: String,
    #[serde(rename = "type")]
    side: Side,
    quantity: u64,
}

/// Compares the reports with a dump. Without a dump it uses only the clients' final check, which
/// does not show a key that traded twice.
pub fn audit(seen: &[WorkerReport], dump: Option<&str>) -> Result<Found, String> {
    let mut numbers = HashSet::new();
    let acknowledged: Vec<_> = seen.iter().flat_map(|seen| &seen.acknowledged).collect();
    let given_twice = acknowledged
        .iter()
        .filter(|order| !numbers.insert(order.number))
        .count();
    let read_back_wrongly = seen.iter().map(|seen| seen.mismatches.len()).sum();
    let Some(dump) = dump else {
        return Ok(Found {
            lost: read_back_wrongly,
            doubled: given_twice,
        });
    };
    let rows: Result<Vec<DumpRow>, _> = csv::Reader::from_reader(dump.as_bytes())
        .deserialize()
        .collect();
    let rows = rows.map_err(|e| format!("the output of 'order dump' is not understood: {e}"))?;
    let mut keys = HashSet::new();
    let traded_twice = rows
        .iter()
        .filter(|row| !keys.insert(row.key.as_str()))
        .count();
    let log: HashMap<u64, &DumpRow> = rows.iter().map(|row| (row.number, row)).collect();
    let is_there = |order: &client::workload::Acknowledged| {
        log.get(&order.number).is_some_and(|row| {
            row.key == OrderKey::from_client(&order.key).to_string()
                && (&row.name, row.side, row.quantity)
                    == (&order.order.name, order.order.side, order.order.quantity)
        })
    };
    let missing = acknowledged.iter().filter(|order| !is_there(order)).count();
    Ok(Found {
        lost: missing.max(read_back_wrongly),
        doubled: given_twice + traded_twice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::workload::Acknowledged;
    use common::wire::public::NewOrder;

    fn seen(numbers: &[u64]) -> WorkerReport {
        let order = NewOrder {
            name: "FishCo".into(),
            quantity: 2,
            side: Side::Sell,
        };
        let one = |number: &u64| Acknowledged {
            number: *number,
            order: order.clone(),
            key: format!("k{number}"),
        };
        WorkerReport {
            acknowledged: numbers.iter().map(one).collect(),
            ..WorkerReport::default()
        }
    }

    fn dump(rows: &[(u64, &str, u64)]) -> String {
        let line = |(number, key, quantity): &(u64, &str, u64)| {
            format!(
                "{number},{},FishCo,sell,{quantity},x\n",
                OrderKey::from_client(key)
            )
        };
        format!(
            "number,key,name,type,quantity,hash\n{}",
            rows.iter().map(line).collect::<String>()
        )
    }

    /// The audit finds missing and changed orders, shared numbers and keys that traded twice; a
    /// right log passes.
    #[test]
    fn finds_what_is_wrong() {
        let clients = [seen(&[0, 2]), seen(&[1])];
        let right = dump(&[(0, "k0", 2), (1, "k1", 2), (2, "k2", 2), (3, "other", 9)]);
        let of = |clients: &[WorkerReport], dump: &str| {
            audit(clients, Some(dump)).map(|found| (found.lost, found.doubled))
        };
        assert_eq!(of(&clients, &right), Ok((0, 0)));
        assert_eq!(
            of(&clients, &dump(&[(0, "k0", 2), (1, "k1", 3)])),
            Ok((2, 0)),
            "one changed, one missing"
        );
        assert_eq!(
            of(
                &clients,
                &dump(&[(0, "k0", 2), (1, "k1", 2), (2, "k2", 2), (3, "k2", 2)])
            ),
            Ok((0, 1))
        );
        assert_eq!(of(&[seen(&[0]), seen(&[0])], &right), Ok((0, 1)));
        assert!(of(&clients, "number\nx\n").is_err());
        let mut unsure = seen(&[0]);
        unsure.mismatches.push("gone".into());
        assert_eq!(
            audit(&[unsure], None),
            Ok(Found {
                lost: 1,
                doubled: 0
            })
        );
        let mut unsure = seen(&[0]);
        unsure.mismatches.push("another".into());
        assert_eq!(
            of(&[unsure], &right),
            Ok((1, 0)),
            "the log is right, the answer was not"
        );
    }
}
