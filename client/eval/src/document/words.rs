//! Numbers in words, and the width of the lines.

use crate::tables::LatencyRow;

/// Milliseconds with three significant digits or so.
pub fn ms(value: f64) -> String {
    match value {
        small if small < 1.0 => format!("{value:.3}"),
        below_hundred if below_hundred < 99.95 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// A mean with its interval.
pub fn mean(row: &LatencyRow) -> String {
    format!(
        "{} [{}, {}]",
        ms(row.mean_ms),
        ms(row.mean_low),
        ms(row.mean_high)
    )
}

/// `1 round`, `2 rounds`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// How two means compare. Overlapping intervals allow no conclusion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// The first is shorter; the factor of the second over the first.
    Faster(f64),
    /// The first is longer; the factor of the first over the second.
    Slower(f64),
    Open,
}

pub fn compare(first: &LatencyRow, second: &LatencyRow) -> Comparison {
    if first.mean_high < second.mean_low {
        Comparison::Faster(second.mean_ms / first.mean_ms)
    } else if first.mean_low > second.mean_high {
        Comparison::Slower(first.mean_ms / second.mean_ms)
    } else {
        Comparison::Open
    }
}

/// Widest line of a Markdown page, in characters.
const WIDTH: usize = 100;

/// Breaks long lines of a Markdown page. Tables, headings and pictures must stay on one line.
pub fn wrapped(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines() {
        if line.starts_with(['|', '#', '!']) {
            text += line;
        } else {
            wrap(line, &mut text);
        }
        text.push('\n');
    }
    text
}

fn wrap(line: &str, text: &mut String) {
    // The second line of a list item begins below the first one's text.
    let indent = if line.starts_with("- ") { "  " } else { "" };
    let mut width = 0;
    // A number stays on the line of its per cent sign.
    let line = line.replace(" %", "\u{a0}%");
    for word in line.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(indent);
            width = indent.len();
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(&word.replace('\u{a0}', " "));
        width += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A paragraph and a list item wrap at 100 characters and keep their words; a table does not
    /// wrap.
    #[test]
    fn long_lines_wrap_except_tables() {
        let words = "word ".repeat(60);
        let item = format!("- {}", words.trim_end());
        let table = format!("| {words}|");
        let page = wrapped(&format!("{item}\n\n{table}\n"));
        let (wrapped_item, rest) = page.split_once("\n\n").expect("two blocks");
        assert_eq!(rest, format!("{table}\n"));
        let lines: Vec<&str> = wrapped_item.lines().collect();
        assert_eq!(lines.len(), 4, "{wrapped_item}");
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{wrapped_item}"
        );
        assert!(
            lines[1..].iter().all(|line| line.starts_with("  word")),
            "{wrapped_item}"
        );
        assert_eq!(wrapped_item.replace("\n ", ""), item);
    }

    /// Lists and counts read as English; times keep three digits or so.
    #[test]
    fn english() {
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(
            (count(1, "round"), count(2, "round")),
            ("1 round".into(), "2 rounds".into())
        );
        assert_eq!([0.1234, 1.234, 99.99].map(ms), ["0.123", "1.23", "100"]);
    }
}
