//! The stop of a service: SIGTERM or Ctrl-C, then every thread is told and joined.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select};
use parking_lot::Mutex;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::time::Duration;

/// A switch that is off until it is triggered, once, for ever. Clones share it; any thread can wait
/// on it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// Held until triggered: a closed channel wakes every waiter.
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
    #[must_use]
    pub fn new() -> Self {
        let (trigger, closed) = bounded(0);
        Self {
            trigger: Arc::new(Mutex::new(Some(trigger))),
            closed,
        }
    }

    /// Triggers it.
    pub fn trigger(&self) {
        self.trigger.lock().take();
    }

    /// Whether it was triggered.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.closed.try_recv().is_err_and(|e| e.is_disconnected())
    }

    /// Waits up to `timeout`; true when it was triggered.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        self.closed.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }

    /// The next item of a channel; `None` once triggered and the channel is empty, or when nobody
    /// sends any more.
    #[must_use]
    pub fn receive<T>(&self, channel: &Receiver<T>) -> Option<T> {
        // Without the first look, a stop with items left would pick one of the two at random.
        channel.try_recv().ok().or_else(|| {
            select! {
                recv(channel) -> item => item.ok(),
                recv(self.closed) -> _ => channel.try_recv().ok(),
            }
        })
    }

    /// The next item of a channel within `timeout`; `None` at the time-out and once triggered.
    #[must_use]
    pub fn receive_timeout<T>(&self, channel: &Receiver<T>, timeout: Duration) -> Option<T> {
        select! {
            recv(channel) -> item => item.ok(),
            recv(self.closed) -> _ => channel.try_recv().ok(),
            default(timeout) => None,
        }
    }

    /// A channel that is closed when it is triggered, for use in `select!`.
    #[must_use]
    pub fn channel(&self) -> Receiver<()> {
        self.closed.clone()
    }
}

/// Waits for SIGTERM or SIGINT and names it. Call it on the main thread, after everything was
/// started.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn wait_for_signal() -> std::io::Result<&'static str> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let signal = signals.forever().next();
    Ok(if signal == Some(SIGINT) {
        "SIGINT"
    } else {
        "SIGTERM"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
