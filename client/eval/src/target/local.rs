//! A bazaar that is started here.

use super::{CacheSetting, Deed};
use crate::tables::Cache;
use client::api::Api;
use cluster::Spec;
use cluster::own::Own;
use cluster::service::Service;
use common::wire::replica::Health;
use std::fs;

/// What each stock starts with: so much that no order is refused for lack of it, whatever the
/// clients draw.
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
    own: Own,
    setting: CacheSetting,
}

impl Local {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Self, String> {
        let own = Own::start(|spec: &mut Spec| {
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
            own,
            setting: CacheSetting {
                cache: Cache::On,
                capacity: None,
            },
        })
    }

    pub(super) fn url(&self) -> String {
        self.own.cluster.url(0)
    }

    pub(super) fn internal(&self) -> Api {
        self.own.cluster.internal(Service::Frontend(1))
    }

    pub(super) fn set_cache(&mut self, setting: CacheSetting) -> Result<(), String> {
        if setting == self.setting {
            return Ok(());
        }
        let (on, size) = (
            setting.cache.to_string(),
            setting.capacity.map(|n| n.to_string()).unwrap_or_default(),
        );
        let spec = self.own.cluster.spec_mut();
        spec.set_for(Service::Frontend(1), "FRONTEND_CACHE", &on)
            .set_for(Service::Frontend(1), "FRONTEND_CACHE_SIZE", &size);
        let restarted = self
            .own
            .cluster
            .restart(Service::Frontend(1))
            .and_then(|()| self.own.cluster.wait_ready(0));
        restarted.map_err(|e| e.to_string())?;
        self.setting = setting;
        Ok(())
    }

    pub(super) fn act(&mut self, deed: Deed, replicas: &[u8]) -> Result<(), String> {
        for service in replicas.iter().copied().map(Service::Order) {
            let done = match deed {
                Deed::Kill => self.own.cluster.kill(service),
                Deed::Restart => self.own.cluster.start_service(service).map(drop),
                Deed::Pause => self.own.cluster.pause(service),
                Deed::Resume => self.own.cluster.resume(service),
            };
            done.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Each has the orders, and the leader acknowledges nothing without it.
    pub(super) fn follow_again(&self, replicas: &[u8], last: Option<u64>) -> bool {
        let health = |id| {
            self.own
                .cluster
                .internal(Service::Order(id))
                .internal::<Health>("/health")
        };
        let all: Vec<Health> = (1..=3).filter_map(|id| health(id).ok()).collect();
        replicas.iter().all(|id| {
            let has = all
                .iter()
                .any(|h| u8::from(h.replica) == *id && !h.catching_up && h.last >= last);
            let touched = all
                .iter()
                .any(|h| h.leading.is_some() && h.in_sync.iter().any(|r| u8::from(*r) == *id));
            has && touched
        })
    }

    /// `order verify` of all files, or `order dump` of one.
    pub(super) fn order_tool(&self, what: &str) -> Result<String, String> {
        self.own
            .order_tool(what, if what == "dump" { &[1] } else { &[1, 2, 3] })
    }
}
