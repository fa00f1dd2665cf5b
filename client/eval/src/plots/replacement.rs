//! The plot of the replacement experiment: the content of the small cache, request by request.

use super::chart::{FONT, Result, draw_legend, text};
use super::{BLUE, ORANGE};
use crate::tables::{Measured, ReplacementRow};
use plotters::prelude::*;
use std::collections::BTreeSet;

/// Draws a row per stock, filled where the cache held it after the request.
pub fn draw(measured: &Measured) -> Result<Option<String>> {
    let rows = &measured.replacement;
    let Some(last) = rows.last() else {
        return Ok(None);
    };
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row.name.as_str())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .rev()
        .collect();
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (960, 440)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let title = format!(
            "a cache for {} of {} stocks: what it holds after each request",
            last.capacity,
            names.len()
        );
        let mut builder = ChartBuilder::on(&root);
        builder
            .caption(title, (FONT, 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(120);
        let height = i32::try_from(names.len()).unwrap_or(i32::MAX);
        let steps = 0.5..f64::from(last.step) + 0.5;
        let mut chart = builder
            .build_cartesian_2d(steps, (0..height - 1).into_segmented())
            .map_err(text)?;
        let label = |at: &SegmentValue<i32>| match at {
            SegmentValue::CenterOf(at) => usize::try_from(*at)
                .ok()
                .and_then(|at| names.get(at))
                .map_or_else(String::new, |name| (*name).to_owned()),
            SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
        };
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .y_labels(names.len())
            .y_label_formatter(&label)
            .x_label_formatter(&|x| format!("{x:.0}"));
        mesh.x_desc("request")
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 13))
            .light_line_style(WHITE);
        mesh.bold_line_style(RGBColor(225, 225, 225))
            .draw()
            .map_err(text)?;
        let place = |name: &str| {
            names
                .iter()
                .position(|n| *n == name)
                .and_then(|at| i32::try_from(at).ok())
        };
        let held = rows.iter().flat_map(|row| {
            row.cached
                .split(' ')
                .filter_map(move |name| Some((row, place(name)?)))
        });
        let cell = |(row, at): (&ReplacementRow, i32)| {
            let (left, right) = (f64::from(row.step) - 0.5, f64::from(row.step) + 0.5);
            Rectangle::new(
                [
                    (left, SegmentValue::Exact(at)),
                    (right, SegmentValue::Exact(at + 1)),
                ],
                BLUE.mix(0.35).filled(),
            )
        };
        let sample = |(x, y): (i32, i32)| {
            Rectangle::new([(x, y - 5), (x + 14, y + 5)], BLUE.mix(0.35).filled())
        };
        chart
            .draw_series(held.map(cell))
            .map_err(text)?
            .label("held")
            .legend(sample);
        let at = |row: &ReplacementRow| {
            Some((
                f64::from(row.step),
                SegmentValue::CenterOf(place(&row.name)?),
            ))
        };
        let of = |chosen: fn(&ReplacementRow) -> bool| {
            rows.iter().filter(move |row| chosen(row)).filter_map(at)
        };
        let hits = of(|row| row.hit).map(|at| Circle::new(at, 3, BLACK.filled()));
        let dot = |(x, y): (i32, i32)| Circle::new((x + 7, y), 3, BLACK.filled());
        chart
            .draw_series(hits)
            .map_err(text)?
            .label("lookup, a hit")
            .legend(dot);
        let misses =
            of(|row| !row.hit && row.request == "lookup").map(|at| Circle::new(at, 4, BLACK));
        let ring = |(x, y): (i32, i32)| Circle::new((x + 7, y), 4, BLACK);
        chart
            .draw_series(misses)
            .map_err(text)?
            .label("lookup, a miss")
            .legend(ring);
        let orders =
            of(|row| row.request == "order").map(|at| TriangleMarker::new(at, 7, ORANGE.filled()));
        let triangle = |(x, y): (i32, i32)| TriangleMarker::new((x + 7, y), 7, ORANGE.filled());
        chart
            .draw_series(orders)
            .map_err(text)?
            .label("order: it is invalidated")
            .legend(triangle);
        draw_legend(&mut chart, SeriesLabelPosition::LowerRight)?;
        root.present().map_err(text)?;
    }
    Ok(Some(svg))
}
