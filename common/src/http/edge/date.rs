//! The Date field (RFC 9110 section 5.6.7), made once per second: formatting it for each response
//! would cost more than a cached read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The date of now, remade when its second is over.
#[derive(Debug)]
pub struct Date {
    text: String,
    until: Instant,
}

impl Date {
    /// The date at `now`, which is now.
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
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The date `seconds` after the start of 1970, as a sender has to write it:
/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn imf_fixdate(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form is the one that RFC 9110 lets a sender make, not an obsolete one.
    #[test]
    fn the_form_is_that_of_the_rfc() {
        assert_eq!(imf_fixdate(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
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
        assert_eq!(date.text(), imf_fixdate(0));
        date.refresh(start + Duration::from_millis(500));
        assert_ne!(date.text(), imf_fixdate(0));
    }
}
