//! The addresses of a cluster's services, and the search for free ports.
//!
//! All ports are below 32768. The system gives higher ports to outgoing connections, so any client
//! could hold a port that a service is about to take. Programs that search at the same time share
//! the ports by blocks of 16: the program that listens on the first port of a block owns the block.
//! Such a lock leaves no file behind, and the system frees it however its owner ends.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Ports of one block, its lock included.
const BLOCK: u16 = 16;
/// First port of the lowest block.
const LOWEST: u16 = 10_240;
/// End of the highest block.
const HIGHEST: u16 = 32_752;

/// A block of free ports, for as long as this value lives.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    /// The lock: it listens, but nothing accepts.
    _lock: TcpListener,
}

impl PortBlock {
    /// Takes a block whose ports are all free. The search begins at a random block, so that
    /// programs rarely compete for one.
    ///
    /// # Errors
    /// When there is none.
    pub fn take() -> io::Result<Self> {
        let blocks = (HIGHEST - LOWEST) / BLOCK;
        // At random, and then round: programs that start together would else all try the lowest.
        let start = fastrand::u16(..blocks);
        (0..blocks)
            .find_map(|step| Self::try_take(LOWEST + (start + step) % blocks * BLOCK))
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "no block of free ports is left below 32768",
                )
            })
    }

    fn try_take(lock: u16) -> Option<Self> {
        // The lock itself: whoever listens on the first port owns the block.
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, lock)).ok()?;
        let block = Self {
            first: lock + 1,
            _lock: held,
        };
        block
            // A stranger may hold a port within: the block is of no use then.
            .ports()
            .all(|port| is_free(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
            .then_some(block)
    }

    /// The ports of the block.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.first..self.first + BLOCK - 1
    }

    /// Addresses on loopback for a cluster, from the block's first ports.
    ///
    /// # Panics
    /// When the block is too small for it.
    pub fn addresses(&self, replicas: u8, frontends: u8) -> Addresses {
        let needed = 1 + u16::from(replicas) + 2 * u16::from(frontends);
        // The first port is the lock, so one fewer is there.
        assert!(
            needed < BLOCK,
            "{needed} ports do not fit a block of {BLOCK}"
        );
        Addresses::consecutive(self.first, replicas, frontends)
    }
}

/// Whether a service could listen on this address now.
#[must_use]
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// The address under which this machine reaches a listener: loopback for a wildcard.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The addresses of all listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The catalog.
    pub catalog: SocketAddr,
    /// Further catalogs, from the second one on.
    pub other_catalogs: Vec<SocketAddr>,
    /// The replicas, from id 1 on.
    pub orders: Vec<SocketAddr>,
    /// The front-ends.
    pub frontends: Vec<FrontendAddresses>,
}

/// The two listeners of a front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendAddresses {
    /// For clients.
    pub public: SocketAddr,
    /// For the catalog's invalidations, and metrics.
    pub internal: SocketAddr,
}

impl Addresses {
    /// The documented default ports.
    pub fn documented() -> Self {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            catalog: at(7100),
            other_catalogs: Vec::new(),
            orders: vec![at(7201), at(7202), at(7203)],
            frontends: vec![FrontendAddresses {
                public: at(8080),
                internal: at(7000),
            }],
        }
    }

    /// Consecutive ports on loopback: the catalog at `first`, then the replicas, then internal and
    /// public listener of each front-end.
    pub fn consecutive(first: u16, replicas: u8, frontends: u8) -> Self {
        // Loopback alone: nothing of a test is reachable from outside.
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let frontends_at = first + 1 + u16::from(replicas);
        Self {
            catalog: at(first),
            other_catalogs: Vec::new(),
            orders: (0..u16::from(replicas))
                .map(|i| at(first + 1 + i))
                .collect(),
            frontends: (0..u16::from(frontends))
                .map(|i| FrontendAddresses {
                    internal: at(frontends_at + 2 * i),
                    public: at(frontends_at + 2 * i + 1),
                })
                .collect(),
        }
    }

    /// The same with so many catalogs, the further ones on the ports from `first` on, at the
    /// address of the first.
    #[must_use]
    pub fn with_catalogs(mut self, catalogs: u8, first: u16) -> Self {
        let ip = self.catalog.ip();
        let at = |i| SocketAddr::new(ip, first + i);
        self.other_catalogs = (0..u16::from(catalogs.saturating_sub(1))).map(at).collect();
        self
    }

    /// The port after the last one.
    pub fn next_port(&self) -> u16 {
        let ports = self.all().into_iter().map(|(_, address)| address.port());
        ports.max().map_or(0, |highest| highest + 1)
    }

    /// Every address with its service.
    pub fn all(&self) -> Vec<(String, SocketAddr)> {
        let mut all = vec![("catalog".to_owned(), self.catalog)];
        let others = self.other_catalogs.iter().zip(2..);
        all.extend(others.map(|(address, n)| (format!("catalog{n}"), *address)));
        all.extend(
            self.orders
                .iter()
                .zip(1..)
                .map(|(address, id)| (format!("order{id}"), *address)),
        );
        for frontend in &self.frontends {
            all.push(("front-end, for clients".into(), frontend.public));
            all.push(("front-end, internal".into(), frontend.internal));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Blocks held at the same time share no port, and all ports are below the range of outgoing
    /// connections.
    #[test]
    fn blocks_are_disjoint() {
        let blocks: Vec<PortBlock> = (0..8)
            .map(|_| PortBlock::take().expect("there are free ports"))
            .collect();
        let ports: Vec<u16> = blocks.iter().flat_map(PortBlock::ports).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        assert!(ports.iter().all(|port| *port < 32_768));
        assert!(
            PortBlock::try_take(blocks[0].first - 1).is_none(),
            "a block is taken once"
        );
    }

    /// A block with a used port is skipped.
    #[test]
    fn a_block_with_a_used_port_is_skipped() {
        let block = PortBlock::take().expect("there are free ports");
        let used = TcpListener::bind((Ipv4Addr::LOCALHOST, block.first + 3)).expect("free");
        let lock = block.first - 1;
        drop(block);
        assert!(PortBlock::try_take(lock).is_none());
        assert!(!is_free(used.local_addr().expect("an address")));
    }

    /// All addresses differ, and loopback reaches a wildcard.
    #[test]
    fn addresses_differ_and_loopback_reaches_a_wildcard() {
        let addresses = Addresses::consecutive(9_000, 3, 2);
        let two = addresses.clone().with_catalogs(2, addresses.next_port());
        assert_eq!(two.other_catalogs[0].port(), 9_008);
        assert_eq!(two.all()[1].0, "catalog2");
        let all = addresses.all();
        assert_eq!(all.len(), 8);
        assert_eq!(
            all.iter().map(|(_, a)| a.port()).collect::<HashSet<_>>(),
            (9_000..9_008).collect()
        );
        let wildcard = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        assert_eq!(reachable(wildcard).to_string(), "127.0.0.1:80");
    }
}
