//! The stop of a program: on SIGTERM, Ctrl-C or SIGHUP (its terminal is gone) it triggers the
//! [`Shutdown`] that every thread watches, and joins them.
//!
//! A SIGHUP that was ignored when the program began stays ignored: that is how `nohup` asks it to
//! outlive its terminal. SIGINT and SIGTERM are heeded in any case: a shell ignores SIGINT in what
//! it starts with `&`, and `kill -INT` is meant all the same.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use parking_lot::Mutex;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A switch that is off until it is triggered, once, for ever. Clones share it; any thread can wait
/// on it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Held until triggered: dropping the sender closes the channel, which wakes every waiter, now
    /// and later.
    trigger: Arc<Mutex<Option<Sender<()>>>>,
    closed: Receiver<()>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A switch that is off.
    pub fn new() -> Self {
        // Nothing is ever sent: closing it is the signal.
        let (trigger, closed) = bounded(0);
        Self {
            trigger: Arc::new(Mutex::new(Some(trigger))),
            closed,
        }
    }

    /// Triggers it.
    pub fn trigger(&self) {
        // Again does nothing: any of several threads may trigger.
        self.trigger.lock().take();
    }

    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.closed.try_recv().is_err_and(|e| e.is_disconnected())
    }

    /// Waits up to `timeout`; true when it was triggered.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        // A time-out and a closed channel are both errors; only the second is the stop.
        self.closed.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// The next item of a channel; `None` once triggered and the channel is empty, or when nobody
    /// sends any more.
    pub fn receive<T>(&self, channel: &Receiver<T>) -> Option<T> {
        // Without the first look, a stop with items left would pick one of the two at random.
        channel.try_recv().ok().or_else(|| {
            select! {
                recv(channel) -> item => item.ok(),
                // An item that came with the stop is still taken: a stop drops none.
                recv(self.closed) -> _ => channel.try_recv().ok(),
            }
        })
    }

    /// The next item of a channel within `timeout`; `None` at the time-out and once triggered.
    pub fn receive_timeout<T>(&self, channel: &Receiver<T>, timeout: Duration) -> Option<T> {
        select! {
            recv(channel) -> item => item.ok(),
            recv(self.closed) -> _ => channel.try_recv().ok(),
            default(timeout) => None,
        }
    }

    /// A channel that is closed when it is triggered, for use in `select!`.
    pub fn channel(&self) -> Receiver<()> {
        self.closed.clone()
    }
}

/// Waits for a signal that stops a program, and names it. Call it on the main thread, after
/// everything was started.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn wait_for_signal() -> io::Result<&'static str> {
    let mut signals = Signals::new(stopping())?;
    Ok(name(signals.forever().next().unwrap_or(SIGTERM)))
}

/// A signal that stops a program which has more to do than to wait for it. A second one ends the
/// program at once.
#[derive(Debug)]
pub struct StopSignal {
    came: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
}

impl StopSignal {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let which = Arc::new(AtomicUsize::new(0));
        for signal in stopping() {
            // Before the flag is set, so that only the second signal finds it set.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&came))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&which), number)?;
            flag::register(signal, Arc::clone(&came))?;
        }
        Ok(Self { came, which })
    }

    /// The name of the signal, once it came.
    pub fn received(&self) -> Option<&'static str> {
        let which = i32::try_from(self.which.load(Ordering::Relaxed)).unwrap_or_default();
        self.came.load(Ordering::Relaxed).then(|| name(which))
    }
}

fn stopping() -> Vec<i32> {
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    [SIGINT, SIGTERM].into_iter().chain(hangup).collect()
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGHUP => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// Whether this process ignores a signal, as `/proc` says.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, signal)
}

fn ignores(status: &str, signal: i32) -> bool {
    // The mask of ignored signals as the kernel has it: asking by installing a handler would change
    // it.
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signals that a process ignores stand in a line that the kernel writes; a test ignores no
    /// SIGHUP.
    #[test]
    fn ignored_signals_are_found() {
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, SIGHUP) && !ignores(status, SIGINT));
        assert!(!ignores("", SIGHUP));
        assert_eq!(is_ignored(SIGHUP), !stopping().contains(&SIGHUP));
    }

    /// A trigger wakes a waiter at once and stays.
    #[test]
    fn wakes_and_stays() {
        let stop = Shutdown::new();
        assert!(!stop.is_triggered() && !stop.wait(Duration::from_millis(1)));
        let waiter = std::thread::spawn({
            let stop = stop.clone();
            move || stop.wait(Duration::from_secs(60))
        });
        stop.trigger();
        stop.trigger();
        assert!(waiter.join().expect("joins") && stop.is_triggered());
    }

    /// Items that are in a channel when the stop comes are still delivered.
    #[test]
    fn delivers_what_is_left() {
        let stop = Shutdown::new();
        let (sender, receiver) = bounded(2);
        sender.send(1).expect("has room");
        stop.trigger();
        assert_eq!(stop.receive(&receiver), Some(1));
        assert_eq!(stop.receive(&receiver), None);
        assert_eq!(
            stop.receive_timeout(&receiver, Duration::from_secs(60)),
            None
        );
    }
}
