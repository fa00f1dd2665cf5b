//! The settings of a replica.

use common::settings::addresses::{CatalogUrls, ListenAddress, ReplicaUrls};
use common::settings::{Settings, Shared};
use common::timing::MAX_REPLICATION_TIMEOUT;
use common::wire::order::ReplicaId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Environment variables of a replica.
#[derive(Debug, Clone)]
pub struct OrderSettings {
    /// `ORDER_ID`.
    pub id: ReplicaId,
    /// `ORDER_LISTEN`.
    pub listen: ListenAddress,
    /// `ORDER_DB`.
    pub database: PathBuf,
    /// `ORDER_REPLICAS` without this replica: id and URL of each other one.
    pub peers: BTreeMap<ReplicaId, String>,
    /// `CATALOG_URL`: the URL of each catalog, the preferred one first.
    pub catalogs: Vec<String>,
    /// `ORDER_MIN_COPIES`: replicas, the leader among them, on which an order must be durable to be
    /// acknowledged.
    pub min_copies: usize,
    /// `ORDER_REPLICATION_TIMEOUT_MS`: how long the leader waits for a follower before it goes on
    /// without it.
    pub replication_timeout: Duration,
    /// The settings that every service has.
    pub shared: Shared,
}

/// A replication time-out in milliseconds.
struct TimeoutMs(u64);

impl FromStr for TimeoutMs {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Above a second, a front-end's whole time for an order would not hold this wait and a
        // retry: `common::timing` asserts the sum.
        let in_range = |ms: &u64| (10..=1_000).contains(ms);
        const { assert!(MAX_REPLICATION_TIMEOUT.as_millis() == 1_000) };
        text.parse()
            .ok()
            .filter(in_range)
            .map(Self)
            .ok_or("write milliseconds from 10 to 1000")
    }
}

impl OrderSettings {
    /// Reads them. `None` when a required one is missing or wrong, which [`Settings::finish`]
    /// reports.
    pub fn read(settings: &mut Settings) -> Option<Self> {
        let id: Option<ReplicaId> = settings.required("ORDER_ID", "id of this replica, 1 to 255");
        // Reading goes on without an id, so that one start reports all mistakes.
        let shown = id.map_or("<id>".into(), |id| id.to_string());
        let port = 7_200 + u16::from(id.map_or(0, u8::from));
        let listen: ListenAddress = settings.get(
            "ORDER_LISTEN",
            &format!("127.0.0.1:{port}"),
            "address and port to listen on (720<id>)",
        );
        let database = settings.get(
            "ORDER_DB",
            &format!("order{shown}.db"),
            "database file; made when it does not exist",
        );
        let mut replicas: ReplicaUrls =
            settings.get(ReplicaUrls::NAME, ReplicaUrls::DEFAULT, ReplicaUrls::HELP);
        let catalogs: CatalogUrls =
            settings.get(CatalogUrls::NAME, CatalogUrls::DEFAULT, CatalogUrls::HELP);
        let copies =
            "replicas on which an order must be durable to be acknowledged, the leader among them";
        let min_copies = settings
            .get::<common::settings::Positive>("ORDER_MIN_COPIES", "1", copies)
            .0;
        let timeout = "milliseconds that the leader waits for a follower, at most 1000";
        let timeout_ms = settings
            .get::<TimeoutMs>("ORDER_REPLICATION_TIMEOUT_MS", "500", timeout)
            .0;
        if min_copies > replicas.0.len() {
            settings.mistake(format!(
                "ORDER_MIN_COPIES={min_copies}: there are only {} replicas in ORDER_REPLICAS",
                replicas.0.len()
            ));
        }
        // Removed: a replica that lists itself as a follower would count its own copy twice.
        let own = id.and_then(|id| replicas.0.remove(&id));
        if let Some(id) = id.filter(|_| own.is_none()) {
            settings.mistake(format!(
                "ORDER_REPLICAS does not name replica {id}, which ORDER_ID says this is: \
                 list all of them"
            ));
        }
        let mut shared = Shared::read(settings);
        if let Some(own) = &own {
            shared.is_known_as(own);
        }
        shared.is_known_as(&listen.to_string());
        Some(Self {
            id: id?,
            listen,
            database,
            peers: replicas.0,
            catalogs: catalogs.0,
            min_copies,
            replication_timeout: Duration::from_millis(timeout_ms),
            shared,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<OrderSettings, String> {
        let mut settings =
            Settings::from_pairs(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let read = OrderSettings::read(&mut settings);
        settings.finish().map_err(|e| e.to_string())?;
        read.ok_or_else(|| "nothing read".into())
    }

    /// The id gives the defaults of port and file; it is no peer of itself.
    #[test]
    fn defaults_follow_the_id() {
        let s = read(&[("ORDER_ID", "2")]).expect("good");
        assert_eq!(
            (s.listen.port(), s.database.to_str()),
            (7_202, Some("order2.db"))
        );
        assert_eq!(
            s.peers.keys().map(|id| u8::from(*id)).collect::<Vec<_>>(),
            [1, 3]
        );
    }

    /// Values that contradict each other are mistakes too.
    #[test]
    fn contradictions() {
        let error = read(&[
            ("ORDER_ID", "9"),
            ("ORDER_MIN_COPIES", "4"),
            ("ORDER_REPLICATION_TIMEOUT_MS", "2000"),
        ])
        .expect_err("three mistakes");
        for part in ["does not name replica 9", "only 3 replicas", "10 to 1000"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(
            read(&[])
                .expect_err("no id")
                .contains("ORDER_ID is not set")
        );
    }
}
