//! Clients as processes of their own, each a workload with one connection. They are told over
//! standard input when to end the trading, and write what they saw to standard output as one line
//! of JSON.

use super::bootstrap::SLICE_MS;
use client::stats::Kind;
use client::workload::{self, Acknowledged, Control, Options};
use cluster::process::{dying_with_us, spawn};
use common::clock::BootInstant;
use common::terminal::complain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

/// Told: end the trading, and read every order back.
const CHECK: &str = "check";
/// Told: the same, and begin again with reading back until standard input ends.
const CHECK_ON: &str = "check on";

/// What one client does.
#[derive(Debug, Clone)]
pub struct Task {
    /// The front-end.
    pub url: String,
    /// How probable a trade follows a lookup.
    pub probability: f64,
    /// What stocks, sides and quantities are drawn from; client i adds i.
    pub seed: u64,
}

/// One success: kind, µs since boot when it began, ns that it took.
pub type Timed = (Kind, u64, u64);

/// What one client saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Its successes, in their sequence.
    pub samples: Vec<Timed>,
    /// Orders that were acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// Acknowledged orders that read back differently, in sentences.
    pub mismatches: Vec<String>,
    /// Attempts repeated, requests given up, wrong answers.
    pub failures: Failures,
    /// Whether it noticed a failure while it traded.
    pub noticed_during_orders: bool,
    /// Whether it noticed a failure while it read back.
    pub noticed_in_final_check: bool,
}

/// What clients had to bear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// Attempts repeated.
    pub retries: u64,
    /// Requests given up.
    pub unanswered: u64,
    /// Wrong answers.
    pub unexpected: u64,
}

/// Microseconds since boot, on the clock of all samples.
#[must_use]
pub fn now_us() -> u64 {
    u64::try_from(
        BootInstant::now()
            .saturating_since(BootInstant::BOOT)
            .as_micros(),
    )
    .unwrap_or(u64::MAX)
}

/// The worker's side: trades until it is told to check, and prints what it saw.
///
/// # Errors
/// When there is no bazaar, or nobody reads.
pub fn work(task: &Task) -> Result<(), String> {
    let options = Options {
        probability: task.probability,
        iterations: u64::MAX,
        seed: task.seed,
        keep_samples: true,
        ..Options::new(&task.url)
    };
    let control = Control::default();
    let outcome = thread::scope(|scope| {
        // Ends with standard input, which the evaluation closes in any case.
        scope.spawn(|| listen(&control));
        let outcome = workload::run(&options, &control);
        if let Err(error) = &outcome {
            // Nobody may have closed standard input yet, and the thread above waits for that.
            complain(&format!("eval worker: {error}"));
            std::process::exit(1);
        }
        outcome
    })?;
    let of_all = |count: fn(&client::stats::Figures) -> u64| {
        Kind::ALL
            .into_iter()
            .map(|kind| count(outcome.stats.of(kind)))
            .sum()
    };
    let timed = |sample: &workload::Sample| {
        let began = sample.began.saturating_since(BootInstant::BOOT).as_micros();
        let (began, took) = (u64::try_from(began), u64::try_from(sample.took.as_nanos()));
        (
            sample.kind,
            began.unwrap_or(u64::MAX),
            took.unwrap_or(u64::MAX),
        )
    };
    let seen = Seen {
        samples: outcome.samples.iter().map(timed).collect(),
        failures: Failures {
            retries: of_all(|figures| figures.retries),
            unanswered: of_all(|figures| figures.unanswered),
            unexpected: of_all(|figures| figures.unexpected),
        },
        acknowledged: outcome.acknowledged,
        mismatches: outcome.mismatches,
        noticed_during_orders: outcome.noticed_during_orders,
        noticed_in_final_check: outcome.noticed_in_final_check,
    };
    let text = serde_json::to_string(&seen).map_err(|e| e.to_string())?;
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| e.to_string())
}

fn listen(control: &Control) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        control.check_again(line == CHECK_ON);
        control.stop_trading();
    }
    control.check_again(false);
    control.stop_trading();
}

/// Several clients at once. Dropped before its end, it kills them.
#[derive(Debug)]
pub struct Crew(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    child: Child,
    out: File,
}

