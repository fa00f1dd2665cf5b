//! A panel with axes, lines, marks, error bars and a legend, for all plots with lines.

use plotters::coord::CoordTranslate;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

/// One side of a panel.
#[derive(Debug, Clone)]
pub struct Axis {
    /// With its unit.
    pub label: &'static str,
    pub from: f64,
    pub to: f64,
}

/// A line with a mark per point.
#[derive(Debug, Clone)]
pub struct Line {
    pub label: String,
    pub colour: RGBColor,
    /// Which mark it has.
    pub mark: usize,
    /// x, value, and the interval in which it lies.
    pub points: Vec<(f64, f64, f64, f64)>,
}

#[derive(Debug, Clone)]
pub struct Panel {
    pub title: String,
    pub x: Axis,
    /// Whether x grows by factors.
    pub x_log: bool,
    pub y: Axis,
    /// Whether y grows by factors.
    pub y_log: bool,
    /// Where the legend is, to be out of the way of the lines.
    pub legend: SeriesLabelPosition,
    pub lines: Vec<Line>,
}

pub type Result<T> = std::result::Result<T, String>;

pub const FONT: &str = "sans-serif";

/// Draws panels beside each other.
pub fn draw(panels: &[Panel], height: u32) -> Result<String> {
    let mut svg = String::new();
    {
        let width = if panels.len() > 1 { 960 } else { 560 };
        let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        for (area, panel) in root.split_evenly((1, panels.len())).iter().zip(panels) {
            panel.draw(area)?;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}

/// The whole range of values of some lines, on an axis by factors, with room for the legend above.
pub fn log_axis(label: &'static str, lines: &[&Line]) -> Axis {
    let values = || lines.iter().flat_map(|line| &line.points);
    let low = values()
        .map(|point| point.2)
        .filter(|low| *low > 0.0)
        .fold(f64::INFINITY, f64::min);
    let high = values().map(|point| point.3).fold(0.0, f64::max);
    if low > high {
        return Axis {
            label,
            from: 0.1,
            to: 10.0,
        };
    }
    Axis {
        label,
        from: low / 1.4,
        to: high * (high / low).powf(0.4).max(2.0),
    }
}

/// The range from 0, with room for the legend above.
pub fn linear_axis(label: &'static str, lines: &[&Line]) -> Axis {
    let high = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.3)
        .fold(0.0, f64::max);
    Axis {
        label,
        from: 0.0,
        to: if high > 0.0 { high * 1.4 } else { 1.0 },
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let (x, y) = (self.x.from..self.x.to, self.y.from..self.y.to);
        let mut builder = ChartBuilder::on(area);
        builder
            .caption(&self.title, (FONT, 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(66);
        match (self.x_log, self.y_log) {
            (false, false) => self.fill(builder.build_cartesian_2d(x, y).map_err(text)?),
            (false, true) => self.fill(builder.build_cartesian_2d(x, y.log_scale()).map_err(text)?),
            (true, false) => self.fill(builder.build_cartesian_2d(x.log_scale(), y).map_err(text)?),
            (true, true) => self.fill(
                builder
                    .build_cartesian_2d(x.log_scale(), y.log_scale())
                    .map_err(text)?,
            ),
        }
    }

    fn fill<'a, 'svg: 'a, X, Y>(
        &self,
        mut chart: ChartContext<'a, SVGBackend<'svg>, Cartesian2d<X, Y>>,
    ) -> Result<()>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1)
            .x_labels(8)
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 13));
        mesh.light_line_style(RGBColor(238, 238, 238))
            .bold_line_style(RGBColor(215, 215, 215));
        mesh.x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()
            .map_err(text)?;
        for line in &self.lines {
            let colour = line.colour;
            let points = || line.points.iter().copied();
            chart
                .draw_series(LineSeries::new(
                    points().map(|(x, y, _, _)| (x, y)),
                    colour.stroke_width(2),
                ))
                .map_err(text)?
                .label(line.label.clone())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
                });
            let bars = points().filter(|(_, _, low, high)| low < high);
            let bar = |(x, y, low, high)| {
                ErrorBar::new_vertical(x, low, y, high, colour.stroke_width(1), 7)
            };
            chart.draw_series(bars.map(bar)).map_err(text)?;
            let at = points().map(|(x, y, _, _)| (x, y));
            match line.mark {
                0 => chart
                    .draw_series(at.map(|at| Circle::new(at, 4, colour.filled())))
                    .map_err(text)?,
                1 => chart
                    .draw_series(at.map(|at| TriangleMarker::new(at, 6, colour.filled())))
                    .map_err(text)?,
                _ => chart
                    .draw_series(at.map(|at| Cross::new(at, 5, colour.stroke_width(2))))
                    .map_err(text)?,
            };
        }
        draw_legend(&mut chart, self.legend.clone())
    }
}

/// Draws the legend over the lines, half transparent so that it hides none.
pub fn draw_legend<'a, 'svg: 'a, C: CoordTranslate>(
    chart: &mut ChartContext<'a, SVGBackend<'svg>, C>,
    position: SeriesLabelPosition,
) -> Result<()> {
    chart
        .configure_series_labels()
        .position(position)
        .label_font((FONT, 13))
        .margin(8)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(190, 190, 190))
        .draw()
        .map_err(text)
}

/// A number on an axis, as short as possible.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        small if small < 0.095 => format!("{value:.3}"),
        below_ten if below_ten < 9.95 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// An error of the drawing library in words.
#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
pub fn text<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers on axes are short.
    #[test]
    fn numbers() {
        assert_eq!(
            [0.0, 0.05, 0.2, 1.0, 2.5, 20.0, 1000.0].map(number),
            ["0", "0.05", "0.2", "1", "2.5", "20", "1000"]
        );
    }

    /// A panel has its title, axes and legend in the SVG, on white.
    #[test]
    fn panel() {
        let line = Line {
            label: "lookup".into(),
            colour: BLACK,
            mark: 1,
            points: vec![(0.0, 1.0, 0.9, 1.2), (20.0, 3.0, 3.0, 3.0)],
        };
        let panel = Panel {
            title: "cache on".into(),
            x: Axis {
                label: "p (%)",
                from: 0.0,
                to: 80.0,
            },
            x_log: false,
            y: log_axis("ms", &[&line]),
            y_log: true,
            legend: SeriesLabelPosition::UpperLeft,
            lines: vec![line],
        };
        let svg = draw(&[panel.clone(), panel], 300).expect("drawn");
        for part in ["<svg", "cache on", "p (%)", "ms", "lookup", "#FFFFFF"] {
            assert!(svg.contains(part), "{part} is missing: {svg}");
        }
    }
}
