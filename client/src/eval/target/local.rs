//! A bazaar that is started here.

use super::{CacheSetting, Deed};
use crate::api::Api;
use crate::cluster::addresses::PortBlock;
use crate::cluster::service::Service;
use crate::cluster::{Cluster, Spec, binaries};
use crate::eval::tables::Cache;
use common::wire::replica::Health;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Starts on other ports, when someone took one between the look and the start.
const STARTS: u32 = 5;
/// What each stock starts with: so much that no order is refused for lack of it, whatever the clients draw.
const QUANTITY: u64 = 1_000_000_000;
/// The stocks of a bazaar that is not told others.
const STOCKS: [&str; 14] = [
    "AnvilWorks",
    "BardStrings",
    "BoarCo",
    "ChariotParts",
    "DolmenDesign",
    "FishCo",
    "GameStart",
    "HelmetHouse",
    "MenhirCo",
    "MistletoeMills",
    "OakLeafBank",
    "PotionLabs",
    "RomanSalvage",
    "ShieldBearers",
];

/// A cluster of its own.
#[derive(Debug)]
pub struct Local {
    cluster: Cluster,
    setting: CacheSetting,
    folder: TempDir,
    _ports: PortBlock,
}

impl Local {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..STARTS {
            let ports = PortBlock::take().map_err(|e| e.to_string())?;
            let folder = tempfile::Builder::new().prefix("bazaar-eval-").tempdir();
            let folder = folder.map_err(|e| format!("cannot make a folder: {e}"))?;
            let stocks = folder.path().join("stocks.csv");
            let rows: String = STOCKS.iter().map(|name| format!("{name},15.99,{QUANTITY}\n")).collect();
            fs::write(&stocks, format!("name,price,quantity\n{rows}")).map_err(|e| e.to_string())?;
            let mut spec = Spec::new(folder.path(), ports.addresses(3, 1));
            spec.set_for(Service::Catalog, "CATALOG_STOCKS", &stocks.display().to_string());
            spec.set("BAZAAR_LOG", "warn");
            match Cluster::start(spec) {
                Ok(cluster) => {
                    let setting = CacheSetting { cache: Cache::On, capacity: None };
                    return Ok(Self { cluster, setting, folder, _ports: ports });
                }
                Err(error) if error.is_port_taken() => last = error.to_string(),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(last)
    }

    pub(super) fn url(&self) -> String {
        self.cluster.url(0)
    }

    pub(super) fn internal(&self) -> Api {
        self.cluster.internal(Service::Frontend(1))
    }

    pub(super) fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        if setting == self.setting {
            return Ok(());
        }
        let (on, size) = (setting.cache.to_string(), setting.capacity.map(|n| n.to_string()).unwrap_or_default());
        let spec = self.cluster.spec_mut();
        spec.set_for(Service::Frontend(1), "FRONTEND_CACHE", &on).set_for(
            Service::Frontend(1),
            "FRONTEND_CACHE_SIZE",
            &size,
        );
        let restarted = self.cluster.restart(Service::Frontend(1)).and_then(|()| self.cluster.wait_ready(0));
        restarted.map_err(|e| e.to_string())?;
        self.setting = setting;
        Ok(())
    }

    pub(super) fn act(&mut self, deed: Deed, replicas: &[u8]) -> Result<(), String> {
        for service in replicas.iter().copied().map(Service::Order) {
            let done = match deed {
                Deed::Kill => self.cluster.kill(service),
                Deed::Restart => self.cluster.start_service(service).map(drop),
                Deed::Pause => self.cluster.pause(service),
                Deed::Resume => self.cluster.resume(service),
            };
            done.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Each has the orders, and the leader acknowledges nothing without it.
    pub(super) fn follow_again(&self, replicas: &[u8], last: Option<u64>) -> bool {
        let health = |id| self.cluster.internal(Service::Order(id)).internal::<Health>("/health");
        let all: Vec<Health> = (1..=3).filter_map(|id| health(id).ok()).collect();
        replicas.iter().all(|id| {
            let has = all.iter().any(|h| u8::from(h.replica) == *id && !h.catching_up && h.last >= last);
            let touched = all.iter().any(|h| h.leading.is_some() && h.in_touch.iter().any(|r| u8::from(*r) == *id));
            has && touched
        })
    }

    /// Runs `order verify` on all files, or `order dump` on one.
    pub(super) fn order_tool(&self, what: &str) -> Result<String, String> {
        let files: Vec<PathBuf> = (1..=3).filter_map(|id| self.cluster.spec().database(Service::Order(id))).collect();
        let files = if what == "dump" { &files[..1] } else { &files[..] };
        let binary = binaries::find(&self.cluster.spec().binaries, "order")?;
        // Exit code 1 says that the files differ: a finding, no failure of the run.
        let output = Command::new(binary).arg(what).args(files).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("cannot run order {what}: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.is_empty() {
            let folder = self.folder.path().display();
            return Err(format!("order {what} in {folder}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(text)
    }
}
