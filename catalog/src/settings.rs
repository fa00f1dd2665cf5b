//! The catalog's settings.

use common::settings::addresses::{ListenAddress, ServiceUrl};
use common::settings::{Settings, Shared};
use std::path::PathBuf;

/// Environment variables of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// Where it listens.
    pub listen: ListenAddress,
    /// Its file.
    pub database: PathBuf,
    /// CSV file of the stocks that a new bazaar starts with; the village's without.
    pub stocks: Option<PathBuf>,
    /// The settings that every service has.
    pub shared: Shared,
}

impl CatalogSettings {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Self {
        let url: Option<ServiceUrl> = settings.optional(
            "CATALOG_URL",
            "URL under which the other services call it, where that is a name",
        );
        let mut shared = Shared::read(settings);
        if let Some(url) = &url {
            shared.is_known_as(&url.0);
        }
        let listen: ListenAddress = settings.get(
            "CATALOG_LISTEN",
            "127.0.0.1:7100",
            "address and port to listen on",
        );
        shared.is_known_as(&listen.to_string());
        Self {
            listen,
            database: read_database(settings),
            stocks: settings.optional(
                "CATALOG_STOCKS",
                "CSV file (name,price,quantity) of the stocks that a new bazaar starts with",
            ),
            shared,
        }
    }
}

/// Reads the one variable that `catalog rebuild` needs.
pub fn read_database(settings: &mut Settings) -> PathBuf {
    settings.get(
        "CATALOG_DB",
        "catalog.db",
        "database file; made when it does not exist",
    )
}
