//! Listening sockets: one per thread on one port, among which the kernel spreads the connections.
//! Where a name stands for several addresses (`localhost`: 127.0.0.1 and ::1), each thread has one
//! on every address.

use super::limits::Limits;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Connections that wait to be accepted, per listener; the kernel cuts it to its own limit.
pub const BACKLOG: u16 = 4_096;
/// When the kernel begins to ask a silent peer whether it still exists.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Makes `count` sets of listeners, each with one on every address, and returns them with the
/// first address in use. Port 0 is one free port for all addresses.
///
/// An address beyond the first that this machine does not have is left out: `localhost` works where
/// IPv6 is switched off. One that is in use is an error: who asks for `localhost` must not reach a
/// stranger.
///
/// # Errors
/// When an address is in use, or the first none of this machine; the message names it.
pub fn listen_at_all(
    addresses: &[SocketAddr],
    count: usize,
    limits: &Limits,
) -> io::Result<(SocketAddr, Vec<Vec<TcpListener>>)> {
    let (first, others) = addresses
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on"))?;
    let (bound, listeners) = listen(*first, count, limits)?;
    let mut sets: Vec<Vec<TcpListener>> = listeners.into_iter().map(|one| vec![one]).collect();
    for address in others {
        // The port that the first address was given: clients know one port for the name.
        let address = SocketAddr::new(address.ip(), bound.port());
        match listen(address, count, limits) {
            Ok((_, more)) => sets
                .iter_mut()
                .zip(more)
                .for_each(|(set, one)| set.push(one)),
            // As where IPv6 is switched off.
            Err(error) if is_absent(&error) => {
                tracing::info!(%address, "this machine does not have that address: left out");
            }
            // In use by another program: a client that takes `localhost` for this address would
            // reach that one.
            Err(error) => return Err(error),
        }
    }
    Ok((bound, sets))
}

/// Whether the machine has no such address, or no such family of addresses at all.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    )
}

/// Makes `count` listeners on `address`, and returns them with the address in use.
///
/// With SO_REUSEPORT a second process of the same user could listen on a port in use, and take a
/// part of the connections, without a word. So a socket without it is bound first, which fails when
/// somebody listens, and holds the port (0 is a free one) until the others have it.
///
/// # Errors
/// When the address is in use or none of this machine; the message names it.
fn listen(
    address: SocketAddr,
    count: usize,
    limits: &Limits,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"));
    // Without SO_REUSEPORT: see above.
    let holder = socket(address).map_err(named)?;
    holder.bind(&address.into()).map_err(named)?;
    let bound = holder
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("an address without a port"))?;
    let listener = |_| {
        // One for each thread: the kernel spreads connections among them, and threads share no
        // queue.
        let socket = socket(bound)?;
        socket.set_reuse_port(true)?;
        // Accepted connections inherit these. Without NODELAY a response could wait for the
        // acknowledgement of the one before.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE))?;
        // Also bounds what the kernel still has to send after we closed.
        socket.set_tcp_user_timeout(Some(limits.send_timeout))?;
        // Unasked, the kernel grows it to megabytes for each client that reads slowly.
        socket.set_send_buffer_size(limits.send_buffer_bytes)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG.into())?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    let listeners = (0..count)
        .map(listener)
        .collect::<io::Result<_>>()
        .map_err(named)?;
    // Only now: between the first bind and the last no other process can take the port.
    drop(holder);
    Ok((bound, listeners))
}

/// A socket whose port can be had again at once after a stop. A port on which somebody listens is
/// still refused.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Whether accepting failed because descriptors or memory ran out: it will again at once, so it has
/// to wait.
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error
        .raw_os_error()
        .is_some_and(|code| exhausted.iter().any(|e| e.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// All listeners share one port, also a free one; a port in use is refused by name, also one of
    /// another process.
    #[test]
    fn shares_and_refuses() {
        let (address, listeners) = listen(ANY, 3, &Limits::default()).expect("a free port");
        assert!(
            address.port() != 0
                && listeners
                    .iter()
                    .all(|l| l.local_addr().is_ok_and(|a| a == address))
        );
        let error = listen(address, 3, &Limits::default()).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
        drop(listeners);
        let plain = TcpListener::bind(address).expect("free again");
        assert!(listen(address, 1, &Limits::default()).is_err());
        drop(plain);
        assert!(listen(address, 1, &Limits::default()).is_ok());
    }

    /// `localhost` listens on both loopback addresses, on one port; an address that the machine
    /// does not have is left out, one in use is refused by name.
    #[test]
    fn a_name_with_two_addresses_is_listened_on_at_both() {
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
        let has_v6 = TcpListener::bind(v6).is_ok();
        let absent = "192.0.2.1:0".parse().expect("an address of nobody");
        let (address, sets) =
            listen_at_all(&[ANY, v6, absent], 2, &Limits::default()).expect("listens");
        for set in &sets {
            assert_eq!(set.len(), 1 + usize::from(has_v6));
            for listener in set {
                let own = listener.local_addr().expect("an address");
                assert_eq!(own.port(), address.port());
                assert!(own.ip().is_loopback(), "{own}");
            }
        }
        assert!(
            listen_at_all(&[absent, ANY], 1, &Limits::default()).is_err(),
            "the first has to be there"
        );
        if has_v6 {
            drop(sets);
            let other = TcpListener::bind((v6.ip(), address.port())).expect("free again");
            let error = listen_at_all(&[address, v6], 1, &Limits::default()).expect_err("in use");
            assert!(error.to_string().contains("[::1]"), "{error}");
            drop(other);
        }
    }
}
