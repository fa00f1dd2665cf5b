//! A proxy on every way between two services of a cluster, and from the catalogs to their database.

use cluster::Spec;
use cluster::proxy::{Harm, Proxy};
use cluster::service::Service::{self, Catalog, Frontend, Order};
use std::collections::BTreeMap;

/// A way: who calls whom.
pub type Way = (Service, Service);

/// The proxies of a cluster, by the way that each is on.
#[derive(Debug, Default)]
pub struct Network {
    proxies: BTreeMap<Way, Proxy>,
    /// The ways from the catalogs to their database, where they have one.
    databases: BTreeMap<Service, Proxy>,
}

impl Network {
    /// Puts a proxy on every way: each service gets the proxies' addresses instead of the
    /// others' own.
    ///
    /// # Panics
    /// When no port is left.
    pub fn between(spec: &mut Spec) -> Self {
        let mut network = Self::default();
        let catalogs = spec.catalogs();
        for catalog in &catalogs {
            network.put_database(spec, *catalog);
        }
        for service in spec.services() {
            if !catalogs.contains(&service) {
                let urls: Vec<String> = catalogs
                    .iter()
                    .map(|catalog| network.put(spec, (service, *catalog)))
                    .collect();
                spec.set_for(service, "CATALOG_URL", &urls.join(","));
                let replicas: Vec<String> = (1..=3)
                    .map(|id| match Order(id) {
                        own if own == service => format!("{id}={}", spec.internal_url(own)),
                        other => format!("{id}={}", network.put(spec, (service, other))),
                    })
                    .collect();
                spec.set_for(service, "ORDER_REPLICAS", &replicas.join(","));
            }
            // One way for all catalogs: a front-end has one URL for its invalidations.
            if matches!(service, Frontend(_)) {
                let url = network.put(spec, (Catalog, service));
                spec.set_for(service, "FRONTEND_INTERNAL_URL", &url);
            }
        }
        network
    }

    fn put(&mut self, spec: &Spec, way: Way) -> String {
        let address = spec.internal_url(way.1);
        let address = address
            .trim_start_matches("http://")
            .parse()
            .expect("a URL of ours is an address");
        let proxy = Proxy::start(address).expect("a proxy starts");
        let url = proxy.url();
        self.proxies.insert(way, proxy);
        url
    }

    fn put_database(&mut self, spec: &mut Spec, catalog: Service) {
        let Some(url) = spec.shared_database.clone() else {
            return;
        };
        let address = url.split(['@', '/']).nth(3).expect("a host and port");
        let parsed = address.parse().expect("a URL of ours has an address");
        let proxy = Proxy::for_bytes(parsed).expect("a proxy starts");
        let over = url.replace(address, &proxy.address().to_string());
        spec.set_for(catalog, "CATALOG_DB", &over);
        self.databases.insert(catalog, proxy);
    }

    /// Does harm on a catalog's way to its database.
    ///
    /// # Panics
    /// When it has none.
    pub fn harm_database(&self, catalog: Service, harm: Harm) {
        self.databases[&catalog].set(harm);
    }

    /// How much met the harm on a catalog's way to its database.
    ///
    /// # Panics
    /// When it has none.
    pub fn met_database(&self, catalog: Service) -> u64 {
        self.databases[&catalog].met()
    }

    /// The catalogs with a way to a database.
    pub fn databases(&self) -> Vec<Service> {
        self.databases.keys().copied().collect()
    }

    /// Every way between two services.
    pub fn ways(&self) -> Vec<Way> {
        self.proxies.keys().copied().collect()
    }

    /// Does harm on one way.
    ///
    /// # Panics
    /// When there is no such way.
    pub fn harm(&self, way: Way, harm: Harm) {
        self.proxies[&way].set(harm);
    }

    /// How much met the harm on one way.
    ///
    /// # Panics
    /// When there is no such way.
    pub fn met(&self, way: Way) -> u64 {
        self.proxies[&way].met()
    }

    /// Does the same on all ways between services.
    pub fn harm_all(&self, harm: Harm) {
        for proxy in self.proxies.values() {
            proxy.set(harm);
        }
    }

    /// How much met the harm on all ways.
    pub fn met_all(&self) -> u64 {
        self.proxies.values().map(Proxy::met).sum()
    }

    /// Ends all harm.
    pub fn heal(&self) {
        self.harm_all(Harm::None);
        for proxy in self.databases.values() {
            proxy.set(Harm::None);
        }
    }
}
