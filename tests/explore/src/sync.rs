//! Locks and wake-ups in the shapes that the product uses.

use crate::world::{self, Bed};
use shuttle::sync::{Arc, Mutex as ShuttleMutex, MutexGuard as ShuttleGuard};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

/// Like `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(ShuttleMutex<T>);

/// Like `parking_lot::MutexGuard`.
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Empty only inside a wait.
    held: Option<ShuttleGuard<'a, T>>,
}

impl<T> Mutex<T> {
    /// An open lock.
    pub fn new(value: T) -> Self {
        Self(ShuttleMutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            held: Some(self.0.lock().expect("no thread panicked")),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("held outside a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held outside a wait")
    }
}

/// Like `parking_lot::Condvar`.
#[derive(Debug, Default)]
pub struct Condvar(ShuttleMutex<Vec<Bed>>);

/// Like `parking_lot::WaitTimeoutResult`.
#[derive(Debug, Clone, Copy)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the deadline ended the wait.
    pub fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Nobody waits.
    pub fn new() -> Self {
        Self::default()
    }

    fn waiting(&self) -> ShuttleGuard<'_, Vec<Bed>> {
        self.0.lock().expect("no thread panicked")
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(world::wake);
    }

    /// Waits for a notification.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_at_most(guard, None);
    }

    /// Waits for a notification, at most until `deadline`.
    pub fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_at_most(guard, Some(deadline))
    }

    /// Waits for a notification, at most for `timeout`.
    pub fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait_at_most(guard, Some(world::now() + timeout))
    }

    fn wait_at_most<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        until: Option<Instant>,
    ) -> WaitTimeoutResult {
        let bed = world::bed();
        // Before the lock is let go: a notification in between finds this thread waiting.
        self.waiting().push(bed);
        guard.held = None;
        let woken = world::lie(bed, until);
        self.waiting().retain(|other| *other != bed);
        guard.held = Some(guard.mutex.0.lock().expect("no thread panicked"));
        WaitTimeoutResult(!woken)
    }
}

/// Like `crossbeam::sync::Parker`.
pub struct Parker(Unparker);

/// Like `crossbeam::sync::Unparker`.
#[derive(Clone)]
pub struct Unparker(Arc<Bed>);

impl Parker {
    /// A parker without a wake-up in it.
    pub fn new() -> Self {
        Self(Unparker(Arc::new(world::bed())))
    }

    /// Its other side.
    pub fn unparker(&self) -> &Unparker {
        &self.0
    }

    /// Sleeps until woken.
    pub fn park(&self) {
        world::lie(*self.0.0, None);
    }

    /// Sleeps until woken, at most until `deadline`.
    pub fn park_deadline(&self, deadline: Instant) {
        world::lie(*self.0.0, Some(deadline));
    }
}

impl Default for Parker {
    fn default() -> Self {
        Self::new()
    }
}

impl Unparker {
    /// Wakes the parker's thread, or lets its next sleep end at once.
    pub fn unpark(&self) {
        world::wake(*self.0);
    }
}
