//! Prices: whole cents inside, a decimal number in JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr};

/// A price in cents. In JSON and CSV it is a decimal number with at most two places (`15.99`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    cents: u64,
}

impl Price {
    /// The largest price, in cents: every value up to it is exact as a JSON number, which other
    /// programs read as a double.
    pub const MAX_CENTS: u64 = 1_000_000_000_000;

    /// A price of so many cents; `None` above [`Price::MAX_CENTS`].
    pub const fn from_cents(cents: u64) -> Option<Self> {
        if cents <= Self::MAX_CENTS {
            Some(Self { cents })
        } else {
            None
        }
    }

    /// The price in cents.
    pub const fn cents(self) -> u64 {
        self.cents
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.cents / 100, self.cents % 100)
    }
}

impl FromStr for Price {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is not a price: write a number with at most two decimals, such as 15.99"
            )
        };
        // `15` means 15.00.
        let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        // No sign and no exponent: `parse` alone would take `+1` and `1e3`.
        if !digits(whole) || !digits(cents) || cents.len() > 2 {
            return Err(wrong());
        }
        // Padded on the right: `1.5` is 150 cents.
        let cents: u64 = format!("{cents:0<2}").parse().map_err(|_| wrong())?;
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let total = whole
            .checked_mul(100)
            .and_then(|w| w.checked_add(cents))
            .ok_or_else(wrong)?;
        Self::from_cents(total)
            .ok_or_else(|| format!("'{text}' is above the largest price, 10000000000.00"))
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact up to MAX_CENTS: the shortest decimal that reads back as this double has two places
        // at most.
        #[expect(clippy::cast_precision_loss, reason = "MAX_CENTS is below 2^53")]
        serializer.serialize_f64(self.cents as f64 / 100.0)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        // Rounded, since 15.99 is no exact double; below, a third decimal is refused.
        let cents = (value * 100.0).round();
        #[expect(clippy::cast_precision_loss, reason = "MAX_CENTS is below 2^53")]
        if !(0.0..=Self::MAX_CENTS as f64).contains(&cents) || (value * 100.0 - cents).abs() > 1e-3
        {
            return Err(de::Error::custom(
                "a price is a number of at most two decimals, not negative",
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above"
        )]
        Ok(Self {
            cents: cents as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Text that is no price is refused with the text in the message.
    #[test]
    fn refuses_what_is_no_price() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.234",
            "-1",
            "1e3",
            "1,50",
            "99999999999999",
        ] {
            let error = text.parse::<Price>().expect_err(text);
            assert!(error.contains(text), "{error}");
        }
        assert_eq!("3.5".parse::<Price>().map(Price::cents), Ok(350));
    }

    proptest! {
        /// A price survives JSON and text exactly.
        #[test]
        fn round_trips(cents in 0..=Price::MAX_CENTS) {
            let price = Price::from_cents(cents).expect("in range");
            let json = serde_json::to_string(&price).expect("serialises");
            prop_assert_eq!(serde_json::from_str::<Price>(&json).expect("parses"), price);
            prop_assert_eq!(price.to_string().parse::<Price>().expect("parses"), price);
        }
    }
}
