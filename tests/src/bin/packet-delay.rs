//! `packet-delay`: holds packets back. It runs in a container's network namespace and answers a
//! netfilter queue, into which a rule puts the packets that are to be late. Each packet waits for a
//! time of its own, so that with jitter packets overtake each other.
//!
//! `tc netem` does the same where the kernel has it, for a whole interface only; a rule chooses
//! the packets of one pair of hosts. The rule drops its packets when this program ends, so the
//! rule goes first.

use argh::FromArgs;
use common::cli::{self, Program};
use common::terminal;
use nfq::{Message, Queue, Verdict};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Packets that wait in the kernel at most; more are dropped, as on a full link.
const KERNEL_QUEUE: u32 = 16_384;
/// Longest time between the end of a packet's wait and its going on.
const STEP: Duration = Duration::from_micros(300);

/// Holds the packets of a netfilter queue back. Prints "ready" when it has the queue.
#[derive(FromArgs)]
struct Flags {
    /// number of the queue
    #[argh(option)]
    queue: u16,
    /// shortest wait of a packet, in milliseconds
    #[argh(option)]
    delay_ms: u64,
    /// longest further wait, chosen at random for each packet
    #[argh(option, default = "0")]
    jitter_ms: u64,
    /// the seed of the random choices
    #[argh(option, default = "0")]
    seed: u64,
}

fn main() -> ExitCode {
    let program = Program {
        name: "packet-delay",
        version: env!("CARGO_PKG_VERSION"),
        commands: &[],
    };
    let flags: Flags = cli::parse(program, |_| String::new());
    match hold(&flags) {
        Ok(never) => match never {},
        Err(error) => cli::failed("packet-delay", &error),
    }
}

fn hold(flags: &Flags) -> io::Result<std::convert::Infallible> {
    let mut queue = Queue::open()?;
    queue.bind(flags.queue)?;
    queue.set_queue_max_len(flags.queue, KERNEL_QUEUE)?;
    queue.set_nonblocking(true);
    terminal::print("ready\n")?;
    let mut rng = fastrand::Rng::with_seed(flags.seed);
    // By the end of the wait; the count keeps packets of one moment apart.
    let mut held: BTreeMap<(Instant, u64), Message> = BTreeMap::new();
    let mut count = 0;
    loop {
        let now = Instant::now();
        while let Some(first) = held.first_entry().filter(|first| first.key().0 <= now) {
            let mut packet = first.remove();
            packet.set_verdict(Verdict::Accept);
            queue.verdict(packet)?;
        }
        match queue.recv() {
            Ok(packet) => {
                let wait = flags.delay_ms * 1_000 + rng.u64(..=flags.jitter_ms * 1_000);
                count += 1;
                held.insert((now + Duration::from_micros(wait), count), packet);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(STEP),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
