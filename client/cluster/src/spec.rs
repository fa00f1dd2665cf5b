//! The settings of a cluster, and the environment of each service.

use super::addresses::{Addresses, reachable};
use super::service::Service;
use super::{LOGS, binaries};
use common::secret;
use common::settings::{TOKEN, TOKEN_FILE};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Prefixes of the names of our variables.
const OURS: [&str; 5] = ["BAZAAR_", "CATALOG_", "ORDER_", "FRONTEND_", "CLIENT_"];

/// The settings of a cluster.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Folder of the database files and logs.
    pub folder: PathBuf,
    /// Addresses of all services.
    pub addresses: Addresses,
    /// The database that the catalogs share, `postgres://…`. None: the catalog has a file.
    pub shared_database: Option<String>,
    /// Folder of the binaries.
    pub binaries: PathBuf,
    /// Bearer token of internal calls.
    pub token: Option<String>,
    /// Whether the services get the settings in this program's environment.
    pub inherit: bool,
    /// Whether each service has a process group of its own. Ctrl-C on a terminal then signals this
    /// program only.
    pub own_groups: bool,
    settings: BTreeMap<String, String>,
    settings_of: BTreeMap<Service, BTreeMap<String, String>>,
}

impl Spec {
    /// A cluster with a random token, without the settings in this program's environment.
    pub fn new(folder: &Path, addresses: Addresses) -> Self {
        Self {
            folder: folder.into(),
            addresses,
            shared_database: None,
            binaries: binaries::folder(),
            // Random: services of two clusters must not take each other's calls.
            token: Some(secret::hex(32)),
            inherit: false,
            own_groups: false,
            settings: BTreeMap::new(),
            settings_of: BTreeMap::new(),
        }
    }

    /// Sets a variable for every service; an empty value unsets it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Sets a variable for one service; it overrides the variable of all.
    pub fn set_for(&mut self, service: Service, name: &str, value: &str) -> &mut Self {
        self.settings_of
            .entry(service)
            .or_default()
            .insert(name.into(), value.into());
        self
    }

    /// All services, in the sequence in which they are started.
    pub fn services(&self) -> Vec<Service> {
        let orders = (1..=count(self.addresses.orders.len())).map(Service::Order);
        let frontends = (1..=count(self.addresses.frontends.len())).map(Service::Frontend);
        self.catalogs()
            .into_iter()
            .chain(orders)
            .chain(frontends)
            .collect()
    }

    /// The catalogs.
    pub fn catalogs(&self) -> Vec<Service> {
        let others = 2..2 + count(self.addresses.other_catalogs.len());
        let others = others.map(Service::OtherCatalog);
        [Service::Catalog].into_iter().chain(others).collect()
    }

    /// A front-end by its index, counted from 0.
    pub fn frontend(&self, index: usize) -> Service {
        Service::Frontend(count(index + 1))
    }

    /// Base URL of a service's internal listener.
    ///
    /// # Panics
    /// When the cluster has no such service.
    pub fn internal_url(&self, service: Service) -> String {
        let address = match service {
            Service::Catalog => self.addresses.catalog,
            Service::OtherCatalog(n) => self.addresses.other_catalogs[usize::from(n) - 2],
            Service::Order(id) => self.addresses.orders[usize::from(id) - 1],
            Service::Frontend(n) => self.addresses.frontends[usize::from(n) - 1].internal,
        };
        format!("http://{}", reachable(address))
    }

    /// Database file of a service; a front-end has none, and neither have catalogs that share a
    /// database.
    pub fn database(&self, service: Service) -> Option<PathBuf> {
        match service {
            Service::Catalog if self.shared_database.is_none() => {
                Some(self.folder.join("catalog.db"))
            }
            Service::Catalog | Service::OtherCatalog(_) => None,
            Service::Order(id) => Some(self.folder.join(format!("order{id}.db"))),
            Service::Frontend(_) => None,
        }
    }

    /// Log file of a service.
    pub fn log_path(&self, service: Service) -> PathBuf {
        self.folder.join(LOGS).join(format!("{service}.log"))
    }

