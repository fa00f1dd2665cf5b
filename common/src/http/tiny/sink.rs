//! The way of a response through tiny_http: head and body in one write, because its own writer
//! splits them.

use super::super::{Response, ResponseSink, reason_phrase};
use std::io::Write;

/// A request that is to be answered.
pub struct TinySink {
    /// The request, whose body is read.
    pub request: tiny_http::Request,
    /// It was HEAD.
    pub head_only: bool,
    /// The connection ends with the sink.
    pub close: bool,
    /// The caller speaks HTTP/1.0.
    pub http_1_0: bool,
    /// The trace id.
    pub trace: String,
}

impl ResponseSink for TinySink {
    fn send(self: Box<Self>, response: Response) {
        // One buffer, so that head and body leave in one write: tiny_http's own writer splits them,
        // and the caller would wake twice.
        let mut bytes = Vec::with_capacity(256 + response.body.len());
        let connection = match (self.close, self.http_1_0) {
            (true, _) => "Connection: close\r\n",
            (false, true) => "Connection: keep-alive\r\n",
            (false, false) => "",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            bytes,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: {}\r\n{connection}",
            response.status,
            reason_phrase(response.status),
            response.content_type,
            response.body.len(),
            response.cache_control(),
        );
        // A cache gives one response to many: the trace id would disclose the first one's request.
        if !response.is_shared() {
            let _ = write!(bytes, "X-Request-Id: {}\r\n", self.trace);
        }
        let written = |name: &str| name.eq_ignore_ascii_case("cache-control");
        for (name, value) in response.headers.iter().filter(|(name, _)| !written(name)) {
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if !self.head_only {
            bytes.extend_from_slice(&response.body);
        }
        // Trap: `respond` would go through its 1 KB buffer, and turn bodies of 32 KB into chunks.
        let mut writer = self.request.into_writer();
        // The caller has gone, or did not read in time. Its outcome is known here all the same.
        if let Err(error) = writer.write_all(&bytes).and_then(|()| writer.flush()) {
            tracing::debug!(%error, trace = self.trace, "answer not delivered");
        }
    }
}
