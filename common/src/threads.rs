//! Named threads that are joined when their owner goes. A panic in any of them is a mistake of
//! ours, after which the state of the process cannot be trusted: it ends the process, non-zero, and
//! the other services take over.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A running thread. Dropping it waits for its end, so the owner must have triggered its stop.
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
///
/// All threads of ours have names. Those without one are tiny_http's: one for each connection, and
/// the acceptor. It panics when a caller was gone before its request was read, and when descriptors
/// or threads run out, which strangers can bring about. Such a panic ends that thread and what it
/// held, and concerns nobody else.
pub fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        if thread.name().is_none() {
            if !is_in_connection(info.location().map_or("", |location| location.file())) {
                ACCEPTOR_PANICS.fetch_add(1, Ordering::Relaxed);
            }
            // Strangers can cause any number of these; what matters is counted and logged by the
            // servers.
            tracing::debug!(what, place, "a thread of tiny_http ended");
            return;
        }
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        tracing::error!(thread, place, "panic: {what}");
        std::process::abort();
    }));
}

/// Panics that may have ended an acceptor of tiny_http, since the start.
static ACCEPTOR_PANICS: AtomicUsize = AtomicUsize::new(0);

/// Panics since the start that may have ended an acceptor of tiny_http, which does not report it.
pub fn acceptor_panics() -> usize {
    ACCEPTOR_PANICS.load(Ordering::Relaxed)
}

/// Whether a panic of tiny_http at this place is one of a connection's thread. Others are the
/// acceptor's, which duplicates the socket and starts the thread.
fn is_in_connection(file: &str) -> bool {
    let within = |part: &str| file.contains("tiny_http-") && file.ends_with(part);
    within("/src/client.rs") || within("/src/util/sequential.rs") || within("/src/request.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic over a caller's request asks for no new acceptor; one for want of a descriptor or a
    /// thread does.
    #[test]
    fn panics_of_an_acceptor_are_told_apart() {
        let tiny = "/x/tiny_http-0.12.0/src";
        assert!(is_in_connection(&format!("{tiny}/client.rs")));
        assert!(!is_in_connection(&format!(
            "{tiny}/util/refined_tcp_stream.rs"
        )));
        assert!(!is_in_connection("/rustc/x/library/std/src/thread/mod.rs"));
    }
}
