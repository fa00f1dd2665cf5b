//! The machine and the build. No host name and no path: a published page must not identify its
//! machine.

use super::tables::Fact;
use std::fs;
use std::process::Command;

/// Facts about machine and build; unknown ones are left out.
pub fn describe() -> Vec<Fact> {
    let cpu = read("/proc/cpuinfo").and_then(|text| value(&text, "model name"));
    let memory = read("/proc/meminfo")
        .and_then(|text| value(&text, "MemTotal"))
        .and_then(|text| gibibytes(&text));
    let cores = std::thread::available_parallelism()
        .ok()
        .map(|n| n.to_string());
    let load = read("/proc/loadavg").and_then(|text| text.split(' ').next().map(str::to_owned));
    let vendor = read("/sys/devices/virtual/dmi/id/sys_vendor");
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    [
        ("date", output_of("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("cpu", cpu),
        ("cores", cores),
        // Left out on any other machine.
        (
            "ec2",
            vendor
                .filter(|vendor| vendor.trim() == "Amazon EC2")
                .map(|_| "yes".into()),
        ),
        ("memory_gib", memory),
        // Without the suffix that a distributor or host adds to the version.
        (
            "kernel",
            output_of("uname", &["-sr"])
                .map(|text| text.split('-').next().unwrap_or_default().to_owned()),
        ),
        ("load_before", load),
        (
            "commit",
            output_of("git", &["rev-parse", "--short", "HEAD"]),
        ),
        ("profile", Some(profile.into())),
        ("version", Some(env!("CARGO_PKG_VERSION").into())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(Fact::new(name, &value?)))
    .collect()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The value of the first line `name: value`.
fn value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 kB")]
fn gibibytes(text: &str) -> Option<String> {
    let kib: u64 = text.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(format!("{:.1}", kib as f64 / 1024.0 / 1024.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `/proc/cpuinfo` and `/proc/meminfo` are found.
    #[test]
    fn tables_of_the_kernel() {
        assert_eq!(
            value("a: 1\nmodel name\t: X 9\n", "model name").as_deref(),
            Some("X 9")
        );
        assert_eq!(gibibytes("8388608 kB").as_deref(), Some("8.0"));
        assert!(describe().iter().any(|fact| fact.name == "cores"));
    }
}
