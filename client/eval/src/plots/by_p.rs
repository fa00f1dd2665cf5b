//! Plots over p: the clients' times, the front-end's own times, and the cache's hit ratio.

use super::chart::{Axis, Line, Panel, Result, draw, linear_axis, log_axis};
use super::{BLUE, GREY, caches, colour};
use crate::tables::{ALL_CLIENTS, Cache, LatencyRow, Measured};
use client::stats::Kind;
use plotters::prelude::SeriesLabelPosition;

const X: &str = "probability of a trade, p (%)";

/// Mean times with their intervals, cache on beside off.
pub fn latency(measured: &Measured, distance_ms: u64) -> Result<Option<String>> {
    let value = |row: &LatencyRow| (row.mean_ms, row.mean_low, row.mean_high);
    round_trips(measured, distance_ms, "mean latency (ms)", value)
}

/// The 99th of 100, cache on beside off.
pub fn latency_p99(measured: &Measured) -> Result<Option<String>> {
    round_trips(measured, 0, "p99 latency (ms)", |row| {
        (row.p99_ms, row.p99_low, row.p99_high)
    })
}

fn round_trips(
    measured: &Measured,
    distance_ms: u64,
    label: &'static str,
    value: impl Fn(&LatencyRow) -> (f64, f64, f64),
) -> Result<Option<String>> {
    let line = |cache: Cache, kind: Kind| {
        let rows = measured.latency.iter().filter(|row| {
            row.client == ALL_CLIENTS
                && (row.distance_ms, row.cache, row.request) == (distance_ms, cache, kind)
        });
        rows.map(|row| {
            let (value, low, high) = value(row);
            (f64::from(row.p), value, low, high)
        })
        .collect()
    };
    beside(measured, label, line)
}

/// The front-end's own time.
pub fn server(measured: &Measured) -> Result<Option<String>> {
    let line = |cache: Cache, kind: Kind| {
        let rows = measured
            .server
            .iter()
            .filter(|row| (row.distance_ms, row.cache, row.request) == (0, cache, kind));
        rows.map(|row| (f64::from(row.p), row.mean_ms, row.mean_ms, row.mean_ms))
            .collect()
    };
    beside(measured, "mean time in the front-end (ms)", line)
}

/// A panel per setting of the cache, with the same axes; a line per kind of request.
fn beside(
    measured: &Measured,
    label: &'static str,
    points: impl Fn(Cache, Kind) -> Vec<(f64, f64, f64, f64)>,
) -> Result<Option<String>> {
    let lines = |cache| {
        let line = |(mark, kind): (usize, Kind)| Line {
            label: kind.label().into(),
            colour: colour(kind),
            mark,
            points: points(cache, kind),
        };
        Kind::ALL
            .into_iter()
            .enumerate()
            .map(line)
            .filter(|line| !line.points.is_empty())
            .collect::<Vec<_>>()
    };
    let by_cache: Vec<(Cache, Vec<Line>)> = caches(measured)
        .into_iter()
        .map(|cache| (cache, lines(cache)))
        .collect();
    let all: Vec<&Line> = by_cache.iter().flat_map(|(_, lines)| lines).collect();
    if all.is_empty() {
        return Ok(None);
    }
    let y = log_axis(label, &all);
    let panel = |(cache, lines): &(Cache, Vec<Line>)| Panel {
        title: format!("cache {cache}"),
        x: x_axis(measured),
        x_log: false,
        y: y.clone(),
        y_log: true,
        legend: SeriesLabelPosition::UpperLeft,
        lines: lines.clone(),
    };
    draw(&by_cache.iter().map(panel).collect::<Vec<_>>(), 400).map(Some)
}

fn x_axis(measured: &Measured) -> Axis {
    let highest = measured.cache.iter().map(|row| row.p).max().unwrap_or(80);
    Axis {
        label: X,
        from: -3.0,
        to: f64::from(highest) + 3.0,
    }
}

/// Hits of all reads, near and far.
pub fn hit_ratio(measured: &Measured) -> Result<Option<String>> {
    let line = |(mark, (distance_ms, label, colour))| Line {
        label,
        colour,
        mark,
        points: measured
            .cache
            .iter()
            .filter(|row| row.cache == Cache::On && row.distance_ms == distance_ms)
            .map(|row| {
                (
                    f64::from(row.p),
                    row.hit_ratio * 100.0,
                    row.hit_ratio * 100.0,
                    row.hit_ratio * 100.0,
                )
            })
            .collect(),
    };
    let far = measured.far_ms();
    let distances = [
        (0, "near".to_owned(), BLUE),
        (far, format!("{far} ms away"), GREY),
    ];
    let lines: Vec<Line> = distances
        .into_iter()
        .enumerate()
        .map(line)
        .filter(|line| !line.points.is_empty())
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let panel = Panel {
        title: "reads answered from the cache".into(),
        x: x_axis(measured),
        x_log: false,
        y: Axis {
            to: 105.0,
            ..linear_axis("hit ratio (%)", &[])
        },
        y_log: false,
        legend: SeriesLabelPosition::LowerLeft,
        lines,
    };
    draw(&[panel], 340).map(Some)
}
