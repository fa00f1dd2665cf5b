//! A trace id without an allocation: every response carries one, also the cached ones.

use std::fmt;

/// Longest id that is taken from a client, as in [`crate::http::trace_id`].
const LONGEST: usize = 64;

/// A trace id: 1 to 64 visible ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Trace {
    /// The client's id, when it is one.
    pub fn from_client(value: &[u8]) -> Option<Self> {
        let fits = (1..=LONGEST).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
        fits.then(|| {
            let mut bytes = [0; LONGEST];
            bytes[..value.len()].copy_from_slice(value);
            // At most 64, as was just checked.
            Self {
                bytes,
                length: u8::try_from(value.len()).unwrap_or(0),
            }
        })
    }

    /// The id with this number, which is random where ids are made.
    pub fn from_number(number: u64) -> Self {
        let mut bytes = [0; LONGEST];
        for (place, byte) in bytes[..16].iter_mut().enumerate() {
            let digit = (number >> (60 - 4 * place)) & 15;
            *byte = b"0123456789abcdef"[usize::try_from(digit).unwrap_or(0)];
        }
        Self { bytes, length: 16 }
    }

    /// Its characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // ASCII, as both constructors see to.
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::trace_id;

    /// The same ids are taken from clients as everywhere else, and made ones have the same form.
    #[test]
    fn agrees_with_the_others() {
        for id in [
            "abc-1",
            "",
            "a b",
            "é",
            "\0",
            &"x".repeat(64),
            &"x".repeat(65),
        ] {
            let taken = Trace::from_client(id.as_bytes());
            assert_eq!(
                taken.map(|t| t.as_str() == id),
                (trace_id(Some(id)) == id).then_some(true),
                "{id}"
            );
        }
        assert_eq!(
            Trace::from_number(0x0123_4567_89ab_cdef).as_str(),
            "0123456789abcdef"
        );
        assert_eq!(Trace::from_number(10).as_str(), "000000000000000a");
    }
}
