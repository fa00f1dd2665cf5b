//! The resources of a process, from `/proc`: memory, descriptors, threads, processor time.
//! Read when the metrics are.

use crate::metrics::Metrics;
use prometheus::{Counter, IntGauge};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The gauges. Where `/proc` lacks a value, its gauge keeps the last one.
#[derive(Debug)]
pub struct ProcessMetrics {
    resident: IntGauge,
    virtual_size: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    cpu: Counter,
}

impl ProcessMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        metrics
            .fraction(
                "process_start_time_seconds",
                "When this process started, since 1970.",
            )
            .set(started);
        Self {
            resident: metrics.gauge("process_resident_memory_bytes", "Memory in use."),
            virtual_size: metrics.gauge("process_virtual_memory_bytes", "Address space in use."),
            threads: metrics.gauge("process_threads", "Threads."),
            open_fds: metrics.gauge(
                "process_open_fds",
                "Open file descriptors, connections among them.",
            ),
            max_fds: metrics.gauge("process_max_fds", "File descriptors that may be open."),
            cpu: metrics.fraction_counter(
                "process_cpu_seconds_total",
                "Processor time used, user and system.",
            ),
        }
    }

    /// Reads them all.
    pub fn read(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = |gauge: &IntGauge, value: Option<i64>| {
            value.into_iter().for_each(|value| gauge.set(value))
        };
        set(
            &self.resident,
            field(&status, "VmRSS").map(|kib| kib * 1_024),
        );
        set(
            &self.virtual_size,
            field(&status, "VmSize").map(|kib| kib * 1_024),
        );
        set(&self.threads, field(&status, "Threads"));
        // Less the one that the count itself opens.
        let open = fs::read_dir("/proc/self/fd").map(|open| open.count().saturating_sub(1));
        set(
            &self.open_fds,
            open.ok().and_then(|open| i64::try_from(open).ok()),
        );
        let limit = getrlimit(Resource::Nofile).current;
        set(
            &self.max_fds,
            limit.and_then(|limit| i64::try_from(limit).ok()),
        );
        let time = clock_gettime(ClockId::ProcessCPUTime);
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds and nanoseconds of one process are far below 2^53"
        )]
        let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
        // Readers take turns (see `Metrics::text`), so that nothing is added twice.
        self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
    }
}

/// The number behind a name in `/proc/<pid>/status`.
fn field(status: &str, name: &str) -> Option<i64> {
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process has memory, threads, descriptors and processor time, and the text shows them.
    #[test]
    fn reads_this_process() {
        let metrics = Metrics::new();
        let value = |name: &str| -> f64 {
            let text = metrics.text();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("bazaar_process_{name} ")));
            line.and_then(|value| value.parse().ok())
                .unwrap_or_else(|| panic!("{name} is not in {text}"))
        };
        assert!(value("resident_memory_bytes") > 100_000.0);
        assert!(value("virtual_memory_bytes") >= value("resident_memory_bytes"));
        assert!(value("threads") >= 1.0 && value("cpu_seconds_total") > 0.0);
        assert!(value("start_time_seconds") > 1_600_000_000.0);
        assert!(value("max_fds") >= value("open_fds"));
        let before = value("open_fds");
        let files: Vec<_> = (0..40)
            .map(|_| tempfile::tempfile().expect("a file"))
            .collect();
        assert!(
            value("open_fds") >= before + 20.0,
            "other tests may close some"
        );
        drop(files);
    }

    /// Lines of the file as the kernel writes them.
    #[test]
    fn lines_of_status() {
        let status = "Name:\tcatalog\nVmSize:\t  2048 kB\nThreads:\t7\n";
        assert_eq!(
            (
                field(status, "VmSize"),
                field(status, "Threads"),
                field(status, "VmRSS")
            ),
            (Some(2_048), Some(7), None)
        );
    }
}
