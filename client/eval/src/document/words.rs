//! Figures in words.

use crate::tables::LatencyRow;

/// Milliseconds with as many digits as are of use.
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

/// How two means compare, as far as their intervals tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// The first is shorter, the second so many times as long.
    Faster(f64),
    /// The first is longer, so many times.
    Slower(f64),
    /// The intervals overlap.
    Open,
}

/// Compares the first with the second.
pub fn compare(first: &LatencyRow, second: &LatencyRow) -> Comparison {
    if first.mean_high < second.mean_low {
        Comparison::Faster(second.mean_ms / first.mean_ms)
    } else if first.mean_low > second.mean_high {
        Comparison::Slower(first.mean_ms / second.mean_ms)
    } else {
        Comparison::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
