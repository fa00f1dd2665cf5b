//! A bounded queue between the threads that take requests and the threads that do the slow part. A
//! full queue refuses at once, so that slow work never delays quick answers.
//!
//! A channel of crossbeam does the waiting: an item wakes one waiting receiver, and a busy receiver
//! finds it at its next look. No flag beside the channel can contradict it, so no wake-up is lost.

use crate::shutdown::Shutdown;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::time::Duration;

/// The sending side; clones share it.
#[derive(Debug)]
pub struct Queue<T>(Sender<T>);

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The receiving side; clones share the work.
#[derive(Debug)]
pub struct QueueReceiver<T>(Receiver<T>);

impl<T> Clone for QueueReceiver<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The outcome of a wait with a time-out.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// Items.
    Batch(Vec<T>),
    /// No item came within the time.
    Nothing,
    /// The service stops, and none is left.
    Ended,
}

/// A queue for at most `bound` waiting items.
pub fn queue<T>(bound: usize) -> (Queue<T>, QueueReceiver<T>) {
    // Bounded: without it a service that cannot keep up would take ever more memory, and answer
    // ever later.
    let (sender, receiver) = bounded(bound);
    (Queue(sender), QueueReceiver(receiver))
}

impl<T> Queue<T> {
    /// Puts an item in.
    ///
    /// # Errors
    /// The item itself, when the queue is full or nobody reads it any more: answer 503.
    pub fn put(&self, item: T) -> Result<(), T> {
        // Never waits: see the module. The item comes back whole, so that its sender can answer it.
        self.0.try_send(item).map_err(|e| match e {
            TrySendError::Full(item) | TrySendError::Disconnected(item) => item,
        })
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> QueueReceiver<T> {
    /// Waits for an item, then takes the others that wait, up to `cap` in all. `None` once the
    /// service stops and the queue is empty: a stop drops no item.
    #[must_use]
    pub fn take_batch(&self, cap: usize, stop: &Shutdown) -> Option<Vec<T>> {
        // Waits for the first alone. Under load the others are there already, and no timer is
        // needed to collect them.
        let first = stop.receive(&self.0)?;
        Some(self.with_waiting(first, cap))
    }

    /// As [`Self::take_batch`], but waits for `timeout` at most.
    #[must_use]
    pub fn take_batch_within(&self, cap: usize, stop: &Shutdown, timeout: Duration) -> Taken<T> {
        match stop.receive_timeout(&self.0, timeout) {
            Some(first) => Taken::Batch(self.with_waiting(first, cap)),
            // In this order: an item that came with the stop is still served.
            None if stop.is_triggered() => Taken::Ended,
            None => Taken::Nothing,
        }
    }

    fn with_waiting(&self, first: T, cap: usize) -> Vec<T> {
        let mut batch = vec![first];
        while batch.len() < cap {
            match self.0.try_recv() {
                Ok(item) => batch.push(item),
                // Empty, or no sender is left; the next wait tells which.
                Err(_) => break,
            }
        }
        batch
    }

    /// The underlying channel, to wait on it among others.
    pub fn receiver(&self) -> &Receiver<T> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items leave in order, at most `cap` at once; a full queue refuses; a stopped one is drained
    /// to its end.
    #[test]
    fn bounded_and_drained() {
        let stop = Shutdown::new();
        let (sender, receiver) = queue(5);
        for n in 0..5 {
            assert_eq!(sender.put(n), Ok(()));
        }
        assert_eq!(sender.put(9), Err(9));
        assert_eq!(receiver.take_batch(3, &stop), Some(vec![0, 1, 2]));
        stop.trigger();
        assert_eq!(receiver.take_batch(3, &stop), Some(vec![3, 4]));
        assert_eq!(receiver.take_batch(3, &stop), None);
        let brief = Duration::from_millis(1);
        assert_eq!(receiver.take_batch_within(3, &stop, brief), Taken::Ended);
        let goes_on = Shutdown::new();
        assert_eq!(
            receiver.take_batch_within(3, &goes_on, brief),
            Taken::Nothing
        );
        assert_eq!(sender.put(7), Ok(()));
        assert_eq!(
            receiver.take_batch_within(3, &goes_on, brief),
            Taken::Batch(vec![7])
        );
        assert!(sender.is_empty());
    }
}
