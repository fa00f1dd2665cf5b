//! Waiting for a condition with a deadline. A fixed sleep would be too short on a slow machine and
//! too long on a quick one.

use std::thread::sleep;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(10);

/// Calls `condition` every 10 ms until it returns a value, at most for `timeout` and at least once.
pub fn until<T>(timeout: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    // First the condition, then the time: it is looked at once more at the deadline.
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        sleep(STEP.min(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The condition is called until it holds, and at least once.
    #[test]
    fn a_condition_is_called_until_it_holds_and_at_least_once() {
        let mut asked = 0;
        let third = until(Duration::from_secs(10), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(third, Some(3));
        assert_eq!(until(Duration::ZERO, || Some(1)), Some(1));
        assert_eq!(until(Duration::from_millis(1), || None::<u8>), None);
    }
}