    /// The variables of a service. They override those of this program.
    pub fn environment(&self, service: Service) -> BTreeMap<String, String> {
        let mut all = self.settings.clone();
        let mut put = |name: &str, value: String| {
            all.insert(name.into(), value);
        };
        if let Some(token) = &self.token {
            // A variable of this program would otherwise be in force beside it.
            put(TOKEN, token.clone());
            // This program may have read its token from the file of this variable, which the
            // services inherit: they would refuse to have two sources.
            put(TOKEN_FILE, String::new());
        }
        let catalogs = self.catalogs();
        let urls = catalogs.iter().map(|catalog| self.internal_url(*catalog));
        put("CATALOG_URL", urls.collect::<Vec<_>>().join(","));
        let replicas = (1..=count(self.addresses.orders.len()))
            .map(|id| format!("{id}={}", self.internal_url(Service::Order(id))));
        put("ORDER_REPLICAS", replicas.collect::<Vec<_>>().join(","));
        let database = self
            .database(service)
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        match service {
            Service::Catalog | Service::OtherCatalog(_) => {
                let listen = match service {
                    Service::OtherCatalog(n) => self.addresses.other_catalogs[usize::from(n) - 2],
                    _ => self.addresses.catalog,
                };
                put("CATALOG_LISTEN", listen.to_string());
                if let Some(shared) = &self.shared_database {
                    // The address that others call, which is not the wildcard that it may listen
                    // on.
                    put("CATALOG_ADVERTISE_URL", self.internal_url(service));
                    put("CATALOG_DB", shared.clone());
                } else {
                    put("CATALOG_DB", database);
                }
            }
            Service::Order(id) => {
                put("ORDER_ID", id.to_string());
                put(
                    "ORDER_LISTEN",
                    self.addresses.orders[usize::from(id) - 1].to_string(),
                );
                put("ORDER_DB", database);
            }
            Service::Frontend(n) => {
                let addresses = self.addresses.frontends[usize::from(n) - 1];
                put("FRONTEND_LISTEN", addresses.public.to_string());
                put("FRONTEND_INTERNAL_LISTEN", addresses.internal.to_string());
                put(
                    "FRONTEND_INTERNAL_URL",
                    format!("http://{}", reachable(addresses.internal)),
                );
            }
        }
        // Last, so that it overrides even the addresses above: tests set wrong ones on purpose.
        all.extend(self.settings_of.get(&service).cloned().unwrap_or_default());
        all
    }

    /// Whether the services get a variable of this program's environment.
    #[must_use]
    pub fn passes_on(&self, name: &str) -> bool {
        // Without it a setting of the shell that runs the tests would change what they show.
        self.inherit || !OURS.iter().any(|beginning| name.starts_with(beginning))
    }
}

fn count(n: usize) -> u8 {
    u8::try_from(n).expect("a cluster has fewer than 256 services of a kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each service gets its own addresses and file; a setting for one service overrides that of
    /// all; the settings of this program stay out.
    #[test]
    fn each_service_has_its_own_environment() {
        let mut spec = Spec::new(Path::new("/x"), Addresses::consecutive(9_000, 3, 2));
        spec.set("FRONTEND_CACHE", "off")
            .set_for(Service::Frontend(2), "FRONTEND_CACHE", "on");
        assert_eq!(spec.services().len(), 6);
        let order = spec.environment(Service::Order(2));
        assert_eq!(order["ORDER_LISTEN"], "127.0.0.1:9002");
        assert_eq!(order["ORDER_DB"], "/x/order2.db");
        assert_eq!(
            order["ORDER_REPLICAS"].split(',').nth(2),
            Some("3=http://127.0.0.1:9003")
        );
        assert_eq!(order["CATALOG_URL"], "http://127.0.0.1:9000");
        assert_eq!(order["BAZAAR_TOKEN"].len(), 64);
        let caches =
            [1, 2].map(|n| spec.environment(Service::Frontend(n))["FRONTEND_CACHE"].clone());
        assert_eq!(caches, ["off", "on"]);
        assert_eq!(
            spec.environment(Service::Frontend(2))["FRONTEND_LISTEN"],
            "127.0.0.1:9007"
        );
        assert!(spec.passes_on("PATH") && !spec.passes_on("ORDER_ID"));
    }

    /// Catalogs that share a database have no file; each has its own address and URL, and every
    /// service knows all of them.
    #[test]
    fn catalogs_share_a_database() {
        let addresses = Addresses::consecutive(9_000, 3, 1);
        let next = addresses.next_port();
        let mut spec = Spec::new(Path::new("/x"), addresses.with_catalogs(2, next));
        spec.shared_database = Some("postgres://db/bazaar".into());
        assert_eq!(spec.services().len(), 6);
        assert_eq!(spec.database(Service::Catalog), None);
        let second = spec.environment(Service::OtherCatalog(2));
        assert_eq!(second["CATALOG_LISTEN"], "127.0.0.1:9006");
        assert_eq!(second["CATALOG_ADVERTISE_URL"], "http://127.0.0.1:9006");
        assert_eq!(second["CATALOG_DB"], "postgres://db/bazaar");
        let urls = "http://127.0.0.1:9000,http://127.0.0.1:9006";
        assert_eq!(spec.environment(Service::Frontend(1))["CATALOG_URL"], urls);
    }
}
