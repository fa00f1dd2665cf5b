//! The front-end's settings, from environment variables.

use crate::api::origin::OriginList;
use common::http::edge::limits::EdgeConfig;
use common::settings::addresses::{CatalogUrls, ListenAddress, ReplicaUrls, ServiceUrl};
use common::settings::{Positive, ServerKind, Settings, Shared, Switch};
use common::wire::order::ReplicaId;
use std::collections::BTreeMap;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct FrontendSettings {
    /// Where the public API listens, on every address of the name; port 0 takes a free one.
    pub listen: ListenAddress,
    /// Where the internal listener is; port 0 takes a free one.
    pub internal_listen: ListenAddress,
    /// Base URL under which the catalog reaches the internal listener. `None`: `http://` and the
    /// address in use.
    pub internal_url: Option<String>,
    /// Whether stocks are cached.
    pub cache: bool,
    /// How many stocks are cached at most.
    pub cache_size: usize,
    /// Which server takes the public requests.
    pub server: ServerKind,
    /// Further origins whose pages may trade.
    pub origins: OriginList,
    /// The edge, with its limits.
    pub edge: EdgeConfig,
    /// Base URLs of the catalogs, in order.
    pub catalogs: Vec<String>,
    /// Base URLs of all replicas of the order service.
    pub replicas: BTreeMap<ReplicaId, String>,
    /// The settings that every service has.
    pub shared: Shared,
}

impl FrontendSettings {
    /// Reads them; mistakes are left in `settings`.
    pub fn read(settings: &mut Settings) -> Self {
        let listen: ListenAddress = settings.get(
            "FRONTEND_LISTEN",
            "localhost:8080",
            "address of the public API; localhost: 127.0.0.1 and ::1",
        );
        let internal_listen: ListenAddress = settings.get(
            "FRONTEND_INTERNAL_LISTEN",
            "127.0.0.1:7000",
            "address for invalidations, health and metrics",
        );
        let internal_url: Option<ServiceUrl> = settings.optional(
            "FRONTEND_INTERNAL_URL",
            "how the catalog reaches the internal listener; unset: http:// and its address",
        );
        // Found here, with both names, rather than as "address in use" by the second listener.
        if listen.collides_with(&internal_listen) {
            settings.mistake(format!(
                "FRONTEND_LISTEN={listen} and FRONTEND_INTERNAL_LISTEN={internal_listen} are the \
                 same address: clients and services need a port each"
            ));
        }
        // `0.0.0.0` is no address to call: the catalog would push to itself.
        if internal_url.is_none() && internal_listen.is_wildcard() {
            settings.mistake(format!(
                "FRONTEND_INTERNAL_URL is not set, and FRONTEND_INTERNAL_LISTEN={internal_listen} \
                 names no host: write the URL under which the catalog reaches this front-end"
            ));
        }
        let cache = settings
            .get::<Switch>(
                "FRONTEND_CACHE",
                "on",
                "whether stocks are cached: on or off",
            )
            .0;
        let cache_size = settings
            .get::<Positive>("FRONTEND_CACHE_SIZE", "1024", "stocks in the cache at most")
            .0;
        let server = settings.get(
            "FRONTEND_SERVER",
            "edge",
            "server of the public API: edge or tiny_http",
        );
        let origins = settings.get(
            "FRONTEND_ORIGINS",
            "",
            "origins beside the bazaar's own whose pages may trade, separated by commas",
        );
        // The edge's limits are read even with tiny_http in its place, so that a mistake in them is
        // always reported.
        let edge = EdgeConfig::read(settings);
        let catalogs =
            settings.get::<CatalogUrls>(CatalogUrls::NAME, CatalogUrls::DEFAULT, CatalogUrls::HELP);
        let replicas =
            settings.get::<ReplicaUrls>(ReplicaUrls::NAME, ReplicaUrls::DEFAULT, ReplicaUrls::HELP);
        let mut shared = Shared::read(settings);
        // Callers may use any of these in `Host`; all other names are refused, against DNS
        // rebinding.
        if let Some(url) = &internal_url {
            shared.is_known_as(&url.0);
        }
        shared.is_known_as(&internal_listen.to_string());
        let edge = edge.with(listen.clone(), shared.threads);
        Self {
            listen,
            internal_listen,
            internal_url: internal_url.map(|url| url.0),
            cache,
            cache_size,
            server,
            origins,
            edge,
            catalogs: catalogs.0,
            replicas: replicas.0,
            shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<FrontendSettings, common::settings::SettingsError> {
        let mut settings =
            Settings::from_pairs(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())));
        let read = FrontendSettings::read(&mut settings);
        settings.finish().map(|()| read)
    }

    /// Without variables the defaults of the design hold.
    #[test]
    fn defaults() {
        let settings = read(&[]).expect("defaults are right");
        assert_eq!(
            (settings.listen.port(), settings.internal_listen.port()),
            (8080, 7000)
        );
        assert!(
            settings.cache && settings.cache_size == 1_024 && settings.server == ServerKind::Edge
        );
        assert_eq!((settings.replicas.len(), settings.internal_url), (3, None));
    }

    /// A wildcard address needs a URL beside it; wrong words are refused with the remedy.
    #[test]
    fn mistakes_are_named() {
        let wildcard = read(&[("FRONTEND_INTERNAL_LISTEN", "0.0.0.0:7000")])
            .expect_err("no URL")
            .to_string();
        assert!(wildcard.contains("FRONTEND_INTERNAL_URL"), "{wildcard}");
        let pairs = [
            ("FRONTEND_INTERNAL_LISTEN", "0.0.0.0:7000"),
            ("FRONTEND_INTERNAL_URL", "http://shop:7000"),
        ];
        assert_eq!(
            read(&pairs).expect("complete").internal_url.as_deref(),
            Some("http://shop:7000")
        );
        let equal = read(&[
            ("FRONTEND_LISTEN", "localhost:7000"),
            ("FRONTEND_INTERNAL_LISTEN", "127.0.0.1:7000"),
        ]);
        let equal = equal.expect_err("one port for both").to_string();
        assert!(equal.contains("are the same address"), "{equal}");
        let wrong = read(&[("FRONTEND_SERVER", "nginx"), ("FRONTEND_CACHE_SIZE", "0")])
            .expect_err("wrong")
            .to_string();
        assert!(
            wrong.contains("edge or tiny_http") && wrong.contains("FRONTEND_CACHE_SIZE=0"),
            "{wrong}"
        );
    }
}
