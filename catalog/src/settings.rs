//! The catalog's settings.

use crate::store::Database;
use common::settings::addresses::{CatalogUrls, ListenAddress, ServiceUrl};
use common::settings::{Settings, Shared};
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Environment variables of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogSettings {
    /// `CATALOG_LISTEN`.
    pub listen: ListenAddress,
    /// `CATALOG_DB`: where the catalog's state lives.
    pub database: Database,
    /// `CATALOG_ADVERTISE_URL`: where callers reach it, for the other catalogs of a shared database
    /// to name.
    pub advertise_url: String,
    /// `CATALOG_STOCKS`: CSV file of the stocks that a new bazaar starts with; the village's
    /// without.
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
        // Callers name this service in `Host` as they name it in their own setting.
        urls.iter().for_each(|url| shared.is_known_as(url));
        let listen: ListenAddress = settings.get(
            "CATALOG_LISTEN",
            "127.0.0.1:7100",
            "address and port to listen on",
        );
        shared.is_known_as(&listen.to_string());
        let database = read_database(settings);
        // Two catalogs with a file each would be two bazaars, and callers would go to either.
        if urls.len() > 1 && database.file().is_some() {
            settings.mistake(format!(
                "CATALOG_URL={}: several catalogs share a database, and CATALOG_DB={} is a file of \
                 one: set CATALOG_DB=postgres://… for all, or name one catalog",
                urls.join(","),
                database
            ));
        }
        let advertise: Option<ServiceUrl> = settings.optional(
            "CATALOG_ADVERTISE_URL",
            "its own URL among those of CATALOG_URL, with a shared database; unset: http:// and \
             its address",
        );
        let shares = database.file().is_none();
        // Found here: else every caller would be sent to an address that only this machine can use.
        if shares && advertise.is_none() && listen.is_wildcard() {
            settings.mistake(format!(
                "CATALOG_ADVERTISE_URL is not set, and CATALOG_LISTEN={listen} names no host: \
                 write the URL under which the other services reach this catalog"
            ));
        }
        let advertise_url = advertise.map_or_else(|| format!("http://{listen}"), |url| url.0);
        if shares && !urls.is_empty() && !urls.contains(&advertise_url) {
            settings.mistake(format!(
                "CATALOG_ADVERTISE_URL={advertise_url} is none of CATALOG_URL={}: callers follow a \
                 catalog only to a URL of that list, so write it there in the same way",
                urls.join(",")
            ));
        }
        Self {
            listen,
            database,
            advertise_url,
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
    let database: Database = settings.get(
        "CATALOG_DB",
        "catalog.db",
        "database file, made when it does not exist; or postgres://user@host/database",
    );
    match read_password(settings) {
        Some(password) => database.with_password(&password),
        None => database,
    }
}

/// Reads the password that is in no URL.
pub fn read_password(settings: &mut Settings) -> Option<String> {
    let password: Option<Password> = settings.optional(
        "PGPASSWORD",
        "password for a database's URL, unless the URL has one",
    );
    password.map(|Password(text)| text)
}

/// Any text.
struct Password(String);

impl FromStr for Password {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}
