//! The body of a request, by length or in chunks (RFC 9112 sections 6.3 and 7.1), as its bytes
//! come.

use super::head::Framing;
use super::parse::is_token;
use super::refusal::RefusalReason;

/// Chunk extensions, leading zeros of chunk sizes and trailer fields of one body: they mean nothing
/// here and are thrown away, but not without end.
const EXTRA_BYTES: usize = 8 * 1024;

/// The steps in which room for a body is made.
const GROWTH_BYTES: usize = 4 * 1024;

/// Takes a body from its encoded bytes.
#[derive(Debug)]
pub struct Decoder {
    body: Vec<u8>,
    limit: usize,
    extra: usize,
    state: DecoderState,
}

/// Where in the encoded body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DecoderState {
    /// In a body of known length.
    Fixed { left: usize },
    /// In the size of a chunk, of which there was a digit or not.
    Size { size: usize, digits: bool },
    /// Behind blanks that follow a size: only an extension may come.
    Blank { size: usize },
    /// In a chunk's extension.
    Extension { size: usize, part: Extension },
    /// Behind the CR of a chunk's first line.
    SizeEnd { size: usize },
    /// In a chunk's data.
    Data { left: usize },
    /// Behind a chunk's data, and behind the CR there.
    DataEnd { carriage_return: bool },
    /// At the start of a line of the trailer.
    Trailer,
    /// In a trailer field, before its colon or behind.
    Field { colon: bool },
    /// Behind the CR of a trailer field.
    FieldEnd,
    /// Behind the CR of the empty line at the end.
    LastEnd,
    /// The body is complete.
    End,
}

/// Where in a chunk extension, `; name = value`, the next byte stands (RFC 9112 section 7.1.1).
/// Extensions mean nothing here, but a recipient that reads them by another grammar could find
/// another end of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// Behind the semicolon: blanks, then a name.
    Start,
    /// In the name.
    Name,
    /// Behind blanks that follow the name.
    NameEnd,
    /// Behind the equals sign: blanks, then a token or a quoted string.
    ValueStart,
    /// In a token.
    Token,
    /// In a quoted string.
    Quoted,
    /// Behind a backslash in one.
    Escaped,
    /// Behind its closing quote.
    QuotedEnd,
}

impl Extension {
    /// The part behind one more byte; `None` when the byte may not stand here.
    fn step(self, byte: u8) -> Option<Self> {
        let blank = matches!(byte, b' ' | b'\t');
        match self {
            // Blanks around a part are allowed by the grammar, and nothing else between parts is.
            Self::Start if blank => Some(Self::Start),
            Self::Start | Self::Name if is_token(byte) => Some(Self::Name),
            Self::Name | Self::NameEnd if blank => Some(Self::NameEnd),
            Self::Name | Self::NameEnd if byte == b'=' => Some(Self::ValueStart),
            Self::ValueStart if blank => Some(Self::ValueStart),
            Self::ValueStart if byte == b'"' => Some(Self::Quoted),
            Self::ValueStart | Self::Token if is_token(byte) => Some(Self::Token),
            Self::Quoted if byte == b'"' => Some(Self::QuotedEnd),
            Self::Quoted if byte == b'\\' => Some(Self::Escaped),
            Self::Quoted | Self::Escaped if is_text(byte) => Some(Self::Quoted),
            _ => None,
        }
    }

    /// Whether the line may end here.
    fn is_whole(self) -> bool {
        // A name alone is an extension too; after a name and a blank a value may still come.
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd)
    }

    /// Whether a semicolon may begin the next extension here.
    fn may_be_followed(self) -> bool {
        self.is_whole() || self == Self::NameEnd
    }
}

