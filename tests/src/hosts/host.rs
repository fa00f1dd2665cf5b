//! Names of the hosts, and the two layouts of a bazaar across them.

use cluster::service::Service::{self, Catalog, Frontend, Order, OtherCatalog};
use std::fmt;

/// Front-ends.
pub const FRONTENDS: u8 = 2;

/// A host: one container with an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// It runs a service of the bazaar.
    Of(Service),
    /// It runs the PostgreSQL that the catalogs share.
    Database,
}

impl From<Service> for Host {
    fn from(service: Service) -> Self {
        Self::Of(service)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(service) => service.fmt(f),
            Self::Database => f.pad("postgres"),
        }
    }
}

/// Which services a bazaar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One catalog with a file, as `make compose-up` starts it, and a second front-end.
    OneCatalog,
    /// PostgreSQL and two catalogs, as `make compose-up HA=1` starts them.
    TwoCatalogs,
}

impl Layout {
    /// The services, in the order in which they start.
    #[must_use]
    pub fn services(self) -> Vec<Service> {
        let orders = (1..=3).map(Order);
        let frontends = (1..=FRONTENDS).map(Frontend);
        let catalogs = self.catalogs().into_iter();
        catalogs.chain(orders).chain(frontends).collect()
    }

    /// The catalogs, in the order of `CATALOG_URL`.
    #[must_use]
    pub fn catalogs(self) -> Vec<Service> {
        match self {
            Self::OneCatalog => vec![Catalog],
            Self::TwoCatalogs => vec![Catalog, OtherCatalog(2)],
        }
    }

    /// All hosts, in the order in which they start.
    #[must_use]
    pub fn hosts(self) -> Vec<Host> {
        let database = (self == Self::TwoCatalogs).then_some(Host::Database);
        let services = self.services().into_iter().map(Host::Of);
        database.into_iter().chain(services).collect()
    }

    /// Whether one of these calls the other.
    #[must_use]
    pub fn talk(self, one: Host, other: Host) -> bool {
        let is_catalog = |host: Host| self.catalogs().iter().any(|c| host == Host::Of(*c));
        let is_frontend = |host: Host| matches!(host, Host::Of(Frontend(_)));
        match (one, other) {
            (Host::Database, other) | (other, Host::Database) => is_catalog(other),
            _ if is_catalog(one) && is_catalog(other) => false,
            _ => one != other && !(is_frontend(one) && is_frontend(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two catalogs only the database hears, and of a front-end no other front-end does.
    #[test]
    fn pairs_that_talk_are_known() {
        let two = Layout::TwoCatalogs;
        let talking = |layout: Layout| {
            let hosts = layout.hosts();
            let pairs = hosts.iter().flat_map(|a| hosts.iter().map(|b| (*a, *b)));
            pairs.filter(|(a, b)| a < b && layout.talk(*a, *b)).count()
        };
        assert_eq!(talking(Layout::OneCatalog), 14);
        // Two catalogs with the database, three replicas and two front-ends each; replicas with
        // each other and with the front-ends.
        assert_eq!(talking(two), 2 * 6 + 3 + 6);
        assert!(two.talk(Host::Database, OtherCatalog(2).into()));
        assert!(!two.talk(Host::Database, Order(1).into()));
        assert!(!two.talk(Catalog.into(), OtherCatalog(2).into()));
    }
}
