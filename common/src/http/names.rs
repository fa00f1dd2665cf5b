//! Host names of services, for the calls between them.
//!
//! The rule: **a call whose host has a known address never waits for a name server.** Names are
//! looked up aside, one thread per name; the last good addresses of a name are kept until a look-up
//! brings other ones. A call to a name without any waits for
//! [`CONNECT_TIMEOUT`](crate::timing::CONNECT_TIMEOUT) at most.
//!
//! The trace that it prevents: one refused connection made a client forget all names, and each
//! term's new pool of connections began with none. A leader that died while the name server was
//! silent then stopped the bazaar for as long as that lasted, although nobody's address had
//! changed. So all clients of a process share what is known ([`shared`]), and a failed connection
//! only causes a look-up.

use crate::settings::addresses::{LOCALHOST, is_localhost};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// How long a call to a name without a known address waits for its first look-up.
const FIRST_WAIT: Duration = crate::timing::CONNECT_TIMEOUT;
/// A name is looked up at most this often.
const PAUSE: Duration = Duration::from_secs(1);
/// A name in use is looked up again after this time, also while its addresses answer: the service
/// may have moved, and something else may answer there.
const REFRESH: Duration = Duration::from_secs(30);
/// Names that are kept. Settings name a few, and front-ends send theirs to the catalog.
const MOST_NAMES: usize = 256;

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The known addresses of host names. A clone shares them.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    known: Mutex<HashMap<String, Entry>>,
    /// A look-up has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Entry {
    /// The last addresses that a look-up brought.
    // Kept when a look-up fails: the service is mostly where it was.
    addresses: Vec<IpAddr>,
    /// Why the newest look-up failed.
    error: Option<String>,
    began: Option<Instant>,
    under_way: bool,
    /// A connection failed since the newest look-up began.
    suspect: bool,
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        let Some(began) = self.began else { return true };
        let age = now.duration_since(began);
        // Three reasons to look; the pause holds for all, so that a name that is down for good
        // costs one look-up a second.
        let wanted = self.addresses.is_empty() || self.suspect || age >= REFRESH;
        // One thread for each name at a time, which bounds their number.
        !self.under_way && wanted && age >= PAUSE
    }

    fn take(&mut self, host: &str, found: io::Result<Vec<IpAddr>>) {
        self.under_way = false;
        let found = found.and_then(|found| {
            // An empty answer is a failure: it must not wipe out addresses that were good.
            let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
            (!found.is_empty()).then_some(found).ok_or_else(none)
        });
        match found {
            Ok(found) => {
                if self.error.take().is_some() || self.addresses != found {
                    tracing::info!(host, addresses = ?found, "name resolved");
                }
                self.addresses = found;
            }
            Err(error) => {
                let error = error.to_string();
                // Logged when it changes: a silent name server would fill the log.
                if self.error.as_ref() != Some(&error) {
                    tracing::warn!(
                        host, error, kept = ?self.addresses,
                        "a host name cannot be resolved; its last known addresses are kept"
                    );
                }
                self.error = Some(error);
            }
        }
    }
}

/// The names of this process.
pub fn shared() -> Names {
    static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(Box::new(ask_system)));
    NAMES.clone()
}

fn ask_system(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for address in (host, 0).to_socket_addrs()? {
        // A few are enough, and a connection tries them one after the other.
        if !found.contains(&address.ip()) && found.len() < 8 {
            found.push(address.ip());
        }
    }
    Ok(found)
}

impl Names {
    fn new(lookup: Box<Lookup>) -> Self {
        Self(Arc::new(Shared {
            lookup,
            known: Mutex::default(),
            ended: Condvar::new(),
        }))
    }

    /// The addresses of a host. A literal and `localhost` need no look-up.
    ///
    /// # Errors
    /// The reason, if no address is known yet.
    pub fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        if is_localhost(host) {
            return Ok(LOCALHOST.into());
        }
        // Counted from the first look: a call must not wait longer because other look-ups end
        // meanwhile.
        let deadline = Instant::now() + FIRST_WAIT;
        let mut known = self.0.known.lock();
        loop {
            make_room(&mut known, host)?;
            let entry = known.entry(host.to_owned()).or_default();
            // Also with addresses at hand: the look-up runs aside, and this call goes on with what
            // is known.
            if entry.is_due(Instant::now()) {
                self.start_lookup(host, entry);
            }
            // The rule of this module: a known address is used at once.
            if !entry.addresses.is_empty() {
                return Ok(entry.addresses.clone());
            }
            // It failed just now, and is not due again: waiting would bring nothing.
            if !entry.under_way {
                let why = entry.error.as_deref().unwrap_or("it has no address");
                return Err(format!("the host name '{host}' cannot be resolved: {why}"));
            }
            if self.0.ended.wait_until(&mut known, deadline).timed_out() {
                return Err(format!(
                    "the host name '{host}' is not resolved yet: no name server has answered"
                ));
            }
        }
    }

    /// Marks a host as one that may have moved: a connection to it failed. The next call looks it
    /// up again; its known addresses stay.
    pub fn suspect(&self, host: &str) {
        if let Some(entry) = self.0.known.lock().get_mut(host) {
            // Only noted: this is called on the path of a call that failed, which has no time for a
            // look-up.
            entry.suspect = true;
        }
    }

    fn start_lookup(&self, host: &str, entry: &mut Entry) {
        entry.began = Some(Instant::now());
        entry.under_way = true;
        // Cleared at the start, not at the end: a connection that fails meanwhile asks for another
        // look.
        entry.suspect = false;
        let (shared, name) = (Arc::clone(&self.0), host.to_owned());
        // Nobody joins this thread: the system's resolver has no time-out of ours, and a stop must
        // not wait for a silent name server. The thread holds no lock meanwhile, and ends with the
        // process.
        let started = std::thread::Builder::new()
            .name("name-lookup".into())
            .spawn(move || {
                // Without the lock: a look-up may take long, and other names must not wait for it.
                let found = (shared.lookup)(&name);
                // The name may have been dropped since, to make room.
                if let Some(entry) = shared.known.lock().get_mut(&name) {
                    entry.take(&name, found);
                }
                // All of them: each waits for its own name, and looks again.
                shared.ended.notify_all();
            });
        // No thread is left. That counts as a failed look-up, which is repeated after the pause.
        if let Err(error) = started {
            entry.take(host, Err(error));
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Names({})", self.0.known.lock().len())
    }
}

