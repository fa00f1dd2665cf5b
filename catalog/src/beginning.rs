//! The genesis of a new bazaar: its id and its stocks. The CSV file is read before the database
//! file is made, so that a mistake in it leaves nothing behind.

use crate::settings::CatalogSettings;
use crate::stocks;
use common::wire::order::{ClusterId, Genesis, InitialStock};
use std::cell::Cell;
use std::fs;
use std::io;
use std::path::PathBuf;

/// The stocks of `CATALOG_STOCKS`, or the village's.
#[derive(Debug)]
pub struct Beginning {
    csv: Option<PathBuf>,
    /// `None` beside a database file that has its own stocks.
    stocks: Option<Vec<InitialStock>>,
    /// Whether the stocks became a genesis: else `CATALOG_STOCKS` had no effect.
    used: Cell<bool>,
}

impl Beginning {
    /// Reads the stocks where the catalog's file is still to be made.
    ///
    /// # Errors
    /// The mistakes in the CSV file, with their lines.
    pub fn prepare(settings: &CatalogSettings) -> io::Result<Self> {
        // Of a server it is not known yet: a mistake shows when it has no genesis.
        let is_new = (settings.database.file())
            .is_some_and(|path| fs::metadata(path).map_or(true, |file| file.len() == 0));
        let csv = settings.stocks.clone();
        let mut beginning = Self {
            csv,
            stocks: None,
            used: Cell::new(false),
        };
        if is_new {
            let read = beginning.read();
            beginning.stocks =
                Some(read.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?);
        }
        Ok(beginning)
    }

    fn read(&self) -> Result<Vec<InitialStock>, String> {
        match &self.csv {
            Some(path) => stocks::from_csv(path).map_err(|e| format!("CATALOG_STOCKS={e}")),
            None => Ok(stocks::village()),
        }
    }

    /// The genesis of a new bazaar, sorted by name.
    ///
    /// # Errors
    /// The mistakes in the CSV file, when it is read only now: the database file had no genesis
    /// yet.
    pub fn genesis(&self) -> Result<Genesis, String> {
        self.used.set(true);
        let mut stocks = match &self.stocks {
            Some(read) => read.clone(),
            None => self.read()?,
        };
        // The genesis seeds the chain, so its stocks have one sequence, whatever the file's was.
        stocks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Genesis {
            // Random: two bazaars with the same stocks must not take each other's logs for their
            // own.
            cluster: ClusterId(common::secret::hex(16)),
            stocks,
        })
    }

    /// Logs that `CATALOG_STOCKS` has no effect on a bazaar that has its stocks.
    pub fn warn_if_ignored(&self) {
        if let Some(csv) = self.csv.as_ref().filter(|_| !self.used.get()) {
            tracing::warn!(
                CATALOG_STOCKS = %csv.display(),
                "ignored: this bazaar has its stocks since its first start; \
                 a new one begins with another CATALOG_DB and other ORDER_DBs"
            );
        }
    }
}