impl Decoder {
    /// A decoder for a body of at most `limit` bytes.
    ///
    /// # Errors
    /// [`RefusalReason::BodyTooLarge`] when the declared length is larger.
    pub fn new(framing: Framing, limit: usize) -> Result<Self, RefusalReason> {
        let state = match framing {
            Framing::Length(0) => DecoderState::End,
            Framing::Length(length) => match usize::try_from(length) {
                Ok(left) if left <= limit => DecoderState::Fixed { left },
                // Refused by the declared length, before a byte of the body is read.
                _ => return Err(RefusalReason::BodyTooLarge),
            },
            Framing::Chunked => DecoderState::Size {
                size: 0,
                digits: false,
            },
        };
        // Room is made as bytes come: a declared length costs its sender nothing, so it gets
        // nothing.
        Ok(Self {
            body: Vec::new(),
            limit,
            extra: 0,
            state,
        })
    }

    /// Whether the body is complete.
    pub fn is_complete(&self) -> bool {
        self.state == DecoderState::End
    }

    /// How many bytes of the body are here.
    pub fn held(&self) -> usize {
        self.body.len()
    }

    /// The body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Takes bytes and returns how many belonged to the body: all of them, until it is complete.
    ///
    /// # Errors
    /// A malformed chunk, or too large a body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, RefusalReason> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                DecoderState::End => break,
                // Data is copied as a whole; only the lines of a chunked body go byte by byte.
                DecoderState::Fixed { left } => {
                    let n = self.copy(left, &bytes[at..]);
                    at += n;
                    self.state = if n == left {
                        DecoderState::End
                    } else {
                        DecoderState::Fixed { left: left - n }
                    };
                }
                DecoderState::Data { left } => {
                    let n = self.copy(left, &bytes[at..]);
                    at += n;
                    let end = DecoderState::DataEnd {
                        carriage_return: false,
                    };
                    self.state = if n == left {
                        end
                    } else {
                        DecoderState::Data { left: left - n }
                    };
                }
                state => {
                    self.state = self.step(state, bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    fn copy(&mut self, left: usize, bytes: &[u8]) -> usize {
        // Never more than belongs to the body: the rest may be the next request.
        let n = left.min(bytes.len());
        let needed = self.body.len() + n;
        if needed > self.body.capacity() {
            // Not doubled, as the vector would do by itself: what is held is what is counted, but
            // for the last step.
            self.body.reserve_exact(
                needed.next_multiple_of(GROWTH_BYTES).min(self.limit) - self.body.len(),
            );
        }
        self.body.extend_from_slice(&bytes[..n]);
        n
    }

    /// The state behind one byte of a line.
    fn step(&mut self, state: DecoderState, byte: u8) -> Result<DecoderState, RefusalReason> {
        Ok(match (state, byte) {
            (DecoderState::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                // Zeros before the first other digit: without a count a client could send them for
                // ever.
                if digits && size == 0 {
                    self.count_extra()?;
                }
                let digit = char::from(byte)
                    .to_digit(16)
                    .and_then(|d| usize::try_from(d).ok())
                    .unwrap_or(0);
                // Saturating: a size beyond the machine's numbers is refused below like any that is
                // too large.
                let size = size.saturating_mul(16).saturating_add(digit);
                // Against what is left, so that many small chunks are bounded like one large.
                if size > self.limit - self.body.len() {
                    return Err(RefusalReason::BodyTooLarge);
                }
                DecoderState::Size { size, digits: true }
            }
            (DecoderState::Size { size, digits: true }, b'\r') => DecoderState::SizeEnd { size },
            (DecoderState::Extension { size, part }, b'\r') if part.is_whole() => {
                DecoderState::SizeEnd { size }
            }
            (DecoderState::Size { size, digits: true } | DecoderState::Blank { size }, b';') => {
                DecoderState::Extension {
                    size,
                    part: Extension::Start,
                }
            }
            (
                DecoderState::Size { size, digits: true } | DecoderState::Blank { size },
                b' ' | b'\t',
            ) => {
                self.count_extra()?;
                DecoderState::Blank { size }
            }
            // Counted as it comes, whatever it says: an extension without end is refused.
            (DecoderState::Extension { size, part }, byte) => {
                self.count_extra()?;
                match part.step(byte) {
                    Some(part) => DecoderState::Extension { size, part },
                    None if part.may_be_followed() && byte == b';' => DecoderState::Extension {
                        size,
                        part: Extension::Start,
                    },
                    None if part.is_whole() && matches!(byte, b' ' | b'\t') => {
                        DecoderState::Blank { size }
                    }
                    None => return Err(RefusalReason::Chunk),
                }
            }
            // The chunk of size 0 ends the data; a trailer may follow it.
            (DecoderState::SizeEnd { size: 0 }, b'\n') => DecoderState::Trailer,
            (DecoderState::SizeEnd { size }, b'\n') => DecoderState::Data { left: size },
            (
                DecoderState::DataEnd {
                    carriage_return: false,
                },
                b'\r',
            ) => DecoderState::DataEnd {
                carriage_return: true,
            },
            (
                DecoderState::DataEnd {
                    carriage_return: true,
                },
                b'\n',
            ) => DecoderState::Size {
                size: 0,
                digits: false,
            },
            // An empty line ends the body. Fields of the trailer are checked and thrown away: a
            // handler that took them for header fields could be deceived (RFC 9110 section 6.5.1).
            (DecoderState::Trailer, b'\r') => DecoderState::LastEnd,
            (DecoderState::Trailer | DecoderState::Field { colon: false }, byte)
                if is_token(byte) =>
            {
                self.count_extra()?;
                DecoderState::Field { colon: false }
            }
            (DecoderState::Field { colon: false }, b':') => DecoderState::Field { colon: true },
            (DecoderState::Field { colon: true }, b'\r') => DecoderState::FieldEnd,
            (DecoderState::Field { colon: true }, byte) if is_text(byte) => {
                self.count_extra()?;
                DecoderState::Field { colon: true }
            }
            (DecoderState::FieldEnd, b'\n') => DecoderState::Trailer,
            (DecoderState::LastEnd, b'\n') => DecoderState::End,
            // Anything else, a lone LF among it: a recipient that lets it pass may find another end
            // of the body, and another request in the rest.
            _ => return Err(RefusalReason::Chunk),
        })
    }

    fn count_extra(&mut self) -> Result<(), RefusalReason> {
        self.extra += 1;
        if self.extra > EXTRA_BYTES {
            Err(RefusalReason::Chunk)
        } else {
            Ok(())
        }
    }
}

/// Whether a byte may stand in a field's value.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), RefusalReason> {
        let mut decoder = Decoder::new(Framing::Chunked, 100)?;
        let used = decoder.take(bytes)?;
        let complete = decoder.is_complete();
        Ok((decoder.into_body(), used, complete))
    }