/// Drops the name that was looked up longest ago, if there are too many. One whose look-up is under
/// way stays: so the number of threads is bounded too.
fn make_room(known: &mut HashMap<String, Entry>, host: &str) -> Result<(), String> {
    // Bounded, since front-ends send URLs of their own to the catalog, and a wrong one would stay
    // for ever.
    if known.len() < MOST_NAMES || known.contains_key(host) {
        return Ok(());
    }
    let idle = known.iter().filter(|(_, entry)| !entry.under_way);
    let oldest = idle.min_by_key(|(_, entry)| entry.began);
    let oldest = oldest.map(|(name, _)| name.clone());
    let oldest = oldest.ok_or("too many host names are being resolved")?;
    known.remove(&oldest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::{Receiver, Sender, unbounded};

    const LONG: Duration = Duration::from_secs(20);

    /// Names whose look-ups are answered by the test; each look-up is announced.
    fn names() -> (Names, Receiver<String>, Sender<io::Result<Vec<IpAddr>>>) {
        let (asked, seen) = unbounded();
        let (answer, answers) = unbounded();
        let lookup = move |host: &str| {
            asked.send(host.to_owned()).expect("the test listens");
            answers.recv().expect("the test answers")
        };
        (Names::new(Box::new(lookup)), seen, answer)
    }

    fn ip(last: u8) -> Vec<IpAddr> {
        vec![IpAddr::from([127, 0, 0, last])]
    }

    fn age(names: &Names, host: &str, by: Duration) {
        let mut known = names.0.known.lock();
        let entry = known.get_mut(host).expect("known");
        entry.began = entry.began.and_then(|began| began.checked_sub(by));
    }

    /// A failed connection makes a name be looked up aside; while the name server is silent, and
    /// when it fails, calls go on with the addresses that were known.
    #[test]
    fn a_known_name_is_neither_forgotten_nor_waited_for() {
        let (names, asked, answer) = names();
        answer.send(Ok(ip(1))).expect("taken");
        assert_eq!(names.addresses("o1.bz"), Ok(ip(1)));
        assert_eq!(asked.recv_timeout(LONG).as_deref(), Ok("o1.bz"));
        names.suspect("o1.bz");
        age(&names, "o1.bz", PAUSE);
        // The look-up has begun, and the name server is silent.
        let before = Instant::now();
        assert_eq!(names.addresses("o1.bz"), Ok(ip(1)));
        assert_eq!(asked.recv_timeout(LONG).as_deref(), Ok("o1.bz"));
        assert_eq!(names.addresses("o1.bz"), Ok(ip(1)));
        assert!(before.elapsed() < LONG);
        answer
            .send(Err(io::Error::other("no answer")))
            .expect("taken");
        wait_idle(&names, "o1.bz");
        assert_eq!(names.addresses("o1.bz"), Ok(ip(1)), "kept beside a failure");
        // The next response counts.
        names.suspect("o1.bz");
        age(&names, "o1.bz", PAUSE);
        answer.send(Ok(ip(2))).expect("taken");
        assert_eq!(names.addresses("o1.bz"), Ok(ip(1)), "not waited for");
        wait_idle(&names, "o1.bz");
        assert_eq!(names.addresses("o1.bz"), Ok(ip(2)));
    }

    fn wait_idle(names: &Names, host: &str) {
        let mut known = names.0.known.lock();
        while known[host].under_way {
            assert!(!names.0.ended.wait_for(&mut known, LONG).timed_out());
        }
    }

    /// A name without an address costs a call a bounded wait, and one that does not exist costs
    /// one look-up a second, not one per call.
    #[test]
    fn an_unknown_name_is_waited_for_within_a_bound() {
        let (names, asked, answer) = names();
        let error = names.addresses("o1.bz").expect_err("silent");
        assert!(
            error.contains("'o1.bz'") && error.contains("no name server"),
            "{error}"
        );
        answer
            .send(Err(io::Error::other("no such name")))
            .expect("taken");
        wait_idle(&names, "o1.bz");
        for _ in 0..3 {
            let error = names.addresses("o1.bz").expect_err("refused");
            assert!(error.contains("no such name"), "{error}");
        }
        assert_eq!(asked.try_iter().count(), 1);
    }

    /// Literals and localhost are never looked up, and names are bounded.
    #[test]
    fn literals_are_not_looked_up() {
        let (names, asked, answer) = names();
        assert_eq!(names.addresses("::1").map(|ips| ips.len()), Ok(1));
        assert_eq!(names.addresses("localhost").map(|ips| ips.len()), Ok(2));
        assert_eq!(asked.try_iter().count(), 0);
        for n in 0..=MOST_NAMES {
            answer.send(Ok(ip(1))).expect("taken");
            assert_eq!(names.addresses(&format!("h{n}")), Ok(ip(1)));
        }
        assert_eq!(names.0.known.lock().len(), MOST_NAMES);
    }
}
