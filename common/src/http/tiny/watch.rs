//! Looks at the connections that tiny_http holds, and ends them. tiny_http gives no handle of a
//! connection, has no time-out for reading and no limit on connections. But the kernel hands a
//! process duplicates of its own descriptors (`pidfd_getfd`), and a shutdown of a duplicate is one
//! of the connection: tiny_http then reads its end and lets it go.
//!
//! Only sockets are duplicated. Closing a duplicate of a database's file would drop the POSIX locks
//! that SQLite holds on it (`fcntl(2)`: all locks of the process on that file go with any one
//! descriptor). The next process that looks at the file, such as `order verify`, then takes it for
//! one that nobody uses, and truncates the `-shm` under this process, which dies of SIGBUS.
//!
//! Some containers forbid that call. There the listener has no such bounds.

use rustix::fs::FileType;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::SockRef;
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// A view of the connections that were accepted on one port.
pub struct Watch {
    process: OwnedFd,
    port: u16,
    /// Kept for the look itself when no descriptor is left: one to list, one to duplicate.
    spare: Vec<File>,
}

const SPARE: usize = 2;

impl Watch {
    /// A view of the connections at `address`.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let process = pidfd_open(getpid(), PidfdFlags::empty())?;
        // Tried at the start, on a descriptor of our own: where a container forbids the call, the
        // log says so at once.
        let _allowed = pidfd_getfd(&process, process.as_raw_fd(), PidfdGetfdFlags::empty())?;
        let mut watch = Self {
            process,
            port: address.port(),
            spare: Vec::new(),
        };
        watch.take_spare();
        Ok(watch)
    }

    /// The lowest descriptor that is free, at least this many are in use while more are being
    /// opened; `None` when none is free. One call, where a whole look takes three for each
    /// descriptor.
    pub fn lowest_free(&self) -> Option<usize> {
        // A clone gets the lowest free number, which is closed again at once.
        let free = self.process.try_clone().ok()?;
        usize::try_from(free.as_raw_fd()).ok()
    }

    /// Shows `over` who is connected, and ends the connections that it names. Returns how many that
    /// were.
    ///
    /// # Errors
    /// When the process's descriptors cannot be listed.
    pub fn look(
        &mut self,
        over: impl FnOnce(&HashSet<SocketAddr>) -> HashSet<SocketAddr>,
    ) -> io::Result<usize> {
        // Given back for the look, which needs two descriptors itself.
        self.spare.clear();
        let ended = self.look_now(over);
        self.take_spare();
        ended
    }

    fn look_now(
        &self,
        over: impl FnOnce(&HashSet<SocketAddr>) -> HashSet<SocketAddr>,
    ) -> io::Result<usize> {
        let mut connections = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let Some(number) = number else { continue };
            if let Some((_, peer)) = self.connection(number) {
                connections.push((number, peer));
            }
        }
        // Decided with all of them at hand; the caller's lock is held for that only.
        let over = over(&connections.iter().map(|(_, peer)| *peer).collect());
        let mut ended = HashSet::new();
        for (number, peer) in connections {
            // Each connection has two descriptors; one shutdown is enough.
            if !over.contains(&peer) || !ended.insert(peer) {
                continue;
            }
            // Looked at anew: the number may belong to another connection by now.
            if let Some((socket, _)) = self.connection(number).filter(|(_, now)| *now == peer) {
                let _gone_already = SockRef::from(&socket).shutdown(Shutdown::Both);
            }
        }
        Ok(ended.len())
    }

    /// A duplicate of this descriptor and its peer, if it is a connection of ours.
    fn connection(&self, number: RawFd) -> Option<(OwnedFd, SocketAddr)> {
        let what = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        if !what.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            return None;
        }
        let socket = pidfd_getfd(&self.process, number, PidfdGetfdFlags::empty()).ok()?;
        let kind = rustix::fs::fstat(&socket).map(|found| FileType::from_raw_mode(found.st_mode));
        if kind != Ok(FileType::Socket) {
            // The number has become a file's in between. Its duplicate is kept for good: see above.
            std::mem::forget(socket);
            return None;
        }
        let seen = SockRef::from(&socket);
        // Other sockets of the process: of another listener, or to another service.
        let local = seen.local_addr().ok()?.as_socket()?;
        if local.port() != self.port {
            return None;
        }
        let peer = seen.peer_addr().ok()?.as_socket()?;
        Some((socket, peer))
    }

    fn take_spare(&mut self) {
        while self.spare.len() < SPARE {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.spare.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    /// It sees the connections of its port alone, and ends those that `over` names.
    #[test]
    fn sees_and_ends_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let other = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        let mut clients: Vec<TcpStream> = [&listener, &listener, &other]
            .map(|l| TcpStream::connect(l.local_addr().expect("bound")).expect("connects"))
            .into();
        let accepted: Vec<TcpStream> = [&listener, &listener, &other]
            .map(|l| l.accept().expect("accepts").0)
            .into();
        let peer = |n: usize| accepted[n].peer_addr().expect("connected");
        let mut watch = Watch::new(address).expect("allowed here");
        let ended = watch.look(|seen| {
            assert_eq!(*seen, HashSet::from([peer(0), peer(1)]));
            HashSet::from([peer(0), peer(2)])
        });
        assert_eq!(ended.expect("looks"), 1);
        assert_eq!(clients[0].read(&mut [0; 1]).expect("its end"), 0);
        assert!(accepted[1].peer_addr().is_ok() && accepted[2].peer_addr().is_ok());
    }
}
