//! The clock of a run, and who sleeps.

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Arc, Mutex, MutexGuard};
use shuttle::thread::Thread;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A place to sleep. A wake-up that comes before the sleep counts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bed(u64);

type Check = Box<dyn Fn(Instant, Instant) + Send>;

#[derive(Default)]
struct State {
    passed: Duration,
    /// Threads that do not sleep.
    awake: usize,
    sleepers: BTreeMap<Bed, Sleeper>,
    /// Wake-ups that came before their sleep.
    tokens: BTreeSet<Bed>,
    beds: u64,
    checks: Vec<Check>,
}

struct Sleeper {
    until: Option<Instant>,
    thread: Thread,
}

shuttle::lazy_static! {
    static ref WORLD: Mutex<State> = Mutex::new(State::default());
}

/// How often a look at the clock finds that time has passed: once in so many.
const DRIFT: u32 = 8;
/// How much has passed then, at most, in microseconds.
const DRIFT_US: u64 = 100;

fn world() -> MutexGuard<'static, State> {
    WORLD.lock().expect("no thread panicked")
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl State {
    fn now(&self) -> Instant {
        start() + self.passed
    }

    fn move_to(&mut self, now: Instant) {
        self.passed = now.duration_since(start());
        let due = |(bed, sleeper): (&Bed, &Sleeper)| {
            sleeper.until.is_some_and(|at| at <= now).then_some(*bed)
        };
        let due: Vec<Bed> = self.sleepers.iter().filter_map(due).collect();
        due.into_iter().for_each(|bed| self.get_up(bed));
    }

    fn get_up(&mut self, bed: Bed) {
        if let Some(sleeper) = self.sleepers.remove(&bed) {
            self.awake += 1;
            sleeper.thread.unpark();
        }
    }

    /// One thread fewer is awake. The last one moves the clock.
    fn lie_down(&mut self) {
        self.awake -= 1;
        if self.awake > 0 {
            return;
        }
        let now = self.now();
        let next = self.sleepers.values().filter_map(|s| s.until).min();
        let next = next.expect("all threads sleep and none has a deadline: a wake-up was lost");
        self.checks.iter().for_each(|check| check(now, next));
        self.move_to(next);
    }
}

pub(crate) fn bed() -> Bed {
    let mut world = world();
    world.beds += 1;
    Bed(world.beds)
}

/// Sleeps until [`wake`], or `until`. Returns whether it was the former.
pub(crate) fn lie(bed: Bed, until: Option<Instant>) -> bool {
    let mut world = world();
    if world.tokens.remove(&bed) {
        return true;
    }
    if until.is_some_and(|at| at <= world.now()) {
        return false;
    }
    let thread = shuttle::thread::current();
    world.sleepers.insert(bed, Sleeper { until, thread });
    world.lie_down();
    while world.sleepers.contains_key(&bed) {
        drop(world);
        shuttle::thread::park();
        world = self::world();
    }
    world.tokens.remove(&bed)
}

pub(crate) fn wake(bed: Bed) {
    let mut world = world();
    world.tokens.insert(bed);
    world.get_up(bed);
}

/// The virtual time. Looking at it may let a little of it pass.
pub fn now() -> Instant {
    let drift = thread_rng().gen_ratio(1, DRIFT);
    let mut world = world();
    if drift {
        let now = world.now() + Duration::from_micros(thread_rng().gen_range(0..DRIFT_US));
        world.move_to(now);
    }
    world.now()
}

/// A random number below `limit`; the schedule repeats it.
pub fn random(limit: u64) -> u64 {
    thread_rng().gen_range(0..limit)
}

/// Lets virtual time pass for this thread.
pub fn sleep(time: Duration) {
    let until = now() + time;
    lie(bed(), Some(until));
}

/// Has `check` called whenever all threads sleep, with the time, and the time at which the first of
/// them will wake. It must not look at the clock.
pub fn when_all_sleep(check: impl Fn(Instant, Instant) + Send + 'static) {
    world().checks.push(Box::new(check));
}

/// A thread of a scenario.
pub struct JoinHandle<T> {
    result: Arc<Mutex<Option<T>>>,
    done: Bed,
}

/// Starts a thread of a scenario. Its end is waited for by [`JoinHandle::join`].
pub fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (result, done) = (Arc::new(Mutex::new(None)), bed());
    world().awake += 1;
    shuttle::thread::spawn({
        let result = Arc::clone(&result);
        move || {
            let value = run();
            *result.lock().expect("no thread panicked") = Some(value);
            wake(done);
            let mut world = world();
            // The last thread to end leaves no thread for which time could pass.
            if world.awake > 1 || !world.sleepers.is_empty() {
                world.lie_down();
            }
        }
    });
    JoinHandle { result, done }
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end.
    pub fn join(self) -> T {
        lie(self.done, None);
        let mut result = self.result.lock().expect("no thread panicked");
        result.take().expect("a thread that has ended")
    }
}

pub(crate) fn run(scenario: impl Fn()) {
    world().awake = 1;
    scenario();
    let world = world();
    assert!(
        world.sleepers.is_empty(),
        "the scenario joined all its threads"
    );
}
