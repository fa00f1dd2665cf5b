//! The plots, as SVG on a white panel, so that they look the same on a dark page. Colour-blind
//! readers can distinguish the colours (Okabe and Ito), and each line has its own mark.

mod by_p;
mod chart;
mod loads;
mod replacement;
mod timeline;

use super::tables::{Cache, Measured};
use client::stats::Kind;
use plotters::style::RGBColor;

/// File name and SVG of a plot.
pub type Plot = (&'static str, String);

/// Draws every plot for which there are figures.
pub fn draw(measured: &Measured) -> Result<Vec<Plot>, String> {
    let plots = [
        ("latency.svg", by_p::latency(measured, 0)),
        ("latency-p99.svg", by_p::latency_p99(measured)),
        ("server.svg", by_p::server(measured)),
        ("hit-ratio.svg", by_p::hit_ratio(measured)),
        (
            "latency-far.svg",
            by_p::latency(measured, measured.far_ms()),
        ),
        ("load.svg", loads::draw(measured)),
        ("replacement.svg", replacement::draw(measured)),
        ("crashes.svg", timeline::draw(measured)),
    ];
    let drawn = plots.into_iter().filter_map(|(name, plot)| match plot {
        Ok(svg) => svg.map(|svg| Ok((name, svg))),
        Err(error) => Some(Err(format!("cannot draw {name}: {error}"))),
    });
    drawn.collect()
}

const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const GREEN: RGBColor = RGBColor(0, 128, 94);
const PURPLE: RGBColor = RGBColor(150, 60, 130);
const YELLOW: RGBColor = RGBColor(240, 200, 60);
const GREY: RGBColor = RGBColor(110, 110, 110);

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Lookup => BLUE,
        Kind::Order => ORANGE,
        Kind::OrderQuery => GREEN,
    }
}

/// The settings of the cache that were measured, on first.
fn caches(measured: &Measured) -> Vec<Cache> {
    let has = |cache| measured.cache.iter().any(|row| row.cache == cache);
    [Cache::On, Cache::Off]
        .into_iter()
        .filter(|cache| has(*cache))
        .collect()
}
