//! A proxy on every way between two services of a cluster.

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
}

impl Network {
    /// Puts a proxy on every way: each service gets the proxies' addresses instead of the
    /// others' own.
    ///
    /// # Panics
    /// When no port is left.
    pub fn between(spec: &mut Spec) -> Self {
        let mut network = Self::default();
        for service in spec.services() {
            if service != Catalog {
                let url = network.put(spec, (service, Catalog));
                spec.set_for(service, "CATALOG_URL", &url);
                let replicas: Vec<String> = (1..=3)
                    .map(|id| match Order(id) {
                        own if own == service => format!("{id}={}", spec.internal_url(own)),
                        other => format!("{id}={}", network.put(spec, (service, other))),
                    })
                    .collect();
                spec.set_for(service, "ORDER_REPLICAS", &replicas.join(","));
            }
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

    /// Every way there is.
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

    /// Does the same on all ways.
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
    }
}
