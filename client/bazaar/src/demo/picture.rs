//! A picture of a terminal, as SVG.

use super::{Line, Tone};

/// Size of a character and a line, in pixels.
const CHARACTER: f64 = 7.8;
const LINE: usize = 18;
const MARGIN: usize = 14;

/// Draws these lines on a dark panel.
pub(super) fn draw(lines: &[Line]) -> String {
    let widest = lines
        .iter()
        .map(|line| line.text.chars().count())
        .max()
        .unwrap_or(0);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a line"
    )]
    let width = (widest as f64 * CHARACTER) as usize + 2 * MARGIN;
    let height = lines.len() * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#1b1f24\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, monospace\" font-size=\"13\">\n"
    );
    for (row, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !line.text.is_empty())
    {
        let (colour, weight) = match line.tone {
            Tone::Heading => ("#ffffff", "bold"),
            Tone::Plain => ("#c9d1d9", "normal"),
            Tone::Command => ("#6cb6ff", "normal"),
            Tone::Good => ("#57d364", "normal"),
            Tone::Bad => ("#ff8a80", "normal"),
        };
        let y = MARGIN + (row + 1) * LINE - 5;
        svg += &format!(
            "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{colour}\" font-weight=\"{weight}\">{}</text>\n",
            escaped(&line.text)
        );
    }
    svg + "</g>\n</svg>\n"
}

/// Escapes text for SVG. Spaces become no-break spaces, because SVG draws several spaces as one.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace(' ', "\u{a0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text is escaped, each tone has its colour, and an empty line has its height.
    #[test]
    fn picture() {
        let line = |tone, text: &str| Line {
            tone,
            text: text.into(),
        };
        let svg = draw(&[
            line(Tone::Good, "a < b & c"),
            line(Tone::Plain, ""),
            line(Tone::Bad, "killed"),
        ]);
        assert!(
            svg.contains(">a\u{a0}&lt;\u{a0}b\u{a0}&amp;\u{a0}c</text>")
                && svg.contains("#57d364")
                && svg.contains("#ff8a80"),
            "{svg}"
        );
        assert_eq!(svg.matches("<text").count(), 2);
        assert!(
            svg.contains(&format!("height=\"{}\"", 3 * LINE + 2 * MARGIN)),
            "{svg}"
        );
    }
}
