//! More and more clients.

use super::words::ms;
use crate::tables::{LoadRow, Measured};
use client::stats::Kind;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Throughput and latency.
pub fn section(measured: &Measured, folder: &str) -> String {
    if measured.load.is_empty() {
        return "## More clients\n\nNot measured.\n".into();
    }
    let mut text = format!(
        "## More clients\n\n\
         p = {} %, {} s each, once, in rising sequence. Requests a second and, in brackets, median and p99 in ms; lookups and orders while all trade, queries while all read back.\n\n\
         | cache | clients | lookups | orders | order queries |\n|---|---|---|---|---|\n",
        measured.fact("usual_p"),
        measured.fact("load_trade_s")
    );
    let settings: BTreeSet<_> = measured
        .load
        .iter()
        .map(|row| (row.cache, row.clients))
        .collect();
    for (cache, clients) in &settings {
        let cells = Kind::ALL.map(|kind| {
            of(measured, *cache, *clients, kind).map_or("–".into(), |row| {
                // So few that they were never all at it.
                let rate = if row.per_second > 0.0 {
                    format!("{:.0}", row.per_second)
                } else {
                    "–".into()
                };
                format!("{rate} ({}, {})", ms(row.p50_ms), ms(row.p99_ms))
            })
        });
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {cache} | {clients} | {} |", cells.join(" | "));
    }
    let orders = measured
        .load
        .iter()
        .filter(|row| row.request == Kind::Order);
    let most = orders.max_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let words = most.map_or(String::new(), |most| {
        let one = of(measured, most.cache, 1, Kind::Order);
        let growth = one
            .filter(|one| one.per_second > 0.0 && most.clients > 1)
            .map_or(String::new(), |one| {
                format!(
                    ", {:.1} times as many as one client makes, at {:.1} times its median latency",
                    most.per_second / one.per_second,
                    most.p50_ms / one.p50_ms
                )
            });
        let why = match one {
            Some(one) if most.per_second > 1.2 * one.per_second => {
                " Orders that arrive together share their fsyncs and calls."
            }
            _ => "",
        };
        format!(
            "\nMost orders a second: {:.0}, with {} clients and the cache {}{growth}.{why}\n",
            most.per_second, most.clients, most.cache
        )
    });
    let _ = writeln!(
        text,
        "{words}\n![throughput and latency by number of clients]({folder}/load.svg)"
    );
    text
}

fn of(
    measured: &Measured,
    cache: crate::tables::Cache,
    clients: usize,
    kind: Kind,
) -> Option<&LoadRow> {
    measured
        .load
        .iter()
        .find(|row| (row.cache, row.clients, row.request) == (cache, clients, kind))
}
