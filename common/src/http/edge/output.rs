//! Bytes that wait to be written. Between turns an idle connection owns no buffer: the one of its
//! core is lent to it for a turn and comes back when everything was written, which is nearly
//! always.

/// A buffer larger than this is not kept for later.
const KEEP_BYTES: usize = 256 * 1024;
/// Below this, a half-empty buffer is not worth moving.
const SMALL_BYTES: usize = 16 * 1024;

/// Bytes in order, the first of them taken already.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    taken: usize,
}

impl Output {
    /// The bytes that wait.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.taken
    }

    /// Where more is appended; the buffer is `spare` if there was none.
    pub fn writer(&mut self, spare: &mut Vec<u8>) -> &mut Vec<u8> {
        // Only where it owns none: a buffer that holds unread bytes must not be replaced.
        if self.bytes.capacity() == 0 {
            self.bytes = std::mem::take(spare);
        }
        &mut self.bytes
    }

    /// The first `n` bytes were written. The buffer goes back to `spare` when it is empty, or much
    /// too large for the rest.
    pub fn take(&mut self, n: usize, spare: &mut Vec<u8>) {
        self.taken += n;
        assert!(
            self.taken <= self.bytes.len(),
            "{} taken of {}",
            self.taken,
            self.bytes.len()
        );
        let left = self.bytes.len() - self.taken;
        // Much too large: one large response to a slow reader would keep its memory until its last
        // byte is read.
        if left == 0 || self.bytes.capacity() > 2 * left + SMALL_BYTES {
            let rest = self.pending().to_vec();
            let mut empty = std::mem::replace(&mut self.bytes, rest);
            self.taken = 0;
            empty.clear();
            // The larger of the two is kept for the next turn, unless it is so large that one
            // response made it so.
            if (spare.capacity()..=KEEP_BYTES).contains(&empty.capacity()) {
                *spare = empty;
            }
        }
    }

    /// Drops the bytes that wait.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes come out in order, and the buffer goes back when they are gone.
    #[test]
    fn order_and_buffer() {
        let mut spare = Vec::with_capacity(100_000);
        let mut out = Output::default();
        out.writer(&mut spare).extend_from_slice(&[1; 40_000]);
        assert_eq!((out.pending().len(), spare.capacity()), (40_000, 0));
        out.writer(&mut spare).extend_from_slice(&[2; 10]);
        out.take(39_999, &mut spare);
        assert_eq!(
            (out.pending(), spare.capacity()),
            (&[1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2][..], 100_000),
            "moved to a small one"
        );
        out.take(11, &mut spare);
        assert!(
            out.is_empty()
                && out.bytes.capacity() == 0
                && spare.capacity() == 100_000
                && spare.is_empty()
        );
    }

    /// A buffer that one large response blew up is let go.
    #[test]
    fn large_buffers_go() {
        let (mut out, mut spare) = (Output::default(), Vec::new());
        out.writer(&mut spare).resize(KEEP_BYTES + 1, 0);
        out.take(KEEP_BYTES + 1, &mut spare);
        assert_eq!(spare.capacity(), 0);
    }
}
