//! Throughput and latency with more and more clients.

use super::chart::{self, Axis, Line, Panel, Result, linear_axis, log_axis};
use super::{caches, colour};
use crate::tables::{Cache, LoadRow, Measured};
use client::stats::Kind;
use plotters::prelude::SeriesLabelPosition;

/// Draws the first setting of the cache that was measured; the CSV file has the other.
pub fn draw(measured: &Measured) -> Result<Option<String>> {
    let Some(cache) = caches(measured)
        .into_iter()
        .next()
        .filter(|_| !measured.load.is_empty())
    else {
        return Ok(None);
    };
    chart::draw(&panels(measured, cache), 400).map(Some)
}

fn panels(measured: &Measured, cache: Cache) -> Vec<Panel> {
    let lines = |value: fn(&LoadRow) -> (f64, f64, f64)| {
        let line = |(mark, kind): (usize, Kind)| {
            let rows = measured
                .load
                .iter()
                .filter(|row| row.cache == cache && row.request == kind);
            let point = |row: &LoadRow| {
                let (value, low, high) = value(row);
                #[expect(clippy::cast_precision_loss, reason = "a handful of clients")]
                (row.clients as f64, value, low, high)
            };
            Line {
                label: kind.label().into(),
                colour: colour(kind),
                mark,
                points: rows.map(point).collect(),
            }
        };
        Kind::ALL
            .into_iter()
            .enumerate()
            .map(line)
            .filter(|line| !line.points.is_empty())
            .collect::<Vec<_>>()
    };
    let most = measured
        .load
        .iter()
        .map(|row| row.clients)
        .max()
        .unwrap_or(50);
    #[expect(clippy::cast_precision_loss, reason = "a handful of clients")]
    let x = || Axis {
        label: "clients at once",
        from: 0.85,
        to: most as f64 * 1.2,
    };
    let throughput = lines(|row| (row.per_second, row.per_second, row.per_second));
    // From the median up to the 99th of 100.
    let times = lines(|row| (row.p50_ms, row.p50_ms, row.p99_ms));
    vec![
        Panel {
            title: format!("throughput, cache {cache}"),
            x: x(),
            x_log: true,
            y: linear_axis("requests a second", &throughput.iter().collect::<Vec<_>>()),
            y_log: false,
            legend: SeriesLabelPosition::UpperLeft,
            lines: throughput,
        },
        Panel {
            title: format!("latency, cache {cache}: median, bar up to p99"),
            x: x(),
            x_log: true,
            y: log_axis("latency (ms)", &times.iter().collect::<Vec<_>>()),
            y_log: true,
            legend: SeriesLabelPosition::UpperLeft,
            lines: times,
        },
    ]
}
