//! Long tables at the end of the document: means by client, and the files.

use super::words::mean;
use crate::tables::{ALL_CLIENTS, Measured};
use client::stats::Kind;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub fn section(measured: &Measured, folder: &str) -> String {
    let clients: BTreeSet<&str> = measured
        .latency
        .iter()
        .map(|row| row.client.as_str())
        .filter(|client| *client != ALL_CLIENTS)
        .collect();
    let mut text = String::from(
        "## Appendix\n\n\
         ### Mean latency of each client (ms), near, with intervals\n\n| cache | p | request |",
    );
    for client in &clients {
        // Writing to a String cannot fail.
        let _ = write!(text, " client {client} |");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(clients.len()));
    text.push('\n');
    let settings: BTreeSet<_> = measured
        .latency
        .iter()
        .filter(|row| row.distance_ms == 0)
        .map(|row| (row.cache, row.p))
        .collect();
    for (cache, p) in settings {
        for kind in Kind::ALL {
            let of = |client: &&str| {
                let fits = |row: &&crate::tables::LatencyRow| {
                    row.client == **client
                        && (row.distance_ms, row.cache, row.p, row.request) == (0, cache, p, kind)
                };
                measured.latency.iter().find(fits).map(mean)
            };
            let cells: Vec<Option<String>> = clients.iter().map(of).collect();
            if cells.iter().any(Option::is_some) {
                let cells: Vec<String> = cells
                    .into_iter()
                    .map(|cell| cell.unwrap_or("–".into()))
                    .collect();
                let _ = writeln!(
                    text,
                    "| {cache} | {p} % | {} | {} |",
                    kind.label(),
                    cells.join(" | ")
                );
            }
        }
    }
    let _ = write!(
        text,
        "\n### Files\n\n\
         | file | a row is |\n|---|---|\n\
         | [`latency.csv`]({folder}/latency.csv) | times of one kind of request, of one client or \
         all, at one distance, cache and p: count, mean, p50, p95, p99, max, with intervals |\n\
         | [`server.csv`]({folder}/server.csv) | the front-end's own mean time for one kind of \
         request |\n\
         | [`cache.csv`]({folder}/cache.csv) | hits and misses |\n\
         | [`load.csv`]({folder}/load.csv) | throughput and times with a number of clients |\n\
         | [`replacement.csv`]({folder}/replacement.csv) | a request, and the content of the small \
         cache after it |\n\
         | [`crashes.csv`]({folder}/crashes.csv) | a round of the crash experiments |\n\
         | [`timeline.csv`]({folder}/timeline.csv) | the slowest request of a kind in 50 ms |\n\
         | [`events.csv`]({folder}/events.csv) | a fault, or its end, with its replicas |\n\
         | [`facts.csv`]({folder}/facts.csv) | machine and plan |\n"
    );
    text
}
