//! The experiment with more and more clients.

use super::words::ms;
use crate::tables::{LoadRow, Measured};
use client::stats::Kind;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub fn section(measured: &Measured, folder: &str) -> String {
    if measured.load.is_empty() {
        return "## More clients\n\nNot measured.\n".into();
    }
    let mut text = format!(
        "## More clients\n\n\
         Each number of clients ran once for {1} s with p = {0} %, in rising sequence. The table \
         holds requests a second and, in brackets, median and p99 in ms: lookups and orders while \
         all clients trade, queries while all read back.\n\n\
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
                // With few requests, the clients never all traded at one time.
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
                    ". That is {:.1} times the rate of one client, at {:.1} times its median \
                     latency",
                    most.per_second / one.per_second,
                    most.p50_ms / one.p50_ms
                )
            });
        let why = match one {
            Some(one) if most.per_second > 1.2 * one.per_second => {
                " Orders that arrive together share their fsyncs and their calls."
            }
            _ => "",
        };
        format!(
            "\nThe highest rate is {:.0} orders a second, with {} clients and the cache \
             {}{growth}.{why}\n",
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
