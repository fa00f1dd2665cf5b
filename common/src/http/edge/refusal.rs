//! The reasons for which the edge itself refuses a request or gives a connection up: status, label
//! for the counters, and a sentence for a person.

use super::limits::Limits;

/// A reason of the edge's own; handlers have theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The request line is none.
    RequestLine,
    /// A header field is malformed: bare CR or LF, NUL, blank before the colon, folded line.
    Field,
    /// Host is missing, given twice, or no host; or the target names a host that is none.
    Host,
    /// The target asks for https, which this port does not speak (RFC 9110 section 7.4).
    Misdirected,
    /// Content-Length and Transfer-Encoding contradict each other or themselves: two recipients
    /// could see different ends of the request.
    Framing,
    /// A chunk is malformed.
    Chunk,
    /// The client ended its side within a request.
    Incomplete,
    /// The head took too long.
    HeadTimeout,
    /// The body took too long.
    BodyTimeout,
    /// The body is too large.
    BodyTooLarge,
    /// Too many large bodies at once.
    BodyBudget,
    /// Too many large responses wait to be read.
    OutputBudget,
    /// The target is too long.
    TargetTooLong,
    /// An expectation other than `100-continue`.
    Expectation,
    /// Head too large.
    HeadTooLarge,
    /// Too many fields.
    TooManyFields,
    /// A method that is not known here.
    Method,
    /// A transfer coding other than chunked.
    TransferCoding,
    /// Another major version of HTTP.
    Version,
    /// Too many connections.
    Crowded,
    /// Too many connections, refused ones included: closed without a response.
    Overrun,
    /// The client does not read its responses.
    Unread,
    /// Idle for longer than allowed.
    Idle,
    /// A subscriber that does not keep up with its feed.
    Slow,
}

impl RefusalReason {
    /// Every reason, in the order of the declaration, by which the counters are indexed.
    pub const ALL: [Self; 24] = [
        Self::RequestLine,
        Self::Field,
        Self::Host,
        Self::Misdirected,
        Self::Framing,
        Self::Chunk,
        Self::Incomplete,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::BodyBudget,
        Self::OutputBudget,
        Self::TargetTooLong,
        Self::Expectation,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::Method,
        Self::TransferCoding,
        Self::Version,
        Self::Crowded,
        Self::Overrun,
        Self::Unread,
        Self::Idle,
        Self::Slow,
    ];

    /// The status of the refusal. [`Self::Overrun`], [`Self::Unread`], [`Self::Idle`] and
    /// [`Self::Slow`] end a connection without a response; theirs would be 503 or 408.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLine
            | Self::Field
            | Self::Host
            | Self::Framing
            | Self::Chunk
            | Self::Incomplete => 400,
            Self::HeadTimeout | Self::BodyTimeout | Self::Unread | Self::Idle | Self::Slow => 408,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::Misdirected => 421,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            // Not 405: that means a path that takes other methods, and these are known nowhere
            // here.
            Self::Method | Self::TransferCoding => 501,
            // The client did nothing wrong: it may come back.
            Self::BodyBudget | Self::OutputBudget | Self::Crowded | Self::Overrun => 503,
            Self::Version => 505,
        }
    }

    /// Its label in the counters.
    pub fn label(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line",
            Self::Field => "field",
            Self::Host => "host",
            Self::Misdirected => "misdirected",
            Self::Framing => "framing",
            Self::Chunk => "chunk",
            Self::Incomplete => "incomplete",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyBudget => "body_budget",
            Self::OutputBudget => "output_budget",
            Self::TargetTooLong => "target_too_long",
            Self::Expectation => "expectation",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::Method => "method",
            Self::TransferCoding => "transfer_coding",
            Self::Version => "version",
            Self::Crowded => "crowded",
            Self::Overrun => "overrun",
            Self::Unread => "unread",
            Self::Idle => "idle",
            Self::Slow => "slow_subscriber",
        }
    }

    /// The message in the response.
    pub fn message(self, limits: &Limits) -> String {
        match self {
            Self::RequestLine => "the request line is malformed".into(),
            Self::Field => "a header field is malformed".into(),
            Self::Host => "the request names no host, or more than one".into(),
            Self::Misdirected => {
                "the target asks for https, and this port speaks http without TLS: write http://, \
                 or only the path"
                    .into()
            }
            Self::Framing => {
                "Content-Length and Transfer-Encoding do not say where the request ends".into()
            }
            Self::Chunk => "the chunked body is malformed".into(),
            Self::Incomplete => "the request ended early".into(),
            Self::HeadTimeout => format!(
                "the head did not arrive within {} ms",
                limits.head_timeout.as_millis()
            ),
            Self::BodyTimeout => format!(
                "the body did not arrive within {} ms",
                limits.body_timeout.as_millis()
            ),
            Self::BodyTooLarge => format!("the body is larger than {} bytes", limits.body_bytes),
            Self::BodyBudget => "there are too many large bodies at once; try again".into(),
            Self::OutputBudget => format!(
                "large answers that others do not read fill the {} bytes kept for them; try again",
                limits.output_budget_bytes
            ),
            Self::TargetTooLong => format!(
                "the request target is longer than {} bytes",
                limits.target_bytes
            ),
            Self::Expectation => "the only expectation that is met here is 100-continue".into(),
            Self::HeadTooLarge => format!("the head is larger than {} bytes", limits.head_bytes),
            Self::TooManyFields => format!("there are more than {} header fields", limits.fields),
            Self::Method => "this method is not known here".into(),
            Self::TransferCoding => "the only transfer coding that is known here is chunked".into(),
            Self::Version => "this server speaks HTTP/1.1: let the client use that \
                              (curl --http1.1), or put a proxy in front"
                .into(),
            Self::Crowded | Self::Overrun => "there are too many connections; try again".into(),
            Self::Unread => "the answer was not read".into(),
            Self::Idle => "the connection was idle".into(),
            Self::Slow => "the feed was not read in time".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Counters are kept by position: the list follows the declaration, and no two share a label.
    #[test]
    fn positions_and_labels() {
        for (at, reason) in RefusalReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{reason:?}");
        }
        assert_eq!(
            RefusalReason::ALL
                .iter()
                .map(|r| r.label())
                .collect::<BTreeSet<_>>()
                .len(),
            RefusalReason::ALL.len()
        );
    }
}
