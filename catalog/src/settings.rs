//! The catalog's settings.

use common::settings::addresses::ListenAddress;
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
    /// What every service has.
    pub shared: Shared,
}

impl CatalogSettings {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Self {
        Self {
            listen: settings.get(
                "CATALOG_LISTEN",
                "127.0.0.1:7100",
                "address and port to listen on",
            ),
            database: read_database(settings),
            stocks: settings.optional(
                "CATALOG_STOCKS",
                "CSV file (name,price,quantity) of the stocks that a new bazaar starts with",
            ),
            shared: Shared::read(settings),
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
