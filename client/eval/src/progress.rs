//! Progress of a long run: a bar with the time left on a terminal, a line per step elsewhere.

use common::terminal::complain;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

/// How often the bar moves while time passes.
const TICK: Duration = Duration::from_millis(200);

/// Progress of a run whose steps have estimated times.
#[derive(Debug)]
pub struct Progress {
    total: Duration,
    /// Sum of the estimates of the finished steps.
    done: Duration,
    present: Duration,
    began: Instant,
    step_began: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins a run with this estimate.
    pub fn new(total: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(millis(total)), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = Instant::now();
        Self {
            total,
            done: Duration::ZERO,
            present: Duration::ZERO,
            began: now,
            step_began: now,
            bar,
        }
    }

    /// Begins the next step, with its estimate.
    pub fn step(&mut self, what: &str, estimate: Duration) {
        self.done += self.present;
        (self.present, self.step_began) = (estimate, Instant::now());
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            self.show(what);
        } else {
            let percent = millis(self.done) * 100 / millis(self.total).max(1);
            complain(&format!(
                "{:>3} %  {} left  {what}",
                percent.min(100),
                clock(self.left())
            ));
        }
    }

    /// Lets time pass while the clients work, and moves the bar.
    pub fn wait(&self, what: &str, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.show(what);
            thread::sleep(TICK.min(left));
        }
    }

    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        complain(&format!("measured in {}", clock(self.began.elapsed())));
    }

    fn show(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(millis(
                self.done + self.step_began.elapsed().min(self.present),
            ));
            bar.set_message(format!("{} left  {what}", clock(self.left())));
        }
    }

    /// The time left: the estimates, corrected by the times of the finished steps.
    fn left(&self) -> Duration {
        let left = self
            .total
            .saturating_sub(self.done + self.step_began.elapsed().min(self.present));
        corrected(left, self.done, self.step_began.duration_since(self.began))
    }
}

/// Scales an estimate by the error of the earlier ones. Below ten seconds of them the error says
/// too little.
fn corrected(left: Duration, estimated: Duration, took: Duration) -> Duration {
    if estimated < Duration::from_secs(10) {
        return left;
    }
    left.mul_f64(took.as_secs_f64() / estimated.as_secs_f64())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time left is corrected by the earlier steps; a clock has minutes and seconds.
    #[test]
    fn time_left() {
        let s = Duration::from_secs;
        assert_eq!(corrected(s(60), s(5), s(50)), s(60), "too little is known");
        assert_eq!(corrected(s(60), s(20), s(40)), s(120));
        assert_eq!(clock(s(125)), "2:05");
    }
}
