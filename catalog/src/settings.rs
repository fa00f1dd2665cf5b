//! The catalog's settings.

use crate::store::Database;
use common::settings::addresses::{CatalogUrls, ListenAddress};
use common::settings::{Settings, Shared};
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Environment variables of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// Where it listens.
    pub listen: ListenAddress,
    /// Where its state lives.
    pub database: Database,
    /// CSV file of the stocks that a new bazaar starts with; the village's without.
    pub stocks: Option<PathBuf>,
    /// The settings that every service has.
    pub shared: Shared,
}

impl CatalogSettings {
    /// Reads them.
    pub fn read(settings: &mut Settings) -> Self {
        let urls: Option<CatalogUrls> = settings.optional(
            CatalogUrls::NAME,
            "URL under which the other services call it, where that is a name; of all catalogs",
        );
        let urls = urls.map_or_else(Vec::new, |urls| urls.0);
        let mut shared = Shared::read(settings);
        urls.iter().for_each(|url| shared.is_known_as(url));
        let listen: ListenAddress = settings.get(
            "CATALOG_LISTEN",
            "127.0.0.1:7100",
            "address and port to listen on",
        );
        shared.is_known_as(&listen.to_string());
        let database = read_database(settings);
        if urls.len() > 1 && database.file().is_some() {
            settings.mistake(format!(
                "CATALOG_URL={}: several catalogs share a database, and CATALOG_DB={} is a file of \
                 one: set CATALOG_DB=postgres://… for all, or name one catalog",
                urls.join(","),
                database
            ));
        }
        Self {
            listen,
            database,
            stocks: settings.optional(
                "CATALOG_STOCKS",
                "CSV file (name,price,quantity) of the stocks that a new bazaar starts with",
            ),
            shared,
        }
    }
}

/// Reads where the catalog's state lives: all that `catalog rebuild` needs.
pub fn read_database(settings: &mut Settings) -> Database {
    let database = settings.get(
        "CATALOG_DB",
        "catalog.db",
        "database file, made when it does not exist; or postgres://user@host/database",
    );
    let password: Option<Password> = settings.optional(
        "PGPASSWORD",
        "password for CATALOG_DB=postgres://…, unless the URL has one",
    );
    match (database, password) {
        (Database::Server(url), Some(Password(password))) => {
            Database::Server(url.with_password(&password))
        }
        (database, _) => database,
    }
}

/// Any text.
struct Password(String);

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}
