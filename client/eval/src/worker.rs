//! Clients as processes of their own, so that they share no lock and no allocator. Each runs one
//! workload over one connection. A line on standard input ends the trading; at its end a worker
//! writes its report to standard output as one line of JSON.

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

/// Line that ends the trading: the worker reads every order back.
const CHECK: &str = "check";
/// Line that does the same, but the worker repeats reading back until standard input ends.
const CHECK_ON: &str = "check on";

/// The work of one client.
#[derive(Debug, Clone)]
pub struct Task {
    pub url: String,
    pub probability: f64,
    /// Seed of stocks, sides and quantities; client i adds i.
    pub seed: u64,
}

/// One success.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    pub kind: Kind,
    /// Microseconds since boot.
    pub began_us: u64,
    pub took_ns: u64,
}

impl Sample {
    /// Time of the answer, in microseconds since boot.
    pub fn ended_us(&self) -> u64 {
        self.began_us + self.took_ns / 1_000
    }
}

/// The report of one client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Successes, in their sequence.
    pub samples: Vec<Sample>,
    pub acknowledged: Vec<Acknowledged>,
    /// Acknowledged orders that read back differently, each in a sentence.
    pub mismatches: Vec<String>,
    pub failures: Failures,
    pub noticed_during_orders: bool,
    pub noticed_in_final_check: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    pub retries: u64,
    pub unanswered: u64,
    pub unexpected: u64,
}

/// Microseconds since boot, on the clock of all samples.
pub fn now_us() -> u64 {
    us_since_boot(BootInstant::now())
}

fn us_since_boot(instant: BootInstant) -> u64 {
    let since_boot = instant.saturating_since(BootInstant::BOOT).as_micros();
    u64::try_from(since_boot).unwrap_or(u64::MAX)
}

/// The worker's side: trades until a line comes on standard input, reads back, and prints its
/// report.
///
/// # Errors
/// When no bazaar answers, or standard output is closed.
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
        // Ends with standard input, which the evaluation closes even when it fails.
        scope.spawn(|| listen(&control));
        let outcome = workload::run(&options, &control);
        if let Err(error) = &outcome {
            // The scope would wait for the thread above, and standard input may still be open.
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
    let timed = |sample: &workload::Sample| Sample {
        kind: sample.kind,
        began_us: us_since_boot(sample.began),
        took_ns: u64::try_from(sample.took.as_nanos()).unwrap_or(u64::MAX),
    };
    let seen = WorkerReport {
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

/// Several clients at once. Dropping them before their end kills them.
#[derive(Debug)]
pub struct Workers(Vec<Worker>);

/// How often the clients read their orders back.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    Once,
    /// Again and again, until [`Workers::finish`].
    UntilFinish,
}

#[derive(Debug)]
struct Worker {
    child: Child,
    out: File,
}

impl Workers {
    /// Starts so many clients.
    pub fn start(clients: usize, task: &Task) -> Result<Self, String> {
        let own = std::env::current_exe()
            .map_err(|e| format!("cannot find this program's own binary: {e}"))?;
        let mut workers = Self(Vec::new());
        for client in 0..clients {
            let start = || -> io::Result<Worker> {
                // A file, not a pipe: a full pipe would block a worker.
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
            workers
                .0
                .push(start().map_err(|e| format!("cannot start a client: {e}"))?);
        }
        Ok(workers)
    }

    /// Ends the trading of all clients, which then read their orders back.
    pub fn check(&mut self, times: Check) -> Result<(), String> {
        for worker in &mut self.0 {
            let stdin = worker
                .child
                .stdin
                .as_mut()
                .expect("it was piped and is open until the end");
            let line = match times {
                Check::Once => CHECK,
                Check::UntilFinish => CHECK_ON,
            };
            writeln!(stdin, "{line}").map_err(|e| format!("a client has died: {e}"))?;
        }
        Ok(())
    }

    /// Waits until all clients have read their orders back, and returns their reports.
    pub fn finish(mut self) -> Result<Vec<WorkerReport>, String> {
        for worker in &mut self.0 {
            drop(worker.child.stdin.take());
        }
        self.0.iter_mut().map(Worker::end).collect()
    }
}

impl Worker {
    fn end(&mut self) -> Result<WorkerReport, String> {
        let status = self
            .child
            .wait()
            .map_err(|e| format!("cannot wait for a client: {e}"))?;
        if !status.success() {
            return Err(format!("a client failed: {status}"));
        }
        self.out
            .seek(SeekFrom::Start(0))
            .map_err(|e| format!("a client's report cannot be read: {e}"))?;
        serde_json::from_reader(BufReader::new(&self.out))
            .map_err(|e| format!("a client's report is not understood: {e}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both calls fail only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
pub struct Run {
    pub seen: Vec<WorkerReport>,
    /// End of the warm-up of all clients, µs since boot.
    pub from_us: u64,
    /// End of the trading, µs since boot.
    pub to_us: u64,
}

/// Lets clients trade for a time, and read back. `wait` lets the time pass and shows progress.
pub fn run(
    clients: usize,
    task: &Task,
    trade: Duration,
    wait: impl FnOnce(Duration),
) -> Result<Run, String> {
    let mut workers = Workers::start(clients, task)?;
    wait(trade);
    let to_us = now_us();
    workers.check(Check::Once)?;
    let seen = workers.finish()?;
    let first = |seen: &WorkerReport| seen.samples.first().map_or(to_us, |sample| sample.began_us);
    let all_began = seen.iter().map(first).max().unwrap_or(to_us);
    // The first tenth is warm-up: clients connect, and the cache is empty after a restart.
    Ok(Run {
        from_us: all_began + to_us.saturating_sub(all_began) / 10,
        to_us,
        seen,
    })
}

impl Run {
    /// Times (ns) of one client and kind, by the slice of time in which the requests began. Lookups
    /// and orders count while all clients traded.
    pub fn times(&self, client: usize, kind: Kind) -> BTreeMap<u64, Vec<u64>> {
        let counts =
            |began: u64| kind == Kind::OrderQuery || (self.from_us..self.to_us).contains(&began);
        let mut slices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let samples = self.seen[client].samples.iter();
        for sample in samples.filter(|sample| sample.kind == kind && counts(sample.began_us)) {
            slices
                .entry(sample.began_us / (SLICE_MS * 1_000))
                .or_default()
                .push(sample.took_ns);
        }
        slices
    }
}
