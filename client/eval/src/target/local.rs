//! A bazaar that this program starts.

use super::{CacheSetting, ReplicaAction};
use crate::tables::Cache;
use client::api::Api;
use cluster::Spec;
use cluster::service::Service;
use cluster::temporary::TemporaryCluster;
use common::wire::replica::Health;
use std::fs;

/// Initial quantity of each stock: so large that the bazaar refuses no order, whatever the clients
/// draw.
const QUANTITY: u64 = 1_000_000_000;
/// The names of the default stocks.
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

#[derive(Debug)]
pub struct Local {
    bazaar: TemporaryCluster,
    setting: CacheSetting,
}

impl Local {
    /// Starts it.
    pub fn start() -> Result<Self, String> {
        let bazaar = TemporaryCluster::start(|spec: &mut Spec| {
            let stocks = spec.folder.join("stocks.csv");
            let rows: String = STOCKS
                .iter()
                .map(|name| format!("{name},15.99,{QUANTITY}\n"))
                .collect();
            fs::write(&stocks, format!("name,price,quantity\n{rows}"))
                .map_err(|e| format!("cannot write {}: {e}", stocks.display()))?;
            spec.set_for(
                Service::Catalog,
                "CATALOG_STOCKS",
                &stocks.display().to_string(),
            );
            spec.set("BAZAAR_LOG", "warn");
            Ok(())
        })?;
        Ok(Self {
            bazaar,
            setting: CacheSetting {
                cache: Cache::On,
                capacity: None,
            },
        })
    }

    pub(super) fn url(&self) -> String {
        self.bazaar.cluster.url(0)
    }

    pub(super) fn internal(&self) -> Api {
        self.bazaar.cluster.internal(Service::Frontend(1))
    }

    pub(super) fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        if setting == self.setting {
            return Ok(());
        }
        let (on, size) = (
            setting.cache.to_string(),
            setting.capacity.map(|n| n.to_string()).unwrap_or_default(),
        );
        let spec = self.bazaar.cluster.spec_mut();
        spec.set_for(Service::Frontend(1), "FRONTEND_CACHE", &on)
            .set_for(Service::Frontend(1), "FRONTEND_CACHE_SIZE", &size);
        let restarted = self
            .bazaar
            .cluster
            .restart(Service::Frontend(1))
            .and_then(|()| self.bazaar.cluster.wait_ready(0));
        restarted.map_err(|e| e.to_string())?;
        self.setting = setting;
        Ok(())
    }

    pub(super) fn act(&mut self, deed: ReplicaAction, replicas: &[u8]) -> Result<(), String> {
        for service in replicas.iter().copied().map(Service::Order) {
            let done = match deed {
                ReplicaAction::Kill => self.bazaar.cluster.kill(service),
                ReplicaAction::Restart => self.bazaar.cluster.start_service(service).map(drop),
                ReplicaAction::Pause => self.bazaar.cluster.pause(service),
                ReplicaAction::Resume => self.bazaar.cluster.resume(service),
            };
            done.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Whether each replica has the orders and is in sync: the leader acknowledges nothing without
    /// it.
    pub(super) fn follow_again(&self, replicas: &[u8], last: Option<u64>) -> bool {
        let health = |id| {
            self.bazaar
                .cluster
                .internal(Service::Order(id))
                .internal::<Health>("/health")
        };
        let all: Vec<Health> = (1..=3).filter_map(|id| health(id).ok()).collect();
        replicas.iter().all(|id| {
            let has = all
                .iter()
                .any(|h| u8::from(h.replica) == *id && !h.catching_up && h.last >= last);
            let in_sync = all
                .iter()
                .any(|h| h.leading.is_some() && h.in_sync.iter().any(|r| u8::from(*r) == *id));
            has && in_sync
        })
    }

    /// `order verify` of all files, or `order dump` of one.
    pub(super) fn order_tool(&self, what: &str) -> Result<String, String> {
        self.bazaar
            .order_tool(what, if what == "dump" { &[1] } else { &[1, 2, 3] })
    }
}