    /// Right bodies, with what follows them left alone.
    #[test]
    fn right_bodies() {
        let long = format!("{}4\r\nabcd\r\n0\r\n\r\n", "0".repeat(1_000));
        for (bytes, body) in [
            ("0\r\n\r\n", ""),
            ("4\r\nabcd\r\n0\r\n\r\n", "abcd"),
            ("2\r\nab\r\n2;x=y;z=\"q\"\r\ncd\r\n00\r\n\r\n", "abcd"),
            (
                "A\r\n0123456789\r\na \t;x\r\n0123456789\r\n0\r\n\r\n",
                "01234567890123456789",
            ),
            (
                "1;a;b=c;d=\"e\"\r\nx\r\n1 ; a = b\t;\tc = \"\\\"; \\\\ \u{e9}\" ;d\r\ny\r\n\
                 0\r\n\r\n",
                "xy",
            ),
            ("1\r\na\r\n0;last\r\nTrailer: x \t y\r\nB:\r\n\r\n", "a"),
            (&long, "abcd"),
        ] {
            let followed = format!("{bytes}GET /");
            assert_eq!(
                chunked(followed.as_bytes()),
                Ok((body.into(), bytes.len(), true)),
                "{bytes:?}"
            );
        }
    }

    /// Malformed chunks; each is refused at the byte that shows it.
    #[test]
    fn wrong_bodies() {
        let zeros = "0".repeat(EXTRA_BYTES + 2);
        let extension = format!("1;{}", "x".repeat(EXTRA_BYTES + 1));
        let trailer = format!("0\r\nA:{}", "x".repeat(EXTRA_BYTES + 1));
        for wrong in [
            "\r\n",
            "x",
            ";",
            " 1\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1\n",
            "1\r\r",
            "1 \r\n",
            "1 2",
            "1;\r\n",
            "1; \r\n",
            "1;;a\r\n",
            "1;=a\r\n",
            "1;a=\r\n",
            "1;a= \r\n",
            "1;a \r\n",
            "1;a b",
            "1;a=b c",
            "1;a=b \r\n",
            "1;a=b=c",
            "1;a=b\"",
            "1;a=\"b\r\n",
            "1;a=\"b\"c",
            "1;a=\"b\" \r\n",
            "1;a=\"b\\\r\n",
            "1;a=\"b\u{7f}",
            "1;\"a\"",
            "1;a,b",
            "1;a=b\u{e9}",
            "1;a\n",
            "1;a\0",
            "1;a\rb",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\n: a",
            "0\r\nA \r",
            "0\r\nA: b\n",
            "0\r\nA: \0",
            "0\r\nA\r",
            "0\r\n A: b",
            &zeros,
            &extension,
            &trailer,
        ] {
            assert_eq!(
                chunked(wrong.as_bytes()),
                Err(RefusalReason::Chunk),
                "{wrong:?}"
            );
        }
    }

