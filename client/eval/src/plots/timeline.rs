//! The plot of the crashes: the slowest request in each slice of time, with the faults marked.

use super::chart::{FONT, Result, draw_legend, number, text};
use super::{GREY, ORANGE, PURPLE, YELLOW, colour};
use crate::tables::{CrashRow, EventRow, Measured};
use client::stats::Kind;
use plotters::prelude::*;

/// Draws a band for each time in which a replica was away, with the round's number in the table.
pub fn draw(measured: &Measured) -> Result<Option<String>> {
    let slowest = measured.timeline.iter().map(|row| row.slowest_ms);
    let (Some(end), true) = (
        measured.timeline.iter().map(|row| row.at_ms).max(),
        slowest.clone().any(|ms| ms > 0.0),
    ) else {
        return Ok(None);
    };
    let high = slowest.clone().fold(0.0, f64::max) * 4.0;
    let low = slowest.filter(|ms| *ms > 0.0).fold(f64::INFINITY, f64::min) / 1.3;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (1_200, 460)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let mut builder = ChartBuilder::on(&root);
        builder.caption(
            "slowest request in each 50 ms, replicas crashing",
            (FONT, 17),
        );
        builder
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(66)
            .right_y_label_area_size(0);
        let mut chart = builder
            .build_cartesian_2d(0.0..seconds(end) * 1.13, (low..high).log_scale())
            .map_err(text)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .x_desc("time (s), the pauses between rounds left out")
            .y_desc("latency (ms)");
        mesh.axis_desc_style((FONT, 14))
            .label_style((FONT, 13))
            .light_line_style(RGBColor(240, 240, 240));
        mesh.x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()
            .map_err(text)?;
        for (label, shade, chosen) in [
            (
                "leader away",
                ORANGE.mix(0.25),
                (|crash| !paused(crash) && led(crash)) as fn(&CrashRow) -> bool,
            ),
            ("followers away", YELLOW.mix(0.45), |crash| {
                !paused(crash) && !led(crash)
            }),
            ("leader paused", PURPLE.mix(0.25), paused),
        ] {
            let bands = measured
                .crashes
                .iter()
                .filter(|crash| chosen(crash))
                .filter_map(|crash| band(measured, crash.round));
            let rectangle = |(from, to)| Rectangle::new([(from, low), (to, high)], shade.filled());
            let sample = move |(x, y): (i32, i32)| {
                Rectangle::new([(x, y - 5), (x + 16, y + 5)], shade.filled())
            };
            chart
                .draw_series(bands.map(rectangle))
                .map_err(text)?
                .label(label)
                .legend(sample);
        }
        for kind in Kind::ALL {
            let rows = measured.timeline.iter().filter(|row| row.request == kind);
            let dots = rows.map(|row| {
                Circle::new(
                    (seconds(row.at_ms), row.slowest_ms),
                    2,
                    colour(kind).filled(),
                )
            });
            let sample =
                move |(x, y): (i32, i32)| Circle::new((x + 8, y), 4, colour(kind).filled());
            chart
                .draw_series(dots)
                .map_err(text)?
                .label(kind.label())
                .legend(sample);
        }
        let caught_up = measured
            .events
            .iter()
            .filter(|event| event.event == "caught up");
        let dash = |event: &EventRow| {
            PathElement::new(
                [
                    (seconds(event.at_ms), low),
                    (seconds(event.at_ms), high / 1.7),
                ],
                GREY.stroke_width(1),
            )
        };
        let sample = |(x, y): (i32, i32)| {
            PathElement::new([(x + 8, y - 6), (x + 8, y + 6)], GREY.stroke_width(1))
        };
        chart
            .draw_series(caught_up.map(dash))
            .map_err(text)?
            .label("caught up")
            .legend(sample);
        let numbers = measured
            .crashes
            .iter()
            .filter_map(|crash| Some((crash.round, band(measured, crash.round)?.0)));
        let style = (FONT, 14).into_font().color(&BLACK);
        chart
            .draw_series(
                numbers.map(|(round, at)| {
                    Text::new(format!("{round}"), (at, high / 1.1), style.clone())
                }),
            )
            .map_err(text)?;
        draw_legend(&mut chart, SeriesLabelPosition::LowerRight)?;
        root.present().map_err(text)?;
    }
    Ok(Some(svg))
}

fn paused(crash: &CrashRow) -> bool {
    crash.fault == "pause leader"
}

fn led(crash: &CrashRow) -> bool {
    crash
        .replicas
        .split(' ')
        .any(|id| id == crash.leader_before.to_string())
}

/// From the fault to the mending of a round.
fn band(measured: &Measured, round: u32) -> Option<(f64, f64)> {
    let mut events = measured.events.iter().filter(|event| event.round == round);
    Some((seconds(events.next()?.at_ms), seconds(events.next()?.at_ms)))
}

#[expect(clippy::cast_precision_loss, reason = "a run of minutes")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