impl Crew {
    /// Starts so many clients.
    ///
    /// # Errors
    /// When the system refuses a process.
    pub fn start(clients: usize, task: &Task) -> Result<Self, String> {
        let own =
            std::env::current_exe().map_err(|e| format!("cannot find the own binary: {e}"))?;
        let mut crew = Self(Vec::new());
        for client in 0..clients {
            let start = || -> io::Result<Worker> {
                // A file, not a pipe: a worker is never held up by who reads late.
                let out = tempfile::tempfile()?;
                let mut command = dying_with_us(&own);
                command.args([
                    "worker",
                    "--url",
                    &task.url,
                    "--probability",
                    &task.probability.to_string(),
                ]);
                command.args(["--seed", &task.seed.wrapping_add(client as u64).to_string()]);
                command.stdin(Stdio::piped()).stdout(out.try_clone()?);
                Ok(Worker {
                    child: spawn(command)?,
                    out,
                })
            };
            crew.0
                .push(start().map_err(|e| format!("cannot start a client: {e}"))?);
        }
        Ok(crew)
    }

    /// Tells all to end the trading and to read their orders back; with `on`, again and again until
    /// [`Crew::finish`].
    ///
    /// # Errors
    /// When one has died.
    pub fn check(&mut self, on: bool) -> Result<(), String> {
        for worker in &mut self.0 {
            let stdin = worker
                .child
                .stdin
                .as_mut()
                .expect("it was piped and is open until the end");
            writeln!(stdin, "{}", if on { CHECK_ON } else { CHECK })
                .map_err(|e| format!("a client has died: {e}"))?;
        }
        Ok(())
    }

    /// Waits until all have read their orders back; gives what each saw.
    ///
    /// # Errors
    /// When one failed.
    pub fn finish(mut self) -> Result<Vec<Seen>, String> {
        for worker in &mut self.0 {
            drop(worker.child.stdin.take());
        }
        self.0.iter_mut().map(Worker::end).collect()
    }
}

impl Worker {
    fn end(&mut self) -> Result<Seen, String> {
        let status = self
            .child
            .wait()
            .map_err(|e| format!("a client was lost: {e}"))?;
        if !status.success() {
            return Err(format!("a client failed: {status}"));
        }
        self.out
            .seek(SeekFrom::Start(0))
            .map_err(|e| format!("a client's figures cannot be read: {e}"))?;
        serde_json::from_reader(BufReader::new(&self.out))
            .map_err(|e| format!("a client's figures: {e}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a crew saw in a plain run.
#[derive(Debug)]
pub struct Run {
    /// By client.
    pub seen: Vec<Seen>,
    /// When all had begun and were warm, µs since boot.
    pub from_us: u64,
    /// When the trading was ended.
    pub to_us: u64,
}

/// Lets clients trade for a time, and read back. `wait` passes the time.
///
/// # Errors
/// When a client failed.
pub fn run(
    clients: usize,
    task: &Task,
    trade: Duration,
    wait: impl FnOnce(Duration),
) -> Result<Run, String> {
    let mut crew = Crew::start(clients, task)?;
    wait(trade);
    let to_us = now_us();
    crew.check(false)?;
    let seen = crew.finish()?;
    let first = |seen: &Seen| seen.samples.first().map_or(to_us, |sample| sample.1);
    let all_began = seen.iter().map(first).max().unwrap_or(to_us);
    // The first tenth counts as warm-up: connections, an empty cache after a restart.
    Ok(Run {
        from_us: all_began + to_us.saturating_sub(all_began) / 10,
        to_us,
        seen,
    })
}

impl Run {
    /// Times (ns) of one client and kind, by the slice of time in which they began: while all
    /// traded, or for queries while it read back.
    #[must_use]
    pub fn times(&self, client: usize, kind: Kind) -> BTreeMap<u64, Vec<u64>> {
        let counts =
            |began: u64| kind == Kind::OrderQuery || (self.from_us..self.to_us).contains(&began);
        let mut slices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (_, began, took) in self.seen[client]
            .samples
            .iter()
            .filter(|(k, began, _)| *k == kind && counts(*began))
        {
            slices
                .entry(began / (SLICE_MS * 1_000))
                .or_default()
                .push(*took);
        }
        slices
    }
}