    /// The limit holds for the sum of the chunks, and for sizes that no number holds.
    #[test]
    fn limits() {
        assert_eq!(chunked(b"65\r\n"), Err(RefusalReason::BodyTooLarge));
        assert_eq!(
            chunked(b"FFFFFFFFFFFFFFFFFFFFFFFF\r\n"),
            Err(RefusalReason::BodyTooLarge)
        );
        let full = format!("64\r\n{}\r\n", "x".repeat(100));
        assert_eq!(chunked(full.as_bytes()).map(|b| b.0.len()), Ok(100));
        assert_eq!(
            chunked(format!("{full}1\r\n").as_bytes()),
            Err(RefusalReason::BodyTooLarge)
        );
        assert_eq!(
            Decoder::new(Framing::Length(101), 100).map(|_| ()),
            Err(RefusalReason::BodyTooLarge)
        );
        assert_eq!(
            Decoder::new(Framing::Length(u64::MAX), 100).map(|_| ()),
            Err(RefusalReason::BodyTooLarge)
        );
    }

    /// A body of known length ends where it says, and an empty one at once.
    #[test]
    fn fixed() {
        let mut decoder = Decoder::new(Framing::Length(3), 3).expect("fits");
        assert_eq!((decoder.take(b"ab"), decoder.is_complete()), (Ok(2), false));
        assert_eq!((decoder.take(b"cd"), decoder.is_complete()), (Ok(1), true));
        assert_eq!(decoder.into_body(), b"abc");
        assert!(
            Decoder::new(Framing::Length(0), 3)
                .expect("fits")
                .is_complete()
        );
    }

    proptest! {
        /// A chunked body comes out as it went in, however it was chunked and however it is read.
        #[test]
        fn round_trip(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
            cut in 1_usize..9,
        ) {
            let mut encoded = Vec::new();
            for piece in &pieces {
                encoded.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                encoded.extend_from_slice(piece);
                encoded.extend_from_slice(b"\r\n");
            }
            encoded.extend_from_slice(b"0\r\n\r\n");
            let mut decoder = Decoder::new(Framing::Chunked, 1_000).expect("chunked");
            for part in encoded.chunks(cut) {
                prop_assert_eq!(decoder.take(part), Ok(part.len()));
            }
            prop_assert!(decoder.is_complete());
            prop_assert_eq!(decoder.into_body(), pieces.concat());
        }
    }
}
