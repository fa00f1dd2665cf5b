//! Many viewers of the live feed, and what they cost those who trade.

use cluster::service::Service;
use cluster::wait;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tests::harness::{Bazaar, SOON, wait_steps};

const VIEWERS: usize = 500;
/// Clients that trade at once.
const CLIENTS: usize = 8;
/// Rounds without and with viewers, in turns.
const ROUNDS: usize = 7;
/// How long each round is measured.
const ROUND: Duration = Duration::from_secs(4);

/// Viewers that read their feed, until the test ends them.
struct Viewers {
    streams: Vec<TcpStream>,
    bytes: usize,
}

impl Viewers {
    fn connect(address: SocketAddr) -> Self {
        let open = |_| {
            let mut stream = TcpStream::connect(address).expect("connects");
            stream
                .write_all(b"GET /events HTTP/1.1\r\nHost: bazaar\r\n\r\n")
                .expect("is sent");
            stream.set_nonblocking(true).expect("is open");
            stream
        };
        Self {
            streams: (0..VIEWERS).map(open).collect(),
            bytes: 0,
        }
    }

    /// Reads what is there.
    fn read(&mut self) {
        let mut bytes = [0; 16 * 1_024];
        for mut stream in &self.streams {
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => panic!("a viewer was dropped"),
                    Ok(n) => self.bytes += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

fn viewers(bazaar: &Bazaar) -> u64 {
    let text = bazaar
        .cluster
        .internal(Service::Frontend(1))
        .get("/metrics")
        .expect("metrics")
        .body;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("bazaar_edge_subscribers "));
    value
        .and_then(|value| value.parse().ok())
        .expect("the gauge")
}

/// 500 viewers slow trading by at most a tenth: rounds without and with them, in turns, medians
/// compared. For a machine that does nothing else.
#[test]
#[ignore = "a measurement"]
fn viewers_do_not_slow_trading() {
    let mut bazaar = Bazaar::start();
    let address = bazaar.cluster.spec().addresses.frontends[0].public;
    let mut rates = [Vec::new(), Vec::new()];
    bazaar.trade_while(CLIENTS, |bazaar, control| {
        wait_steps(control, 2_000);
        for round in 0..2 * ROUNDS {
            let watched = round % 2 == 1;
            let (leave, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
            thread::scope(|scope| {
                let watching = watched.then(|| {
                    scope.spawn(|| {
                        let mut viewers = Viewers::connect(address);
                        while !leave.load(Ordering::Relaxed) {
                            viewers.read();
                            seen.store(viewers.bytes, Ordering::Relaxed);
                            thread::park_timeout(Duration::from_millis(100));
                        }
                    })
                });
                let wanted = if watched { VIEWERS as u64 } else { 0 };
                let settled = wait::until(SOON, || (viewers(bazaar) == wanted).then_some(()));
                assert!(
                    settled.is_some(),
                    "{} watch instead of {wanted}",
                    viewers(bazaar)
                );
                let (began, before, bytes) =
                    (Instant::now(), control.done(), seen.load(Ordering::Relaxed));
                wait::until(ROUND, || None::<()>);
                let rate = (control.done() - before) as f64 / began.elapsed().as_secs_f64();
                rates[usize::from(watched)].push(rate);
                let bytes =
                    (seen.load(Ordering::Relaxed) - bytes) as f64 / began.elapsed().as_secs_f64();
                println!(
                    "{wanted:>4} viewers: {rate:>8.0} steps/s, {:>6.0} KB/s of events",
                    bytes / 1_000.0
                );
                assert!(
                    !watched || bytes / VIEWERS as f64 > 100.0,
                    "viewers get something each second"
                );
                leave.store(true, Ordering::Relaxed);
                if let Some(watching) = watching {
                    watching.join().expect("no viewer was dropped");
                }
            });
        }
    });
    let [without, with] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "median without viewers {without:.0}, with {VIEWERS} viewers {with:.0} steps/s: {:.1} %",
        with / without * 100.0
    );
    assert!(
        with >= 0.9 * without,
        "{VIEWERS} viewers slow trading from {without:.0} to {with:.0} steps/s"
    );
    bazaar.close();
}
