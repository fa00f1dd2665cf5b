//! Named threads that are joined when their owner goes. A panic in any of them is a mistake of
//! ours, after which the state of the process cannot be trusted: it ends the process, non-zero, and
//! the other services take over.

use std::panic::PanicHookInfo;
use std::thread::JoinHandle;

/// A running thread. Dropping it waits for its end, so whoever owns it must have told it to stop.
#[derive(Debug)]
pub struct Thread {
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts a thread. Its name is cut to the 15 bytes that Linux shows.
    ///
    /// # Panics
    /// When the system has no thread left.
    #[must_use]
    pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Self {
        let handle = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .expect("the system starts a thread");
        Self {
            handle: Some(handle),
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else {
            return;
        };
        // The last owner of something that a thread shares may be that thread itself, which cannot
        // wait for its own end.
        if handle.thread().id() != std::thread::current().id()
            && handle.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a thread panicked");
        }
    }
}

/// Makes a panic in any thread of ours end the process, after one line in the log.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        if ends_one_connection(
            thread.name(),
            info.location().map_or("", |location| location.file()),
        ) {
            tracing::warn!(
                what,
                place,
                "a connection was given up: its caller was gone before its request was read"
            );
            return;
        }
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, place, "panic: {what}");
        std::process::abort();
    }));
}

/// tiny_http 0.12 unwraps the caller's address when it has read a request, in the (unnamed) thread
/// of that connection. A caller that connects, sends and resets before it is accepted has none.
/// That panic ends this one connection, as it should be, and concerns nobody else. tiny_http's
/// acceptor panics elsewhere, and then nobody can connect any more: that must end the process.
fn ends_one_connection(thread: Option<&str>, file: &str) -> bool {
    thread.is_none() && file.contains("tiny_http-") && file.ends_with("/src/client.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a panic of tiny_http in the thread of one connection is survived.
    #[test]
    fn what_is_survived() {
        assert!(ends_one_connection(
            None,
            "/x/tiny_http-0.12.0/src/client.rs"
        ));
        assert!(!ends_one_connection(
            None,
            "/x/tiny_http-0.12.0/src/util/refined_tcp_stream.rs"
        ));
        assert!(!ends_one_connection(
            Some("catalog-http0"),
            "/x/tiny_http-0.12.0/src/client.rs"
        ));
        assert!(!ends_one_connection(None, "common/src/http/client.rs"));
    }
}
