//! Harm on the ways between hosts, done by the kernel in the network namespaces of the containers.
//!
//! A way has a direction: from the host that sends to the one that receives. Rules of netfilter
//! choose its packets by the sender's address where they arrive. All packets of the way are meant,
//! the acknowledgements of the other direction's connections too, as with a broken cable.

use super::bazaar::{Hosts, SOON};
use super::engine::in_namespace;
use super::host::Host;
use crate::tool;
use cluster::process;
use cluster::wait;
use std::path::Path;

/// A way: who sends to whom.
pub type Way = (Host, Host);

/// The way from one host to another.
pub fn way(from: impl Into<Host>, to: impl Into<Host>) -> Way {
    (from.into(), to.into())
}

/// Harm that packets meet.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    /// None arrives.
    Cut,
    /// So many of a hundred do not arrive.
    Lose(u32),
    /// So many of a hundred arrive twice.
    Repeat(u32),
    /// Each arrives later, by its own time from `delay_ms` to `delay_ms + jitter_ms`: with jitter
    /// some overtake others.
    Late {
        /// Shortest delay.
        delay_ms: u64,
        /// Longest further delay.
        jitter_ms: u64,
    },
}

/// The queue of late packets; each namespace has its own.
const QUEUE: &str = "7";

/// Harms one way.
///
/// # Panics
/// When the kernel refuses.
pub fn harm(hosts: &mut Hosts, (from, to): Way, harm: Harm) {
    let source = hosts.address(from).to_string();
    let target = hosts.address(to).to_string();
    let share = |hundredth: u32| format!("{}", f64::from(hundredth) / 100.0);
    let random = ["--match", "statistic", "--mode", "random", "--probability"];
    match harm {
        Harm::Cut => rule(hosts, to, &["INPUT", "--source", &source, "--jump", "DROP"]),
        Harm::Lose(hundredth) => {
            let share = share(hundredth);
            let rest = [&random[..], &[&share, "--jump", "DROP"]].concat();
            rule(
                hosts,
                to,
                &[&["INPUT", "--source", &source], &rest[..]].concat(),
            );
        }
        Harm::Repeat(hundredth) => {
            let share = share(hundredth);
            // A copy of the packet goes on its own to the next host, which is the receiver.
            let rest = [
                &random[..],
                &[&share, "--jump", "TEE", "--gateway", &target],
            ]
            .concat();
            let begin = ["OUTPUT", "--table", "mangle", "--destination", &target];
            rule(hosts, from, &[&begin, &rest[..]].concat());
        }
        Harm::Late {
            delay_ms,
            jitter_ms,
        } => {
            hold_back(hosts, to, delay_ms, jitter_ms);
            also_late(hosts, (from, to));
        }
    }
}

/// Makes a further way as late as the one to the same host that [`Harm::Late`] was done to.
///
/// # Panics
/// When the kernel refuses.
pub fn also_late(hosts: &mut Hosts, (from, to): Way) {
    let source = hosts.address(from).to_string();
    let begin = ["INPUT", "--source", &source];
    let queue = ["--jump", "NFQUEUE", "--queue-num", QUEUE];
    rule(hosts, to, &[&begin[..], &queue].concat());
}

/// Lets so few bits a second leave a host.
///
/// # Panics
/// When the kernel refuses.
pub fn slow(hosts: &mut Hosts, host: impl Into<Host>, kilobits: u32) {
    let host = host.into();
    hosts.harmed.insert(host);
    let pid = hosts.pid(host);
    let interface = interface(&pid, &hosts.address(host).to_string());
    let rate = format!("{kilobits}kbit");
    let rule = [
        "tc", "qdisc", "replace", "dev", &interface, "root", "tbf", "rate", &rate, "burst", "16kb",
        "latency", "400ms",
    ];
    in_namespace(&pid, &rule).unwrap_or_else(|error| panic!("{error}"));
}

/// No name resolves on a host: what it asks the engine's name server is dropped.
///
/// # Panics
/// When the kernel refuses.
pub fn silence_names(hosts: &mut Hosts, host: impl Into<Host>) {
    // The engine redirects port 53 of this address to a port of its own before this rule sees it.
    rule(
        hosts,
        host.into(),
        &["OUTPUT", "--destination", "127.0.0.11", "--jump", "DROP"],
    );
}

/// How many packets met the rules on a host.
pub fn met(hosts: &Hosts, host: impl Into<Host>) -> u64 {
    let pid = hosts.pid(host);
    let mut met = 0;
    for (table, chain) in [
        ("filter", "INPUT"),
        ("filter", "OUTPUT"),
        ("mangle", "OUTPUT"),
    ] {
        let list = ["iptables", "-t", table, "-nvxL", chain];
        let listed = in_namespace(&pid, &list).unwrap_or_default();
        let counts = listed.lines().skip(2).filter_map(|line| {
            let first = line.split_whitespace().next()?;
            first.parse::<u64>().ok()
        });
        met += counts.sum::<u64>();
    }
    met
}

/// Ends all harm.
pub fn heal(hosts: &mut Hosts) {
    for host in std::mem::take(&mut hosts.harmed) {
        // The rules first: packets that no program answers for are dropped. A host without them
        // refuses some of these, and a container that died has no namespace any more.
        // The interface has another name after each time that its host was disconnected.
        let all = "iptables -F INPUT; iptables -F OUTPUT; iptables -t mangle -F OUTPUT; \
                   for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do \
                     tc qdisc del dev $i root; done";
        let _ = in_namespace(&hosts.pid(host), &["sh", "-c", all]);
    }
    hosts.delays.clear();
}

fn rule(hosts: &mut Hosts, host: Host, words: &[&str]) {
    hosts.harmed.insert(host);
    let all = [&["iptables", "--append"], words].concat();
    in_namespace(&hosts.pid(host), &all).unwrap_or_else(|error| panic!("{error}"));
}

/// Starts the program that answers a host's queue, and waits until it does.
fn hold_back(hosts: &mut Hosts, host: Host, delay_ms: u64, jitter_ms: u64) {
    let binary = std::env::current_exe().expect("this program has a path");
    // Tests lie in a folder beside the binaries.
    let folder = binary
        .ancestors()
        .find(|folder| folder.join("packet-delay").exists());
    let program = folder.expect("packet-delay was built").join("packet-delay");
    let mut command = process::dying_with_us(Path::new("nsenter"));
    command
        .args(["--target", &hosts.pid(host), "--net"])
        .arg(program)
        .args(["--queue", QUEUE, "--delay-ms", &delay_ms.to_string()])
        .args(["--jitter-ms", &jitter_ms.to_string()]);
    let mut running = tool::started("packet-delay", command);
    running.wait_for("ready");
    hosts.delays.push(running);
}

/// The interface of a host that has this address.
fn interface(pid: &str, address: &str) -> String {
    let listed = wait::until(SOON, || {
        let listed = in_namespace(pid, &["ip", "-o", "-4", "addr"]).ok()?;
        let mut lines = listed.lines();
        let line = lines.find(|line| line.contains(&format!(" {address}/")))?;
        line.split_whitespace().nth(1).map(ToOwned::to_owned)
    });
    listed.unwrap_or_else(|| panic!("no interface has {address}"))
}
