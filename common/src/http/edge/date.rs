//! The Date field (RFC 9110 section 5.6.7), made once per second.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A date as it stands in the field: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub type DateText = [u8; 29];

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The date of now, remade when its second is over.
#[derive(Debug)]
pub struct Date {
    text: DateText,
    until: Instant,
}

impl Date {
    /// The date at `now`, which is now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = Duration::from_nanos(u64::from(1_000_000_000 - since.subsec_nanos()));
        Self {
            text: imf_fixdate(since.as_secs()),
            until: now + left,
        }
    }

    /// Brings it up to `now`, which is now.
    pub fn refresh(&mut self, now: Instant) {
        if now >= self.until {
            *self = Self::new(now);
        }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &DateText {
        &self.text
    }
}

/// The date `seconds` after the start of 1970, in the only form that RFC 9110 lets a sender make.
#[must_use]
pub fn imf_fixdate(seconds: u64) -> DateText {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[usize::try_from(days % 7).unwrap_or(0)]);
    text[8..11].copy_from_slice(MONTHS[usize::try_from(month - 1).unwrap_or(0)]);
    for (place, number, width) in [
        (5, day, 2),
        (12, year, 4),
        (17, second / 3_600, 2),
        (20, second / 60 % 60, 2),
        (23, second % 60, 2),
    ] {
        let mut number = number;
        for digit in text[place..place + width].iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
    text
}

/// Year, month and day, `days` after the start of 1970: Howard Hinnant's `civil_from_days`, for
/// years in which March comes first, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known dates: the one of the RFC, the epoch, and leap days.
    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)), Ok(text));
        }
    }

    /// Each day follows the one before, over four hundred years and more: the calendar's whole
    /// cycle.
    #[test]
    fn days_follow_each_other() {
        let mut before = civil(0);
        for days in 1..160_000 {
            let (year, month, day) = civil(days);
            let next_day = (year, month, day - 1) == before;
            let next_month =
                day == 1 && (year, month - 1) == (before.0, before.1) && before.2 >= 28;
            let next_year = (month, day) == (1, 1) && before == (year - 1, 12, 31);
            assert!(
                next_day || next_month || next_year,
                "{before:?} then {:?}",
                (year, month, day)
            );
            before = (year, month, day);
        }
    }

    /// It is remade when its second is over, not before.
    #[test]
    fn refreshes_each_second() {
        let start = Instant::now();
        let mut date = Date {
            text: imf_fixdate(0),
            until: start + Duration::from_millis(500),
        };
        date.refresh(start + Duration::from_millis(499));
        assert_eq!(*date.text(), imf_fixdate(0));
        date.refresh(start + Duration::from_millis(500));
        assert_ne!(*date.text(), imf_fixdate(0));
    }
}
